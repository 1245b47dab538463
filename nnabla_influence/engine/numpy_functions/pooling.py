"""Poolings: a window of shifted views of the input."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.layers import Pair, paired
from nnabla_influence.engine.numpy_functions.tape import Array, Gradient, Tensor, values


@dataclass(frozen=True)
class _Shifts:
    """The views of a padded input that stand under each place of a pooling's window.

    Attributes:
        n: Of the output along the pooled axes.
        shape: Of the input.
        pads: For `numpy.pad`, so that every window lies within.
        index: The views.
    """

    n: tuple[int, ...]
    shape: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    index: tuple[tuple[slice, ...], ...]

    @classmethod
    def of(
        cls,
        shape: tuple[int, ...],
        kernel: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int],
        ignore_border: bool,
        channel_last: bool,
    ) -> _Shifts:
        first = len(shape) - len(kernel) - channel_last
        stride, pad = tuple(stride or kernel), tuple(pad or (0,) * len(kernel))
        sizes = shape[first : first + len(kernel)]
        if ignore_border:
            n = [(w + 2 * p - k) // s + 1 for w, p, k, s in zip(sizes, pad, kernel, stride)]
        else:
            n = [(w + 2 * p - 1) // s + 1 for w, p, s in zip(sizes, pad, stride)]
        after = [
            max(p, (m - 1) * s + k - w - p) for w, p, k, s, m in zip(sizes, pad, kernel, stride, n)
        ]
        rest = len(shape) - first - len(kernel)
        pads = ((0, 0),) * first + tuple(zip(pad, after)) + ((0, 0),) * rest
        whole = (slice(None),) * first
        index = tuple(
            (*whole, *(slice(i, i + m * s, s) for i, m, s in zip(place, n, stride)))
            for place in itertools.product(*map(range, kernel))
        )
        return cls(tuple(n), shape, pads, index)

    def views(self, x: np.ndarray, filling: float = 0.0) -> Iterator[np.ndarray]:
        """Yield the view of each place of the window."""
        padded = (
            x if not any(map(any, self.pads)) else np.pad(x, self.pads, constant_values=filling)
        )
        for index in self.index:
            yield padded[index]

    def gathered(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Return the transpose of `views`: the sum of a part at each place."""
        # The memory's order is kept, since that of images is not nnabla's.
        order = np.argsort(parts[0].strides)[::-1]
        sizes = tuple(w + a + b for w, (a, b) in zip(self.shape, self.pads))
        memory = np.zeros(tuple(sizes[axis] for axis in order), parts[0].dtype)
        padded = memory.transpose(np.argsort(order))
        for index, part in zip(self.index, parts):
            padded[index] += part
        return padded[tuple(slice(a, a + w) for w, (a, _) in zip(self.shape, self.pads))]


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
    shifts = _Shifts.of(data.shape, kernel, stride, pad, ignore_border, channel_last)
    views = list(shifts.views(data, -np.inf))
    y = views[0].copy("K")
    for view in views[1:]:
        np.maximum(y, view, out=y)
    if not isinstance(x.value, Tensor) and x.tangent is None:
        return Pair(y)
    masks = []
    free = None
    for view in views:
        here = view == y
        if free is None:
            free = ~here
        else:
            here &= free
            free &= ~here
        masks.append(here)
    dy = None
    if x.tangent is not None:
        tangents = shifts.views(values(x.tangent))
        dy = next(tangents) * masks[0]
        for view, here in zip(tangents, masks[1:]):
            dy += view * here

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        return [
            None
            if g is None or not isinstance(v, Tensor)
            else shifts.gathered([g * m for m in masks])
            for v, g in zip(x, (p, q))
        ]

    return paired(x, y, dy, pullback)


def max_pooling(x: Array, **args: Any) -> Any:
    """See nnabla."""
    return max_pooling_pair(Pair(x), **args).value


FUNCTIONS = {"max_pooling": max_pooling}
