"""Losses, and the softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.tape import Array, recorded, values


def softmax(x: Array, axis: int | None = None) -> Any:
    """See nnabla."""
    data = values(x)
    axis = data.ndim - 1 if axis is None else axis
    e = np.exp(data - data.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
    return recorded([x], y, lambda g: [y * (g - (y * g).sum(axis=axis, keepdims=True))])


def softmax_cross_entropy(x: Array, target: Array, axis: int | None = None) -> Any:
    """See nnabla: 0 where the label is below 0."""
    z, t = values(x), values(target)
    axis = z.ndim - 1 if axis is None else axis
    label = np.maximum(t, 0).astype(np.int64)
    top = z.max(axis=axis, keepdims=True)
    e = np.exp(z - top)
    total = e.sum(axis=axis, keepdims=True)
    chosen = np.take_along_axis(z, label, axis)
    y = (np.log(total) + top - chosen) * (t >= 0)

    def pullback(g: np.ndarray) -> list[Any]:
        seen = g * (t >= 0)
        by_z = (e / total) * seen
        np.put_along_axis(by_z, label, np.take_along_axis(by_z, label, axis) - seen, axis)
        return [by_z, None]

    return recorded([x, target], y, pullback)


FUNCTIONS = {"softmax": softmax, "softmax_cross_entropy": softmax_cross_entropy}
