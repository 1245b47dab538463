"""Tangents of functions that move values about, or sum them: linear, so f' = f."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnabla_influence.engine.functions import named

Args = Mapping[str, Any]
Values = Sequence[Any]


def linear(kind: str) -> Any:
    """Return the rule of a function that is linear in its one input."""

    def rule(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
        return named(F, kind)(dx[0], **args)

    return rule


def _concatenate(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return F.concatenate(*[zeros_like(F, v) if d is None else d for v, d in zip(x, dx)], **args)


def zeros_like(F: Any, x: Any) -> Any:
    """Return zeros of the shape of x."""
    return F.constant(0, x.shape)


RULES = {
    "Concatenate": _concatenate,
    **{
        kind: linear(kind) for kind in ("Broadcast", "Mean", "Reshape", "Slice", "Sum", "Transpose")
    },
}
