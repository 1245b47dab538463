"""Spare nnabla's futile imports while a long computation runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

_FUTILE = ("nnabla.nnabla", "nnabla.nnabla_ext")


@contextlib.contextmanager
def without_futile_imports() -> Iterator[None]:
    """Let imports that cannot succeed fail at once while the block runs.

    nnabla's compiled modules import ``nnabla`` within their functions in Python 2's way, which
    asks for ``nnabla.nnabla`` first and searches the disk for it, dozens of times in a mini-batch:
    a quarter of the time of a small network. None in `sys.modules` is Python's own way to say that
    a module is not to be found; nnabla then goes on to the right name, as it does without this.
    """
    added = [name for name in _FUTILE if name not in sys.modules]
    sys.modules.update(dict.fromkeys(added))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in added:
            sys.modules.pop(name, None)
