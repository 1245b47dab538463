"""How a message names an option: as the command does, or by the field of the dialog that is open.

Whoever works in a Console sees fields, not options, and each Console shows only some of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

_fields: frozenset[str] | None = None


@contextlib.contextmanager
def in_dialog(fields: Iterable[str]) -> Iterator[None]:
    """Let messages name the fields of a dialog, which are these."""
    global _fields
    before, _fields = _fields, frozenset(fields)
    try:
        yield
    finally:
        _fields = before


def with_option(option: str, field: str | None = None) -> str:
    """Return such as ``with -t``, or ``in the field input-train`` where a dialog is open.

    Args:
        option: As the command's users type it.
        field: What a dialog that has the option calls it; None where none has.
    """
    if _fields is None:
        return f"with {option}"
    if field in _fields:
        return f"in the field {field}"
    return f"with {option} of the nnabla-influence command"
