"""The text of messages: names of options, lists, sizes, times, on one line that no terminal obeys.

Cells, headers, file names and class names may come from others, and a terminal obeys some
characters as commands: to hide text, to overwrite other lines, to change its settings.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from nnabla_influence.errors import InfluenceError

# Control characters (C0, DEL, C1), those that turn the direction of others, and half characters,
# which stand for the bytes of a file name that is not UTF-8.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_fields: frozenset[str] | None = None  # of the open dialog


def printable(text: str) -> str:
    """Return a message as one line, with escapes for what a terminal obeys."""
    return _OBEYED.sub(_escape, " ".join(text.splitlines()))


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(error: Exception) -> str:
    """Return an error's message, `printable`; an unexpected error's with its type and place."""
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        text = f"the package {error.name} is missing; install it for {sys.executable}"
    elif not isinstance(error, InfluenceError):
        place = traceback.extract_tb(error.__traceback__)[-1]
        file_name = os.path.basename(place.filename)
        text = f"unexpected {type(error).__name__}: {text} ({file_name}, line {place.lineno})"
    return printable(text)


def cause_text(error: BaseException) -> str:
    """Return what an error of a library says, on one line that is not too long."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextlib.contextmanager
def others_printable() -> Iterator[None]:
    """Make nnabla's log lines and Python's warnings `printable` while the block runs."""
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


def size_text(n_bytes: int) -> str:
    """Return a number of bytes as ``1.2 MB`` or ``214 MB``."""
    value = float(n_bytes)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.1f} {unit}" if value < 9.95 and unit != "bytes" else f"{value:,.0f} {unit}"


def seconds_text(seconds: float) -> str:
    """Return a duration as ``0.03 s``, ``12 s`` or ``5 min``."""
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"


@contextlib.contextmanager
def in_dialog(fields: Iterable[str]) -> Iterator[None]:
    """Let messages name these fields of a dialog while the block runs."""
    global _fields
    before, _fields = _fields, frozenset(fields)
    try:
        yield
    finally:
        _fields = before


def with_option(option: str, field: str | None = None) -> str:
    """Return ``with -t``, or ``in the field input-train`` in a dialog that has this field."""
    if _fields is None:
        return f"with {option}"
    if field in _fields:
        return f"in the field {field}"
    return f"with {option} of the nnabla-influence command"
