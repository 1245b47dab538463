r"""Tangents of sums and products, and of what takes two inputs or more element by element.

For y = f(x_0, x_1), either of them broadcast to the other, `PARTIALS` has the two derivatives:
:math:`y' = \frac{\partial f}{\partial x_0} x_0' + \frac{\partial f}{\partial x_1} x_1'`. Each takes
(F, x_0, x_1, y, arguments), as in `nnabla_influence.engine.tangents.elementwise`; the gradient in
NumPy is made of them, too.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnabla_influence.engine.tangents.elementwise import DERIVATIVES

Args = Mapping[str, Any]
Values = Sequence[Any]
Partial = Callable[..., Any]


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


def no_tangent(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """The rule of what passes no gradient on."""
    return None


def by_partials(partials: Sequence[Partial]) -> Any:
    """Return the rule of a function of two inputs from its two derivatives."""

    def rule(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
        parts = [
            tangent * partial(F, x[0], x[1], y[0], **args)
            for tangent, partial in zip(dx, partials)
            if tangent is not None
        ]
        return to_shape_of(F, total(*parts), y[0])

    return rule


def _add2(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return to_shape_of(F, total(*dx), y[0])


def _add_n(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return total(*dx)


def _sub2(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return to_shape_of(F, total(dx[0], None if dx[1] is None else -1.0 * dx[1]), y[0])


def _mul2(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return total(along(dx[0], x[1]), along(dx[1], x[0]))


def _mul_n(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """Not x_i' y / x_i, which is not a number at x_i = 0."""
    parts = [
        functools.reduce(operator.mul, [*x[:i], tangent, *x[i + 1 :]])
        for i, tangent in enumerate(dx)
        if tangent is not None
    ]
    return total(*parts)


def _div2(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """(x_0 / x_1)' = (x_0' - y x_1') / x_1."""
    along_x1 = None if dx[1] is None else -1.0 * (dx[1] * y[0])
    return total(dx[0], along_x1) / x[1]


def _add_scalar(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return dx[0]


def _mul_scalar(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return dx[0] * args["val"]


def _r_sub_scalar(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return -1.0 * dx[0]


def _where(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return F.where(x[0], *(F.constant(0, y[0].shape) if d is None else d for d in dx[1:]))


def _celu(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """Of y = (ELU(x), ELU(-x))."""
    sides = [
        side * (dx[0] * DERIVATIVES["ELU"](F, side * x[0], None, args["alpha"])) for side in (1, -1)
    ]
    return F.concatenate(*sides, axis=args["axis"])


def _crelu(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """Of y = (ReLU(x), ReLU(-x))."""
    above = F.greater_scalar(x[0], 0)
    return F.concatenate(dx[0] * above, dx[0] * (above - 1), axis=args["axis"])


def _prelu(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """Of y = x where x >= 0, else x w."""
    above = F.greater_equal_scalar(x[0], 0)
    w, dw = (slopes(F, v, x[0].ndim, args["base_axis"]) for v in (x[1], dx[1]))
    return total(along(dx[0], above + (1 - above) * w), along(dw, (1 - above) * x[0]))


def slopes(F: Any, w: Any, ndim: int, base_axis: int) -> Any:
    """Return PReLU's one slope, or its slopes along an axis, in a shape that broadcasts to x."""
    if w is None:
        return None
    shape = [1] * ndim
    shape[base_axis] = w.shape[0] if w.ndim else 1
    return F.reshape(w, shape, inplace=False)


def _greater(F: Any, x0: Any, x1: Any, y: Any) -> Any:
    return F.greater(x0, x1)


def _less(F: Any, x0: Any, x1: Any, y: Any) -> Any:
    return F.less(x0, x1)


def _not_greater(F: Any, x0: Any, x1: Any, y: Any) -> Any:
    return F.less_equal(x0, x1)


def _not_less(F: Any, x0: Any, x1: Any, y: Any) -> Any:
    return F.greater_equal(x0, x1)


def _atan2_by_x0(F: Any, x0: Any, x1: Any, y: Any) -> Any:
    return x1 / (x0 * x0 + x1 * x1)


def _atan2_by_x1(F: Any, x0: Any, x1: Any, y: Any) -> Any:
    return -1.0 * x0 / (x0 * x0 + x1 * x1)


def _pow2_by_x0(F: Any, x0: Any, x1: Any, y: Any, **_: Any) -> Any:
    return x1 * F.pow2(x0, x1 - 1)


def _pow2_by_x1(F: Any, x0: Any, x1: Any, y: Any, **_: Any) -> Any:
    return F.log(x0) * y


PARTIALS: Mapping[str, tuple[Partial, Partial]] = {
    "ATan2": (_atan2_by_x0, _atan2_by_x1),
    "Maximum2": (_greater, _not_greater),
    "Minimum2": (_less, _not_less),
    "Pow2": (_pow2_by_x0, _pow2_by_x1),
}
"""By nnabla's type of function."""

_COMPARISONS = [
    "Equal",
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "LogicalAnd",
    "LogicalOr",
    "LogicalXor",
    "NotEqual",
]

RULES = {
    "Add2": _add2,
    "AddN": _add_n,
    "AddScalar": _add_scalar,
    "BcAdd2": _add2,
    "CELU": _celu,
    "CReLU": _crelu,
    "Div2": _div2,
    "Identity": _add_scalar,
    "Mul2": _mul2,
    "MulN": _mul_n,
    "MulScalar": _mul_scalar,
    "PReLU": _prelu,
    "RSubScalar": _r_sub_scalar,
    "Sub2": _sub2,
    "Where": _where,
    **{kind: by_partials(partials) for kind, partials in PARTIALS.items()},
    **dict.fromkeys(["IsInf", "IsNaN", "LogicalNot", "Unlink"], no_tangent),
    **dict.fromkeys(_COMPARISONS, no_tangent),
    **dict.fromkeys([f"{kind}Scalar" for kind in _COMPARISONS], no_tangent),
}
