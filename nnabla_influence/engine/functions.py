"""nnabla's functions by the names of their types."""

from __future__ import annotations

import functools
from typing import Any

import nnabla.function_bases


def named(F: Any, kind: str) -> Any:
    """Return F's function of a type: ``mul_scalar`` of ``MulScalar``; None if F has none."""
    return getattr(F, _names().get(kind.lower(), ""), None)


@functools.cache
def _names() -> dict[str, str]:
    return {name.replace("_", ""): name for name in vars(nnabla.function_bases)}
