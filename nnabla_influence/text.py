"""What a terminal shows: one line for a message, and nothing in it that a terminal obeys.

Cells, headers, file names and class names may come from somebody else, and a terminal takes some
characters for commands: to hide text, to write over other lines, to change its own settings.
"""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
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


def size_text(n_bytes: int) -> str:
    """Return bytes in words: ``1.2 MB``, ``214 MB``."""
    value = float(n_bytes)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.1f} {unit}" if value < 9.95 and unit != "bytes" else f"{value:,.0f} {unit}"


def seconds_text(seconds: float) -> str:
    """Return seconds in words: ``0.03 s``, ``12 s``, ``5 min``."""
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"
