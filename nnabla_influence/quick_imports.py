"""Skip nnabla's futile imports during a long computation."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

_FUTILE = ("nnabla.nnabla", "nnabla.nnabla_ext")


@contextlib.contextmanager
def without_futile_imports() -> Iterator[None]:
    """Let imports that cannot succeed fail at once while the block runs.

    nnabla's compiled modules import ``nnabla`` within their functions in Python 2's way: they look
    for ``nnabla.nnabla`` on the disk first, dozens of times in a mini-batch, which takes a quarter
    of the time of a small network. None in `sys.modules` is Python's own sign for a module that
    does not exist; nnabla then imports the right name, as it does without this.
    """
    added = [name for name in _FUTILE if name not in sys.modules]
    sys.modules.update(dict.fromkeys(added))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in added:
            sys.modules.pop(name, None)
