"""Tangents of losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnabla_influence.engine.tangents.arithmetic import total

Args = Mapping[str, Any]
Values = Sequence[Any]


def _softmax_cross_entropy(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    r"""Y = log sum_k exp(z_k) - z_t: :math:`y' = \sum_k (p_k - 1_{k = t}) z'_k`; 0 where t < 0."""
    z, t = x
    axis = args["axis"] % z.ndim
    seen = F.greater_equal_scalar(t, 0)
    n = z.shape[axis]
    p = F.softmax(z, axis=axis)
    hot = F.one_hot_at(F.maximum_scalar(t, 0), n, axis)
    return F.sum((p - hot) * dx[0], axes=[axis], keep_dims=True) * seen


def _softmax(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    r""":math:`y'_k = y_k (x'_k - \sum_l y_l x'_l)`."""
    axis = args["axis"] % x[0].ndim
    return y[0] * (dx[0] - F.sum(y[0] * dx[0], axes=[axis], keep_dims=True))


def _squared_error(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """((x_0 - x_1)^2)' = 2 (x_0 - x_1) (x_0' - x_1')."""
    return 2 * (x[0] - x[1]) * total(dx[0], None if dx[1] is None else -1.0 * dx[1])


RULES = {
    "Softmax": _softmax,
    "SoftmaxCrossEntropy": _softmax_cross_entropy,
    "SquaredError": _squared_error,
}
