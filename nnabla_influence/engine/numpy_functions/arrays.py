"""Functions that move values about."""

from __future__ import annotations

from collections.abc import Sequence
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
    flipped = (x.ndim - 1,) if axes is None else tuple(axes)
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


def constant(val: float = 0, shape: Sequence[int] = ()) -> np.ndarray:
    """See nnabla."""
    return np.full(tuple(shape), val, np.float32)


def arange(start: float, stop: float, step: float = 1) -> np.ndarray:
    """See nnabla."""
    return np.arange(start, stop, step).astype(np.float32)


def linspace(start: float, stop: float, num: int) -> np.ndarray:
    """See nnabla."""
    return np.linspace(start, stop, int(num)).astype(np.float32)


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
    "broadcast": broadcast,
    "concatenate": concatenate,
    "constant": constant,
    "flip": flip,
    "interpolate": interpolate,
    "linspace": linspace,
    "pad": pad,
    "reshape": reshape,
    "shift": shift,
    "slice": slice_,
    "split": split,
    "stack": stack,
    "tile": tile,
    "transpose": transpose,
}
