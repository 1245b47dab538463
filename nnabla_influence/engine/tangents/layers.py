"""Tangents of layers with weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnabla_influence.engine.functions import named
from nnabla_influence.engine.tangents.arithmetic import total

Args = Mapping[str, Any]
Values = Sequence[Any]


def bilinear(kind: str) -> Any:
    """Return the rule of f(x, W) + b, linear in x and in W: f(x', W) + f(x, W') + b'."""

    def rule(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
        f = named(F, kind)
        db = dx[2] if len(dx) > 2 else None
        parts = []
        if dx[1] is not None:
            parts.append(f(x[0], dx[1], db, **args))
        if dx[0] is not None:
            parts.append(f(dx[0], x[1], None if dx[1] is not None else db, **args))
        if not parts:  # only the bias moves
            parts.append(f(x[0], x[1], db, **args) - f(x[0], x[1], **args))
        return total(*parts)

    return rule


RULES = {
    kind: bilinear(kind)
    for kind in (
        "Affine",
        "Convolution",
        "Deconvolution",
        "DepthwiseConvolution",
        "DepthwiseDeconvolution",
    )
}
