"""Functions that move values about, add or multiply them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.tape import (
    Array,
    Gradient,
    Tensor,
    recorded,
    unbroadcast,
    values,
)


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

    return recorded([x], np.asarray(data.sum(axis=summed, keepdims=keep_dims)), pullback)


def mean(x: Array, axes: Sequence[int] | None = None, keep_dims: bool = False) -> Any:
    """See nnabla."""
    n = int(np.prod([x.shape[axis] for axis in _axes(values(x), axes)]))
    # Not a number: that would make NumPy 1 turn a float32 without axes into a float64.
    return sum_(x, axes, keep_dims) * np.asarray(1 / n, values(x).dtype)


def _axes(x: np.ndarray, axes: Sequence[int] | None) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axes is None else tuple(axis % x.ndim for axis in axes)


def broadcast(x: Array, shape: Sequence[int]) -> Any:
    """See nnabla."""
    y = np.broadcast_to(values(x), tuple(shape))
    return recorded([x], y, lambda g: [unbroadcast(g, x)])


def at(x: Array, index: Any, once: bool = True) -> Any:
    """Return ``x[index]``.

    Args:
        x: Array or tensor.
        index: NumPy's.
        once: Whether no value is taken twice.
    """
    data = values(x)

    def pullback(g: np.ndarray) -> list[np.ndarray]:
        whole = np.zeros(data.shape, g.dtype)
        if once:
            whole[index] = g
        else:
            np.add.at(whole, index, g)
        return [whole]

    return recorded([x], data[index], pullback)


def slice_(
    x: Array,
    start: Sequence[int] | None = None,
    stop: Sequence[int] | None = None,
    step: Sequence[int] | None = None,
) -> Any:
    """See nnabla: along the last axes; a step below 0 may go past the front."""
    n = len(next((v for v in (start, stop, step) if v is not None), ()))
    parts = list(zip(*[v if v is not None else (None,) * n for v in (start, stop, step)]))
    return at(x, (..., *[slice(*part) for part in parts]))


def flip(x: Array, axes: Sequence[int] | None = None) -> Any:
    """See nnabla."""
    flipped = (x.ndim - 1,) if axes is None else _axes(values(x), axes)
    y = np.flip(values(x), flipped)
    return recorded([x], y, lambda g: [np.flip(g, flipped)])


def concatenate(*x: Array, axis: int) -> Any:
    """See nnabla."""
    datas = [values(v) for v in x]
    ends = np.cumsum([d.shape[axis] for d in datas])[:-1]
    y = np.concatenate(datas, axis=axis)
    return recorded(x, y, lambda g: np.split(g, ends, axis=axis))


def stack(*x: Array, axis: int) -> Any:
    """See nnabla."""
    y = np.stack([values(v) for v in x], axis)
    return recorded(x, y, lambda g: list(np.moveaxis(g, axis, 0)))


def split(x: Array, axis: int = 0) -> list[Any]:
    """See nnabla."""
    parts = list(np.moveaxis(values(x), axis, 0))
    if not isinstance(x, Tensor):
        return parts

    def pullback(*g: Gradient) -> list[np.ndarray]:
        each = [np.zeros_like(part) if a is None else a for a, part in zip(g, parts)]
        return [np.stack(each, axis)]

    return list(x.tape.record([x], parts, pullback))


def tile(x: Array, reps: Sequence[int]) -> Any:
    """See nnabla."""
    n = max(len(reps), x.ndim)
    shape = (1,) * (n - x.ndim) + tuple(x.shape)
    reps = (1,) * (n - len(reps)) + tuple(reps)
    pairs = [size for both in zip(reps, shape) for size in both]
    ones = [size for r, s in zip(reps, shape) for size in (1, s)]
    return reshape(broadcast(reshape(x, ones), pairs), [r * s for r, s in zip(reps, shape)])


def _along_last(x: Array, indices: Sequence[np.ndarray]) -> Any:
    """Take places along each of the last axes; they may repeat."""
    first = x.ndim - len(indices)
    for axis, index in enumerate(indices, first):
        if not np.array_equal(index, np.arange(x.shape[axis])):
            x = at(x, (slice(None),) * axis + (index,), once=False)
    return x


def shift(x: Array, shifts: Sequence[int] | None = None, border_mode: str = "nearest") -> Any:
    """See nnabla: along the last axes."""
    shifts = (0,) * x.ndim if shifts is None else shifts
    mode: Any = "symmetric" if border_mode == "reflect" else "edge"
    indices = []
    for n, by in zip(x.shape[x.ndim - len(shifts) :], shifts):
        places = np.pad(np.arange(n), (abs(by), abs(by)), mode=mode)
        indices.append(places[abs(by) - by :][:n])
    return _along_last(x, indices)


def pad(
    x: Array, pad_width: Sequence[int], mode: str = "constant", constant_value: float = 0
) -> Any:
    """See nnabla: along the last axes."""
    widths = list(zip(pad_width[::2], pad_width[1::2]))
    sizes = x.shape[x.ndim - len(widths) :]
    if mode != "constant":
        how: Any = "edge" if mode == "repeat" else "reflect"
        return _along_last(x, [np.pad(np.arange(n), w, mode=how) for n, w in zip(sizes, widths)])
    inner = (..., *[slice(a, a + n) for n, (a, _) in zip(sizes, widths)])
    whole = [(0, 0)] * (x.ndim - len(widths)) + widths
    y = np.pad(values(x), whole, constant_values=constant_value)
    return recorded([x], y, lambda g: [g[inner]])


def cumsum(
    x: Array, axis: int | None = None, exclusive: bool = False, reverse: bool = False
) -> Any:
    """See nnabla."""
    axis = 0 if axis is None else axis
    y = _cumulated(np.cumsum, values(x), axis, exclusive, reverse, 0)
    return recorded([x], y, lambda g: [_cumulated(np.cumsum, g, axis, exclusive, not reverse, 0)])


def _cumulated(
    function: Any, x: np.ndarray, axis: int, exclusive: bool, reverse: bool, first: float
) -> np.ndarray:
    if reverse:
        return np.flip(_cumulated(function, np.flip(x, axis), axis, exclusive, False, first), axis)
    if exclusive:
        x = np.moveaxis(x, axis, 0)
        x = np.moveaxis(np.concatenate([np.full_like(x[:1], first), x[:-1]]), 0, axis)
    return np.asarray(function(x, axis=axis))


def cumprod(
    x: Array, axis: int | None = None, exclusive: bool = False, reverse: bool = False
) -> Any:
    """See nnabla."""
    axis, data = 0 if axis is None else axis, values(x)
    y = _cumulated(np.cumprod, data, axis, exclusive, reverse, 1)

    def pullback(g: np.ndarray) -> list[np.ndarray]:
        # D_ji, the derivative of y_i by x_j: 1 takes its place, since some may be zero.
        n = data.shape[axis]
        eye = np.eye(n, dtype=data.dtype)
        others = np.moveaxis(data, axis, -1)[..., None, :] * (1 - eye) + eye
        products = _cumulated(np.cumprod, others, -1, exclusive, reverse, 1)
        products *= _cumulated(np.cumsum, eye, -1, exclusive, reverse, 0)
        by_x = (products @ np.moveaxis(g, axis, -1)[..., None])[..., 0]
        return [np.moveaxis(by_x, -1, axis)]

    return recorded([x], y, pullback)


def prod(x: Array, axes: Sequence[int] | None = None, keep_dims: bool = False) -> Any:
    """See nnabla."""
    data = values(x)
    axes = _axes(data, axes)
    y = np.asarray(data.prod(axis=axes, keepdims=keep_dims))

    def pullback(g: np.ndarray) -> list[np.ndarray]:
        flat, back = _last(data, axes)
        below = _cumulated(np.cumprod, flat, -1, True, False, 1)
        above = _cumulated(np.cumprod, flat, -1, True, True, 1)
        return [back(below * above * g.reshape(*flat.shape[:-1], 1))]

    return recorded([x], y, pullback)


def _last(x: np.ndarray, axes: Sequence[int]) -> tuple[np.ndarray, Callable[..., np.ndarray]]:
    """Return x with some axes as its last one, and the way back."""
    order = [axis for axis in range(x.ndim) if axis not in axes] + list(axes)
    moved = x.transpose(order)
    flat = moved.reshape(*moved.shape[: x.ndim - len(axes)], -1)
    return flat, lambda g: g.reshape(moved.shape).transpose(np.argsort(order))


def _extreme(choose: Any) -> Any:
    def function(
        x: Array,
        axes: Sequence[int] | None = None,
        keep_dims: bool = False,
        with_index: bool = False,
        only_index: bool = False,
    ) -> Any:
        """See nnabla: the first of equal ones."""
        data = values(x)
        axes = _axes(data, axes)
        flat, back = _last(data, axes)
        index = choose(flat, axis=-1)[..., None]
        shape = data.sum(axis=axes, keepdims=keep_dims).shape
        places = index.reshape(shape).astype(data.dtype)
        if only_index:
            return places

        def pullback(g: np.ndarray) -> list[np.ndarray]:
            whole = np.zeros(flat.shape, g.dtype)
            np.put_along_axis(whole, index, g.reshape(index.shape), -1)
            return [back(whole)]

        y = recorded([x], np.take_along_axis(flat, index, -1).reshape(shape), pullback)
        return [y, places] if with_index else y

    return function


def constant(val: float = 0, shape: Sequence[int] = ()) -> np.ndarray:
    """See nnabla."""
    return np.full(tuple(shape), val, np.float32)


def arange(start: float, stop: float, step: float = 1) -> np.ndarray:
    """See nnabla."""
    return np.arange(start, stop, step).astype(np.float32)


def linspace(start: float, stop: float, num: int) -> np.ndarray:
    """See nnabla."""
    return np.linspace(start, stop, int(num)).astype(np.float32)


def eye_like(x: Array, k: int = 0) -> np.ndarray:
    """See nnabla."""
    return np.eye(x.shape[0], x.shape[1], k, dtype=values(x).dtype)


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


def scatter_add(x0: Array, indices: Array, x1: Array, axis: int | None = None) -> Any:
    """See nnabla."""
    places = values(indices).astype(np.int64)
    index = list(np.indices(places.shape, sparse=True))
    index[axis or 0] = places
    part = tuple(slice(n) for n in places.shape)
    y = values(x0).astype(np.result_type(values(x0), values(x1)))
    np.add.at(y, tuple(index), values(x1)[part])

    def pullback(g: np.ndarray) -> list[Gradient]:
        by_x1 = np.zeros(x1.shape, g.dtype)
        by_x1[part] = g[tuple(index)]
        return [g, by_x1]

    return recorded([x0, x1], y, pullback)


def batch_matmul(a: Array, b: Array, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    """See nnabla."""
    left, right = values(a), values(b)
    left = left.swapaxes(-1, -2) if transpose_a else left
    right = right.swapaxes(-1, -2) if transpose_b else right

    def pullback(g: np.ndarray) -> list[Gradient]:
        by_a = by_b = None
        if isinstance(a, Tensor):
            by_a = g @ right.swapaxes(-1, -2)
            by_a = unbroadcast(by_a.swapaxes(-1, -2) if transpose_a else by_a, a)
        if isinstance(b, Tensor):
            by_b = left.swapaxes(-1, -2) @ g
            by_b = unbroadcast(by_b.swapaxes(-1, -2) if transpose_b else by_b, b)
        return [by_a, by_b]

    return recorded([a, b], left @ right, pullback)


def matrix_diag(x: Array) -> Any:
    """See nnabla."""
    data = values(x)
    places = np.arange(data.shape[-1])
    y = np.zeros((*data.shape, data.shape[-1]), data.dtype)
    y[..., places, places] = data
    return recorded([x], y, lambda g: [g[..., places, places]])


def matrix_diag_part(x: Array) -> Any:
    """See nnabla."""
    places = np.arange(x.shape[-1])
    return at(x, (..., places, places))


def trilu(x: Array, k: int = 0, upper: bool = True) -> Any:
    """See nnabla."""
    part = np.triu if upper else np.tril
    return recorded([x], part(values(x), k), lambda g: [part(g, k)])


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


def interpolate(
    x: Array,
    output_size: Sequence[int],
    mode: str,
    align_corners: bool = True,
    half_pixel: bool = False,
    half_pixel_for_nn: bool = False,
    channel_last: bool = False,
) -> Any:
    """See nnabla: along each axis a product with a matrix of the weights of its places."""
    first = x.ndim - len(output_size) - int(channel_last)
    for axis, n in enumerate(output_size, first):
        source = _source(x.shape[axis], n, mode, align_corners, half_pixel, half_pixel_for_nn)
        low = np.minimum(source.astype(np.int64), x.shape[axis] - 1)
        matrix = np.zeros((n, x.shape[axis]), values(x).dtype)
        rest = (source - low) * (low < x.shape[axis] - 1) * (mode == "linear")
        matrix[np.arange(n), low] = 1 - rest
        matrix[np.arange(n), np.minimum(low + 1, x.shape[axis] - 1)] += rest
        x = _multiplied(x, matrix, axis)
    return x


def _source(
    before: int, after: int, mode: str, align_corners: bool, half_pixel: bool, half_for_nn: bool
) -> np.ndarray:
    """Return where along an axis each place comes from; in float32, as in nnabla."""
    places = np.arange(after, dtype=np.float32)
    if mode == "nearest" and half_for_nn:
        return (places + np.float32(0.5)) * np.float32(before / after)
    if align_corners:
        return places * np.float32((before - 1) / (after - 1) if after > 1 else 0)
    if half_pixel:
        scaled = (places + np.float32(0.5)) * np.float32(before / after) - np.float32(0.5)
        return np.maximum(scaled, np.float32(0))
    return places * np.float32(before / after)


def _multiplied(x: Array, matrix: np.ndarray, axis: int) -> Any:
    """Multiply along an axis with a matrix."""

    def product(m: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.moveaxis(np.tensordot(v, m, (axis, 1)), -1, axis)

    return recorded([x], product(matrix, values(x)), lambda g: [product(matrix.T, g)])


FUNCTIONS = {
    "arange": arange,
    "batch_matmul": batch_matmul,
    "bool_fill": bool_fill,
    "broadcast": broadcast,
    "concatenate": concatenate,
    "constant": constant,
    "cumprod": cumprod,
    "cumsum": cumsum,
    "embed": embed,
    "eye_like": eye_like,
    "flip": flip,
    "gather": gather,
    "gather_nd": gather_nd,
    "interpolate": interpolate,
    "linspace": linspace,
    "matrix_diag": matrix_diag,
    "matrix_diag_part": matrix_diag_part,
    "max": _extreme(np.argmax),
    "mean": mean,
    "min": _extreme(np.argmin),
    "one_hot": one_hot,
    "one_hot_at": one_hot_at,
    "pad": pad,
    "prod": prod,
    "reshape": reshape,
    "scatter_add": scatter_add,
    "scatter_nd": scatter_nd,
    "shift": shift,
    "slice": slice_,
    "sort": sort,
    "split": split,
    "stack": stack,
    "sum": sum_,
    "tile": tile,
    "top_k_data": top_k_data,
    "transpose": transpose,
    "trilu": trilu,
}
