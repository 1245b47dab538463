"""Tangents of losses, and of the softmax. Labels have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnabla_influence.engine.tangents.arithmetic import Partial, by_partials, total

Args = Mapping[str, Any]
Values = Sequence[Any]

TINY = 1.1754943508222875e-38
"""What nnabla takes a smaller probability for: the least float32 of full precision."""

KL_EPSILON = 1e-8
"""What nnabla adds to the probabilities of KLMultinomial before their logarithms."""


def _softmax_cross_entropy(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    r"""Y = log sum_k exp(z_k) - z_t: :math:`y' = \sum_k (p_k - 1_{k = t}) z'_k`; 0 where t < 0."""
    z, t = x
    axis = args["axis"] % z.ndim
    hot, seen = _labels(F, t, z.shape[axis], axis)
    p = F.softmax(z, axis=axis)
    return F.sum((p - hot) * dx[0], axes=[axis], keep_dims=True) * seen


def _categorical_cross_entropy(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """Y = -log p_t: y' = -p_t' / p_t; 0 where t < 0, and where p_t is 0."""
    p, t = x
    axis = args["axis"] % p.ndim
    hot, seen = _labels(F, t, p.shape[axis], axis)
    chosen, along = (F.sum(v * hot, axes=[axis], keep_dims=True) for v in (p, dx[0]))
    live = F.greater_scalar(chosen, TINY)
    return along * (-1.0 * (seen * live)) / (chosen * live + (1 - live))


def _labels(F: Any, t: Any, n: int, axis: int) -> tuple[Any, Any]:
    """Return 1 at the labels along an axis of n, and whether there is one: none is below 0."""
    return F.one_hot_at(F.maximum_scalar(t, 0), n, axis), F.greater_equal_scalar(t, 0)


def _softmax(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    r""":math:`y'_k = y_k (x'_k - \sum_l y_l x'_l)`."""
    axis = args["axis"] % x[0].ndim
    return y[0] * (dx[0] - F.sum(y[0] * dx[0], axes=[axis], keep_dims=True))


def _log_softmax(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    r""":math:`y'_k = x'_k - \sum_l e^{y_l} x'_l`."""
    axis = args["axis"] % x[0].ndim
    return dx[0] - F.sum(F.exp(y[0]) * dx[0], axes=[axis], keep_dims=True)


def _kl_multinomial(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """Y = sum_k p_k (log p_k - log q_k)."""
    base_axis = args["base_axis"] % x[0].ndim
    parts = [d * by(F, *x, y[0]) for d, by in zip(dx, KL_PARTIALS) if d is not None]
    tangent = F.sum(total(*parts), axes=[*range(base_axis, x[0].ndim)])
    return F.reshape(tangent, y[0].shape, inplace=False)


def _kl_by_p(F: Any, p: Any, q: Any, y: Any) -> Any:
    return F.log(p + KL_EPSILON) - F.log(q + KL_EPSILON) + 1


def _kl_by_q(F: Any, p: Any, q: Any, y: Any) -> Any:
    return -1.0 * (p / q)


def _of_difference(derivative: Partial) -> tuple[Partial, Partial]:
    """Return the derivatives of f(x_0 - x_1) from that of f."""

    def by_x0(F: Any, x0: Any, x1: Any, y: Any, **args: Any) -> Any:
        return derivative(F, x0 - x1, **args)

    def by_x1(F: Any, x0: Any, x1: Any, y: Any, **args: Any) -> Any:
        return -1.0 * derivative(F, x0 - x1, **args)

    return by_x0, by_x1


def _absolute(F: Any, d: Any) -> Any:
    return 2 * F.greater_scalar(d, 0) - 1


def _epsilon_insensitive(F: Any, d: Any, epsilon: float) -> Any:
    """Of max(|d| - epsilon, 0)."""
    return F.greater_scalar(d, epsilon) - F.less_scalar(d, -epsilon)


def _huber(F: Any, d: Any, delta: float) -> Any:
    """Of d^2 where |d| < delta, else delta (2 |d| - delta)."""
    return 2 * F.minimum_scalar(F.maximum_scalar(d, -delta), delta)


def _squared(F: Any, d: Any) -> Any:
    return 2 * d


def _binary_by_p(F: Any, p: Any, t: Any, y: Any) -> Any:
    """(p - t) / (p (1 - p)); 0 where p is 0 or 1."""
    variance = p * (1 - p)
    live = F.greater_scalar(variance, TINY)
    return (p - t) * live / (variance * live + (1 - live))


def _binary_by_t(F: Any, p: Any, t: Any, y: Any) -> Any:
    return F.log(F.maximum_scalar(1 - p, TINY)) - F.log(F.maximum_scalar(p, TINY))


def _sigmoid_cross_entropy(F: Any, x: Any, t: Any, y: Any) -> Any:
    """Of log(1 + e^x) - x t: nnabla drops what is behind the point of t."""
    whole = F.floor(F.maximum_scalar(t, 0)) + F.ceil(F.minimum_scalar(t, 0))
    return F.sigmoid(x) - whole


KL_PARTIALS: tuple[Partial, Partial] = (_kl_by_p, _kl_by_q)

PARTIALS: Mapping[str, Sequence[Partial]] = {
    "AbsoluteError": _of_difference(_absolute),
    "BinaryCrossEntropy": (_binary_by_p, _binary_by_t),
    "EpsilonInsensitiveLoss": _of_difference(_epsilon_insensitive),
    "HuberLoss": _of_difference(_huber),
    "SigmoidCrossEntropy": (_sigmoid_cross_entropy,),
    "SquaredError": _of_difference(_squared),
}
"""See `nnabla_influence.engine.tangents.arithmetic`."""

RULES = {
    "CategoricalCrossEntropy": _categorical_cross_entropy,
    "KLMultinomial": _kl_multinomial,
    "LogSoftmax": _log_softmax,
    "Softmax": _softmax,
    "SoftmaxCrossEntropy": _softmax_cross_entropy,
    **{kind: by_partials(partials) for kind, partials in PARTIALS.items()},
}
