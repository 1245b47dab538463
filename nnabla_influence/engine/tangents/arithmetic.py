"""Tangents of sums and products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Args = Mapping[str, Any]
Values = Sequence[Any]


def total(*parts: Any) -> Any:
    """Return the sum of tangents, of which some may be None."""
    found = [part for part in parts if part is not None]
    result = found[0] if found else None
    for part in found[1:]:
        result = result + part
    return result


def along(tangent: Any, derivative: Any) -> Any:
    """Return a tangent's product with a derivative; None where the tangent is."""
    return None if tangent is None else tangent * derivative


def to_shape_of(F: Any, tangent: Any, y: Any) -> Any:
    """Broadcast a tangent to an output's shape, where the other input made that larger."""
    if tangent is None or tuple(tangent.shape) == tuple(y.shape):
        return tangent
    added = (1,) * (y.ndim - tangent.ndim)
    return F.broadcast(F.reshape(tangent, (*added, *tangent.shape), inplace=False), y.shape)


def _add2(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return to_shape_of(F, total(*dx), y[0])


def _sub2(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return to_shape_of(F, total(dx[0], None if dx[1] is None else -1.0 * dx[1]), y[0])


def _mul2(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return total(along(dx[0], x[1]), along(dx[1], x[0]))


def _div2(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """(x_0 / x_1)' = (x_0' - y x_1') / x_1."""
    along_x1 = None if dx[1] is None else -1.0 * (dx[1] * y[0])
    return total(dx[0], along_x1) / x[1]


def _add_scalar(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return dx[0]


def _mul_scalar(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return dx[0] * args["val"]


RULES = {
    "Add2": _add2,
    "AddScalar": _add_scalar,
    "Div2": _div2,
    "Mul2": _mul2,
    "MulScalar": _mul_scalar,
    "Sub2": _sub2,
}
