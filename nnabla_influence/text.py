"""What a terminal shows: one line for a message, and nothing in it that a terminal obeys.

Cells, headers, file names and class names may come from somebody else, and a terminal takes some
characters for commands: to hide text, to write over other lines, to change its own settings.
"""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

# Control characters (C0, DEL, C1), those that turn the direction of others, and half characters,
# which stand for the bytes of a file name that is not UTF-8.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return a message as one line, in which escapes stand for what a terminal obeys."""
    return _OBEYED.sub(_escape, " ".join(text.splitlines()))


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


@contextlib.contextmanager
def others_printable() -> Iterator[None]:
    """Make what nnabla logs and Python warns of `printable` while the block runs."""
    logger, format_warning = logging.getLogger("nnabla"), warnings.formatwarning

    def formatted(*arguments: Any, **named: Any) -> str:
        return printable(format_warning(*arguments, **named)) + "\n"

    records = _PrintableRecords()
    logger.addFilter(records)
    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = format_warning
        logger.removeFilter(records)


class _PrintableRecords(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage()), ()
        return True


def listed(items: Iterable[object], limit: int = 8) -> str:
    """Return ``a, b, c``, or the first ones: ``a, b and 7 more``."""
    texts = [str(item) for item in items]
    shown = ", ".join(texts[:limit])
    return shown if len(texts) <= limit else f"{shown} and {len(texts) - limit} more"
