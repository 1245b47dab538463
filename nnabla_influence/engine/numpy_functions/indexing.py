"""Functions that choose values by indices or by their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.arrays import at, reshape
from nnabla_influence.engine.numpy_functions.tape import (
    Array,
    recorded,
    values,
)


def one_hot(x: Array, shape: Sequence[int]) -> np.ndarray:
    """See nnabla: indices along the last axis; one that is out of bounds has no 1."""
    index, dtype = np.moveaxis(values(x), -1, 0), values(x).dtype
    y = np.ones((1,) * len(shape), dtype)
    for axis, (i, n) in enumerate(zip(index, shape)):
        hot = (i[..., None] == np.arange(n)).astype(dtype)
        rest = (1,) * axis + (n,) + (1,) * (len(shape) - axis - 1)
        y = y * hot.reshape(*i.shape, *rest)
    return y


def one_hot_at(index: Array, n: int, axis: int) -> np.ndarray:
    """Return 1 at the indices along an axis of n, which is 1 in ``index``; else 0."""
    shape = [1] * values(index).ndim
    shape[axis] = n
    numbers = np.arange(n).reshape(shape)
    return (values(index) == numbers).astype(np.float32)


def embed(x0: Array, w: Array) -> Any:
    """See nnabla."""
    return at(w, values(x0).astype(np.int64), once=False)


def gather(x: Array, Indices: Array, axis: int | None = None, batch_dims: int | None = None) -> Any:
    """See nnabla."""
    index = values(Indices).astype(np.int64)
    axis, batch = (axis or 0) % x.ndim, batch_dims or 0
    # The axes of the result so far: those before ``axis``, then those of the indices.
    ndim = axis - batch + index.ndim
    before = [np.arange(n).reshape(-1, *[1] * (ndim - i - 1)) for i, n in enumerate(x.shape[:axis])]
    places = index.reshape(*index.shape[:batch], *[1] * (axis - batch), *index.shape[batch:])
    return at(x, (*before, places), once=False)


def gather_nd(x: Array, indices: Array) -> Any:
    """See nnabla."""
    return at(x, tuple(values(indices).astype(np.int64)), once=False)


def scatter_nd(data: Array, indices: Array, shape: Sequence[int], add: bool = False) -> Any:
    """See nnabla."""
    index = tuple(values(indices).astype(np.int64))
    y = np.zeros(tuple(shape), values(data).dtype)
    if add:
        np.add.at(y, index, values(data))
    else:
        y[index] = values(data)
    return recorded([data], y, lambda g: [g[index]])


def sort(
    x: Array,
    axis: int = -1,
    reverse: bool = False,
    with_index: bool = False,
    only_index: bool = False,
) -> Any:
    """See nnabla."""
    data = values(x)
    order = np.argsort(-data if reverse else data, axis=axis, kind="stable")
    index = order.astype(data.dtype)
    if only_index:
        return index
    y = _taken(x, order, axis)
    return [y, index] if with_index else y


def _taken(x: Array, index: np.ndarray, axis: int) -> Any:
    """Take places of their own along an axis, each once."""
    data = values(x)

    def pullback(g: np.ndarray) -> list[np.ndarray]:
        whole = np.zeros(data.shape, g.dtype)
        np.put_along_axis(whole, index, g, axis)
        return [whole]

    return recorded([x], np.take_along_axis(data, index, axis), pullback)


def top_k_data(
    x: Array,
    k: int,
    abs: bool = False,
    reduce: bool = True,
    base_axis: int = 1,
    largest: bool = True,
    with_index: bool = False,
) -> Any:
    """See nnabla."""
    base_axis %= x.ndim
    flat = reshape(x, (*x.shape[:base_axis], -1))
    keys = np.abs(values(flat)) if abs else values(flat)
    index = np.argsort(-keys if largest else keys, axis=-1, kind="stable")[..., :k]
    if reduce:
        y = _taken(flat, index, -1)
        return [y, index.astype(values(x).dtype)] if with_index else y
    hot = np.zeros(flat.shape, values(x).dtype)
    np.put_along_axis(hot, index, 1, -1)
    hot = hot.reshape(x.shape)
    return recorded([x], values(x) * hot, lambda g: [g * hot])


def bool_fill(data: Array, mask: Array, value: float = 0) -> Any:
    """See nnabla."""
    filled = np.broadcast_to(values(mask) != 0, data.shape)
    y = np.where(filled, values(data).dtype.type(value), values(data))
    return recorded([data], y, lambda g: [g * ~filled])


FUNCTIONS = {
    "bool_fill": bool_fill,
    "embed": embed,
    "gather": gather,
    "gather_nd": gather_nd,
    "one_hot": one_hot,
    "one_hot_at": one_hot_at,
    "scatter_nd": scatter_nd,
    "sort": sort,
    "top_k_data": top_k_data,
}
