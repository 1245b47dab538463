"""Losses, and the softmax."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.arithmetic import binary, by_values
from nnabla_influence.engine.numpy_functions.layers import Pair, paired
from nnabla_influence.engine.numpy_functions.tape import Array, Gradient, recorded, values
from nnabla_influence.engine.tangents.losses import KL_EPSILON, KL_PARTIALS, PARTIALS, TINY


def softmax(x: Array, axis: int | None = None) -> Any:
    """See nnabla."""
    data = values(x)
    axis = data.ndim - 1 if axis is None else axis
    e = np.exp(data - data.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
    return recorded([x], y, lambda g: [y * (g - (y * g).sum(axis=axis, keepdims=True))])


def log_softmax(x: Array, axis: int | None = None) -> Any:
    """See nnabla."""
    data = values(x)
    axis = data.ndim - 1 if axis is None else axis
    below = data - data.max(axis=axis, keepdims=True)
    y = below - np.log(np.exp(below).sum(axis=axis, keepdims=True))
    return recorded([x], y, lambda g: [g - np.exp(y) * g.sum(axis=axis, keepdims=True)])


def softmax_cross_entropy_pair(x: Pair, target: Pair, axis: int | None = None) -> Pair:
    r"""Return y = log sum_k exp(z_k) - z_t and :math:`y' = \sum_k (p_k - 1_{k = t}) z'_k`.

    0 where t < 0. :math:`\partial y' / \partial z_k = p_k (z'_k - \sum_l p_l z'_l)`.
    """
    z, t = values(x.value), values(target.value)
    dz = None if x.tangent is None else values(x.tangent)
    axis = -1 if axis is None else axis % z.ndim - z.ndim  # tangents may have an axis more
    numbers = np.arange(z.shape[axis]).reshape(-1, *[1] * (-1 - axis))
    hot, seen = numbers == t, t >= 0
    below = z - z.max(axis=axis, keepdims=True)
    e = np.exp(below)
    total = e.sum(axis=axis, keepdims=True)
    y = (np.log(total) - below.sum(axis=axis, keepdims=True, where=hot)) * seen
    p = np.divide(e, total, out=e)
    slope = (p - hot) * seen
    dy = None if dz is None else (slope * dz).sum(axis=axis, keepdims=True)

    def pullback(by_y: Gradient, by_dy: Gradient) -> Sequence[Gradient]:
        by_z = None if by_y is None else slope * by_y
        if by_dy is None:
            return [by_z, None]
        weighted = p * dz
        turned = weighted - p * weighted.sum(axis=axis, keepdims=True)
        turned *= by_dy * seen
        return [turned if by_z is None else turned + by_z, slope * by_dy]

    return paired(x, y, dy, pullback, stacked=True)


def softmax_cross_entropy(x: Array, target: Array, axis: int | None = None) -> Any:
    """See nnabla: 0 where the label is below 0."""
    return softmax_cross_entropy_pair(Pair(x), Pair(target), axis).value


def categorical_cross_entropy(x: Array, target: Array, axis: int | None = None) -> Any:
    """See nnabla: 0 where the label is below 0."""
    p, t = values(x), values(target)
    axis = p.ndim - 1 if axis is None else axis
    label = np.maximum(t, 0).astype(np.int64)
    chosen = np.maximum(np.take_along_axis(p, label, axis), TINY)

    def pullback(g: np.ndarray) -> list[Any]:
        by_p = np.zeros_like(p)
        np.put_along_axis(by_p, label, -g * (t >= 0) / chosen, axis)
        return [by_p, None]

    return recorded([x, target], -np.log(chosen) * (t >= 0), pullback)


def _binary_cross_entropy(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    log_p, log_q = (np.log(np.maximum(v, TINY)) for v in (p, 1 - p))
    return -(t * log_p + (1 - t) * log_q)


def _huber(x0: np.ndarray, x1: np.ndarray, delta: float) -> np.ndarray:
    d = np.abs(x0 - x1)
    return np.where(d < delta, d * d, delta * (2 * d - delta))


def _kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return p * (np.log(p + KL_EPSILON) - np.log(q + KL_EPSILON))


def _sigmoid_cross_entropy(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(-np.abs(x))) + (np.maximum(x, 0) - x * np.trunc(t))


VALUES: Mapping[str, Callable[..., np.ndarray]] = {
    "absolute_error": lambda x0, x1: np.abs(x0 - x1),
    "binary_cross_entropy": _binary_cross_entropy,
    "epsilon_insensitive_loss": lambda x0, x1, epsilon: np.maximum(np.abs(x0 - x1) - epsilon, 0),
    "huber_loss": _huber,
    "sigmoid_cross_entropy": _sigmoid_cross_entropy,
    "squared_error": lambda x0, x1: np.square(x0 - x1),
}
"""By nnabla's name; their derivatives are in `nnabla_influence.engine.tangents.losses`."""


def functions(F: Any) -> dict[str, Callable[..., Any]]:
    """Return the functions, by nnabla's names, that call others of F."""
    of_each = binary(_kl, KL_PARTIALS, F)

    def kl_multinomial(p: Array, q: Array, base_axis: int = 1) -> Any:
        kept = p.shape[: base_axis % p.ndim]
        y = F.sum(of_each(p, q), axes=[*range(len(kept), p.ndim)])
        return F.reshape(y, (*kept, 1))

    return {
        "categorical_cross_entropy": categorical_cross_entropy,
        "kl_multinomial": kl_multinomial,
        "log_softmax": log_softmax,
        "softmax": softmax,
        "softmax_cross_entropy": softmax_cross_entropy,
        **by_values(VALUES, PARTIALS, F),
    }
