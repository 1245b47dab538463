"""Functions that move values about, or sum them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.tape import Array, recorded, values


def reshape(x: Array, shape: Sequence[int], inplace: bool = True) -> Any:
    """See nnabla."""
    before = x.shape
    return recorded([x], values(x).reshape(tuple(shape)), lambda g: [g.reshape(before)])


def transpose(x: Array, axes: Sequence[int]) -> Any:
    """See nnabla."""
    back = np.argsort(axes)
    return recorded([x], values(x).transpose(tuple(axes)), lambda g: [g.transpose(back)])


def sum_(x: Array, axes: Sequence[int] | None = None, keep_dims: bool = False) -> Any:
    """See nnabla."""
    data = values(x)
    summed = _axes(data, axes)

    def pullback(g: np.ndarray) -> list[np.ndarray]:
        g = g if keep_dims else np.expand_dims(g, summed)
        return [np.broadcast_to(g, data.shape)]

    return recorded([x], data.sum(axis=summed, keepdims=keep_dims), pullback)


def mean(x: Array, axes: Sequence[int] | None = None, keep_dims: bool = False) -> Any:
    """See nnabla."""
    data = values(x)
    n = int(np.prod([data.shape[axis] for axis in _axes(data, axes)]))
    return sum_(x, axes, keep_dims) * (1 / n)


def _axes(x: np.ndarray, axes: Sequence[int] | None) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axes is None else tuple(axis % x.ndim for axis in axes)


def broadcast(x: Array, shape: Sequence[int]) -> Any:
    """See nnabla."""
    from nnabla_influence.engine.numpy_functions.tape import unbroadcast

    y = np.broadcast_to(values(x), tuple(shape))
    return recorded([x], y, lambda g: [unbroadcast(g, x)])


def slice_(
    x: Array,
    start: Sequence[int] | None = None,
    stop: Sequence[int] | None = None,
    step: Sequence[int] | None = None,
) -> Any:
    """See nnabla: along the last axes."""
    data = values(x)
    given = [v for v in (start, stop, step) if v is not None]
    n = len(given[0]) if given else 0
    parts = zip(*[v if v is not None else (None,) * n for v in (start, stop, step)])
    index = (..., *[slice(*part) for part in parts])

    def pullback(g: np.ndarray) -> list[np.ndarray]:
        whole = np.zeros(data.shape, g.dtype)
        whole[index] = g
        return [whole]

    return recorded([x], data[index], pullback)


def concatenate(*x: Array, axis: int) -> Any:
    """See nnabla."""
    datas = [values(v) for v in x]
    ends = np.cumsum([d.shape[axis] for d in datas])[:-1]
    y = np.concatenate(datas, axis=axis)
    return recorded(x, y, lambda g: np.split(g, ends, axis=axis))


def constant(val: float, shape: Sequence[int]) -> np.ndarray:
    """See nnabla."""
    return np.full(tuple(shape), val, np.float32)


def one_hot_at(index: Array, n: int, axis: int) -> np.ndarray:
    """Return 1 at the indices along an axis of n, which is 1 in ``index``; else 0."""
    shape = [1] * values(index).ndim
    shape[axis] = n
    numbers = np.arange(n).reshape(shape)
    return (values(index) == numbers).astype(np.float32)


def max_(
    x: Array,
    axes: Sequence[int] | None = None,
    keep_dims: bool = False,
    with_index: bool = False,
    only_index: bool = False,
) -> Any:
    """See nnabla."""
    data = values(x)
    y = data.argmax(axis=axes[0], keepdims=keep_dims)
    return y.astype(np.float32)


FUNCTIONS = {
    "max": max_,
    "broadcast": broadcast,
    "concatenate": concatenate,
    "constant": constant,
    "mean": mean,
    "one_hot_at": one_hot_at,
    "reshape": reshape,
    "slice": slice_,
    "sum": sum_,
    "transpose": transpose,
}
