"""Tangents of functions that move values about, add or multiply them: mostly linear, so f' = f."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnabla_influence.engine.functions import named

Args = Mapping[str, Any]
Values = Sequence[Any]


def linear(kind: str) -> Any:
    """Return the rule of a function that is linear in its first input; others are indices."""

    def rule(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
        return None if dx[0] is None else named(F, kind)(dx[0], *x[1:], **args)

    return rule


def joined(kind: str) -> Any:
    """Return the rule of a function that is linear in all its inputs together."""

    def rule(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
        return named(F, kind)(*[_or_zeros(F, v, d) for v, d in zip(x, dx)], **args)

    return rule


def constant(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """Nothing moves the output: it depends on the input's shape, or jumps."""
    return [None] * len(y)


def _or_zeros(F: Any, x: Any, tangent: Any) -> Any:
    return F.constant(0, x.shape) if tangent is None else tangent


def _split(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    shape, axis = list(dx[0].shape), args["axis"] % dx[0].ndim
    parts = []
    for i in range(shape[axis]):
        start, stop = [0] * len(shape), list(shape)
        start[axis], stop[axis] = i, i + 1
        part = F.slice(dx[0], start, stop, [1] * len(shape))
        parts.append(F.reshape(part, y[i].shape, inplace=False))
    return parts


def _pad(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return F.pad(dx[0], **{**args, "constant_value": 0})


def _embed(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return None if dx[1] is None else F.embed(x[0], dx[1])


def _scatter_nd(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    return F.scatter_nd(dx[0], x[1], **args)


def _bool_fill(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """Zero where the mask is not."""
    return None if dx[0] is None else dx[0] * F.equal_scalar(x[1], 0)


def rows(F: Any, x: Any, axes: Sequence[int]) -> Any:
    """Return x as a matrix with ``axes`` along its second axis."""
    last = [axis % x.ndim for axis in axes]
    order = [axis for axis in range(x.ndim) if axis not in last] + last
    n = 1
    for axis in last:
        n *= x.shape[axis]
    return F.reshape(F.transpose(x, order), (-1, n), inplace=False)


def _extreme(kind: str) -> Any:
    """Return the rule of a maximum or minimum: the tangent there, at the first of equal ones."""

    def rule(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
        if args["only_index"]:
            return None
        axes = range(x[0].ndim) if args["axes"] is None else args["axes"]
        matrix = rows(F, x[0], axes)
        index = named(F, kind)(matrix, axes=[1], keep_dims=True, only_index=True)
        hot = F.one_hot_at(index, matrix.shape[1], 1)
        along = F.sum(rows(F, dx[0], axes) * hot, axes=[1])
        return [F.reshape(along, y[0].shape, inplace=False), *[None] * (len(y) - 1)]

    return rule


def _prod(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    r""":math:`y' = \sum_j x'_j \prod_{k \ne j} x_k`, also where some are zero."""
    axes = range(x[0].ndim) if args["axes"] is None else args["axes"]
    matrix = rows(F, x[0], axes)
    below = F.cumprod(matrix, axis=1, exclusive=True)
    above = F.cumprod(matrix, axis=1, exclusive=True, reverse=True)
    along = F.sum(rows(F, dx[0], axes) * below * above, axes=[1])
    return F.reshape(along, y[0].shape, inplace=False)


def _top_k_data(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """The tangent at the largest values, reduced: training takes the others wrongly."""
    axes = range(args["base_axis"] % x[0].ndim, x[0].ndim)
    matrix, tangent = rows(F, x[0], axes), rows(F, dx[0], axes)
    index = F.top_k_data(matrix, **{**args, "base_axis": 1, "with_index": True})[1]
    found = F.gather(tangent, index, axis=1, batch_dims=1)
    return [F.reshape(found, y[0].shape, inplace=False), *[None] * (len(y) - 1)]


def _norm(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    r"""Y = (sum |x|^p)^{1/p}: :math:`y' = y^{1-p} \sum \mathrm{sign}(x) |x|^{p-1} x'`."""
    return norm_tangent(F, x[0], dx[0], y[0], args["p"], args["axes"], args["keep_dims"])


def norm_tangent(
    F: Any, x: Any, dx: Any, y: Any, p: float | None, axes: Any, keep_dims: bool
) -> Any:
    """Return the tangent of a p-norm y of x."""
    p = 2.0 if p is None else p
    if p == 2:
        return F.sum(x * dx, axes=axes, keep_dims=keep_dims) / y
    sign = F.greater_scalar(x, 0) - F.less_scalar(x, 0)
    if p == 1:
        return F.sum(sign * dx, axes=axes, keep_dims=keep_dims)
    slope = sign * F.pow_scalar(sign * x, p - 1)
    return F.sum(slope * dx, axes=axes, keep_dims=keep_dims) * F.pow_scalar(y, 1 - p)


_LINEAR = """
Broadcast CumSum Flip Gather GatherNd Interpolate Mean ReduceMean ReduceSum Reshape
RoiAlign STFT Shift Slice Sum Tile Transpose
"""

RULES = {
    **{kind: linear(kind) for kind in _LINEAR.split()},
    "BoolFill": _bool_fill,
    "Concatenate": joined("Concatenate"),
    "Embed": _embed,
    "ISTFT": joined("ISTFT"),
    "Max": _extreme("Max"),
    "Min": _extreme("Min"),
    "Norm": _norm,
    "OneHot": constant,
    "Pad": _pad,
    "Prod": _prod,
    "ScatterNd": _scatter_nd,
    "Split": _split,
    "Stack": joined("Stack"),
    "TopKData": _top_k_data,
}
