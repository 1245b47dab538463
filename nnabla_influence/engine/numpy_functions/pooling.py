"""Poolings: maxima and sums under a window that moves over the input."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.layers import Pair, paired
from nnabla_influence.engine.numpy_functions.reductions import mean
from nnabla_influence.engine.numpy_functions.tape import (
    Array,
    Gradient,
    Tensor,
    recorded,
    values,
)


@dataclass(frozen=True)
class _Window:
    """How a window moves along one axis.

    Attributes:
        axis: Of the input and the output.
        size: Of the input.
        n: Of the output.
        kernel: How many values stand under the window.
        stride: How far it moves.
        pad: How far before the input the first one begins.
    """

    axis: int
    size: int
    n: int
    kernel: int
    stride: int
    pad: int

    def parts(self) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """Yield, for each place in the window, where there are inputs, of which outputs."""
        whole = (slice(None),) * self.axis
        for i in range(self.kernel):
            offset, s = i - self.pad, self.stride
            first = max(0, -(offset // s))
            last = min(self.n, (self.size - 1 - offset) // s + 1) - 1
            if first <= last:
                inputs = slice(first * s + offset, last * s + offset + 1, s)
                yield (*whole, inputs), (*whole, slice(first, last + 1))

    def sums(self, x: np.ndarray) -> np.ndarray:
        """Return the sum under each window; the memory's order is kept."""
        shape, parts = _with(x.shape, self.axis, self.n), list(self.parts())
        if len(parts) > 1 and all(x[inputs].shape == shape for inputs, _ in parts[:2]):
            y = x[parts[0][0]] + x[parts[1][0]]
            parts = parts[2:]
        else:
            y = np.zeros_like(x, shape=shape)
        for inputs, outputs in parts:
            y[outputs] += x[inputs]
        return y

    def spread(self, y: np.ndarray) -> np.ndarray:
        """Return the transpose of `sums`."""
        exact = self.stride == self.kernel and self.n * self.stride == self.size and not self.pad
        make = np.empty_like if exact else np.zeros_like
        x = make(y, shape=_with(y.shape, self.axis, self.size))
        for inputs, outputs in self.parts():
            if exact:
                x[inputs] = y[outputs]
            else:
                x[inputs] += y[outputs]
        return x

    def counts(self, including_pad: bool) -> np.ndarray:
        """Return how many values of the input, and of its border, are under each window."""
        border = self.pad if including_pad else 0
        start = np.arange(self.n) * self.stride - self.pad
        stop = np.minimum(start + self.kernel, self.size + border)
        return np.maximum(stop - np.maximum(start, -border), 1)


def _with(shape: Sequence[int], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _windows(
    shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    ignore_border: bool,
    channel_last: bool,
) -> list[_Window]:
    first = len(shape) - len(kernel) - int(channel_last)
    stride, pad = tuple(stride or kernel), tuple(pad or (0,) * len(kernel))
    found = []
    for axis, (k, s, p) in enumerate(zip(kernel, stride, pad), first):
        size = shape[axis]
        n = (size + 2 * p - k) // s + 1 if ignore_border else -(-(size + p) // s)
        found.append(_Window(axis, size, n, k, s, p))
    return found


def max_pooling_pair(
    x: Pair,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    ignore_border: bool = True,
    pad: Sequence[int] = (),
    channel_last: bool = False,
) -> Pair:
    """Return the maximum of each window, the first of equal ones, and the tangent there."""
    data = values(x.value)
    windows = _windows(data.shape, kernel, stride, pad, ignore_border, channel_last)
    border, places = [(0, 0)] * data.ndim, [[slice(0, n, 1)] for n in data.shape]
    for w in windows:
        reach = (w.n - 1) * w.stride
        border[w.axis] = (w.pad, max(w.pad, reach + w.kernel - w.size - w.pad))
        places[w.axis] = [slice(i, i + reach + 1, w.stride) for i in range(w.kernel)]
    # All is done in the memory's order, since that of images is not nnabla's.
    order = np.argsort(data.strides, kind="stable")[::-1]
    index = list(itertools.product(*(places[axis] for axis in order)))

    def to_memory(v: np.ndarray, filling: float = 0.0) -> np.ndarray:
        padded = np.pad(v, border, constant_values=filling) if any(map(any, border)) else v
        return np.ascontiguousarray(padded.transpose(order))

    def from_memory(v: np.ndarray) -> np.ndarray:
        return v.transpose(np.argsort(order))

    memory = to_memory(data, -np.inf)
    y = memory[index[0]].copy()
    place = np.zeros(y.shape, np.min_scalar_type(len(index)))
    for number, views in enumerate(index[1:], 1):
        view = memory[views].copy()
        np.maximum(place, (view > y) * place.dtype.type(number), out=place)
        np.maximum(y, view, out=y)
    if not isinstance(x.value, Tensor) and x.tangent is None:
        return Pair(from_memory(y))
    # Where in the memory each maximum stands.
    steps = [stride // memory.itemsize for stride in memory.strides]
    offsets = [sum(part.start * step for part, step in zip(views, steps)) for views in index]
    corners = [
        np.arange(part.start, part.stop, part.step) * step for part, step in zip(index[0], steps)
    ]
    at = np.array(offsets).take(place)
    at += functools.reduce(lambda inner, outer: np.add.outer(outer, inner), reversed(corners))
    apart = all(w.stride >= w.kernel for w in windows)

    def spread(g: np.ndarray) -> np.ndarray:
        found = np.zeros(memory.size, g.dtype)
        if apart:
            found[at] = g.transpose(order)
        else:
            np.add.at(found, at, g.transpose(order))
        whole = from_memory(found.reshape(memory.shape))
        return whole[tuple(slice(a, a + n) for (a, _), n in zip(border, data.shape))]

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        return [
            spread(g) if g is not None and isinstance(v, Tensor) else None
            for v, g in zip(x, (p, q))
        ]

    dy = None if x.tangent is None else from_memory(to_memory(values(x.tangent)).take(at))
    return paired(x, from_memory(y), dy, pullback)


def max_pooling(x: Array, **args: Any) -> Any:
    """See nnabla."""
    return max_pooling_pair(Pair(x), **args).value


def average_pooling(
    x: Array,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    ignore_border: bool = True,
    pad: Sequence[int] = (),
    channel_last: bool = False,
    including_pad: bool = True,
) -> Any:
    """See nnabla."""
    windows = _windows(x.shape, kernel, stride, pad, ignore_border, channel_last)
    inverse = np.ones((), values(x).dtype)
    for w in windows:
        counts = w.counts(including_pad)
        counts = counts[:1] if (counts == counts[0]).all() else counts
        inverse = inverse / counts.reshape(-1, *[1] * (x.ndim - 1 - w.axis)).astype(inverse.dtype)
    return _sum_pooling(x, windows, inverse)


def sum_pooling(
    x: Array,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    ignore_border: bool = True,
    pad: Sequence[int] = (),
    channel_last: bool = False,
) -> Any:
    """See nnabla."""
    return _sum_pooling(x, _windows(x.shape, kernel, stride, pad, ignore_border, channel_last))


def _sum_pooling(x: Array, windows: Sequence[_Window], factor: np.ndarray | None = None) -> Any:
    """Return a factor times the sums under the windows, axis after axis."""
    y = values(x)
    for w in windows:
        y = w.sums(y)
    if factor is not None:
        y *= factor

    def pullback(g: np.ndarray) -> list[np.ndarray]:
        g = g if factor is None else g * factor
        for w in reversed(windows):
            g = w.spread(g)
        return [g]

    return recorded([x], y, pullback)


def global_average_pooling(x: Array) -> Any:
    """See nnabla."""
    return mean(x, range(2, x.ndim), keep_dims=True)


def unpooling(x: Array, kernel: Sequence[int], channel_last: bool = False) -> Any:
    """See nnabla: each value as often as the kernel is large, the transpose of a sum."""
    first = x.ndim - len(kernel) - int(channel_last)
    windows = [
        _Window(axis, x.shape[axis] * k, x.shape[axis], k, k, 0)
        for axis, k in enumerate(kernel, first)
    ]
    y = values(x)
    for w in windows:
        y = w.spread(y)

    def pullback(g: np.ndarray) -> list[np.ndarray]:
        for w in windows:
            g = w.sums(g)
        return [g]

    return recorded([x], y, pullback)


FUNCTIONS = {
    "average_pooling": average_pooling,
    "global_average_pooling": global_average_pooling,
    "max_pooling": max_pooling,
    "sum_pooling": sum_pooling,
    "unpooling": unpooling,
}
