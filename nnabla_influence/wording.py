"""How a message names an option: as the command does, or by the field of an open dialog.

Users of a Console see fields, not options, and each Console shows only some of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

_fields: frozenset[str] | None = None


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
    """Return ``with -t``, or ``in the field input-train`` if a dialog is open.

    Args:
        option: As users of the command type it.
        field: Its name in dialogs; None if no dialog has it.
    """
    if _fields is None:
        return f"with {option}"
    if field in _fields:
        return f"in the field {field}"
    return f"with {option} of the nnabla-influence command"
