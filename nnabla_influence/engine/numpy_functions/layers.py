"""Layers with weights: a value and its tangent together, since they share most of the work.

For y = f(x, W) that is linear in each, with tangents x' and W',

    y' = f(x', W) + f(x, W').

Each `..._pair` takes and returns (value, tangent); a tangent may be None, which is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nnabla_influence.engine.numpy_functions.correlation import (
    Window,
    correlate,
    spread,
    weights,
)
from nnabla_influence.engine.numpy_functions.tape import Array, Gradient, Tensor, values
from nnabla_influence.engine.threads import add_to


class Pair(NamedTuple):
    """A value and its tangent."""

    value: Any
    tangent: Any = None


NO_BIAS = Pair(None)


def affine_pair(x: Pair, weight: Pair, bias: Pair = NO_BIAS, base_axis: int = 1) -> Pair:
    """Y = x W + b, with x and W as matrices."""
    shape = weight.value.shape
    if x.value.ndim > 2 or len(shape) > 2:
        out = x.value.shape[: base_axis % x.value.ndim] + shape[1:]
        flat = None if bias.value is None else reshape_pair(bias, (-1,))
        x, weight = reshape_pair(x, (-1, shape[0])), reshape_pair(weight, (shape[0], -1))
        return reshape_pair(affine_pair(x, weight, flat or NO_BIAS), out)
    inputs = (*x, *weight, *bias)
    x_, dx, w, dw, b, db = map(values, inputs)
    # Of one target, a product with value and tangent is faster than one with each.
    both = None if dx is None or dx.ndim > 2 else np.concatenate((x_, dx))
    y, dy = (x_ @ w, _nn(dx, w)) if both is None else _halves(both @ w)
    if b is not None:
        y += b
    dy = sum_of(dy, _nn(x_, dw))
    if db is not None:
        lead = db.shape[:-1]
        dy = np.zeros((*lead, *y.shape), y.dtype) if dy is None else dy
        dy += db[..., None, :]
    wanted = [isinstance(v, Tensor) for v in inputs]

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        by_w: Gradient
        if both is not None and p is not None and q is not None:
            of_both = np.concatenate((p, q))
            by_x, by_dx = _halves(of_both @ w.T)
            by_w = both.T @ of_both if wanted[2] else None
        else:
            by_x = _nt(p, w) if wanted[0] else None
            by_dx = _nt(q, w) if wanted[1] else None
            by_w = sum_of(_tn(x_, p), _tn(dx, q)) if wanted[2] else None
        return (
            sum_of(by_x, _nt(q, dw)) if wanted[0] else None,
            by_dx,
            by_w,
            _tn(x_, q) if wanted[3] else None,
            total(p) if wanted[4] else None,
            total(q) if wanted[5] else None,
        )

    return paired(inputs, y, dy, pullback, stacked=True)


def reshape_pair(x: Pair, shape: Sequence[int], inplace: bool = True) -> Pair:
    """Return x with another shape."""
    data, dx = values(x.value), values(x.tangent)
    y = data.reshape(shape)

    def back(g: Gradient, of: tuple[int, ...] = data.shape) -> Gradient:
        return None if g is None else g.reshape((*g.shape[: g.ndim - y.ndim], *of))

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        return back(p), back(q)

    dy = None if dx is None else dx.reshape((*dx.shape[: dx.ndim - data.ndim], *y.shape))
    return paired(x, y, dy, pullback, stacked=True)


def convolution_pair(
    x: Pair,
    weight: Pair,
    bias: Pair = NO_BIAS,
    base_axis: int = 1,
    pad: Sequence[int] = (),
    stride: Sequence[int] = (),
    dilation: Sequence[int] = (),
    group: int = 1,
    channel_last: bool = False,  # which nnabla does not compute on a CPU
) -> Pair:
    """Return the correlation of one- or two-dimensional images with kernels, of (o, c, kh, kw)."""
    images = Images(x.value.shape, base_axis)
    lead = targets_of(x, weight, bias)
    w = images.kernel(values(weight.value))
    dw = [] if weight.tangent is None else [images.kernel(v) for v in _each(weight.tangent, lead)]
    window = images.window(w.shape[:2], pad, stride, dilation, group)
    x_, dx = images.of(x.value), images.of(x.tangent, lead)
    y, *rest = correlate(x_, [w, *dw], window)
    dy = np.concatenate(rest) if len(rest) > 1 else rest[0] if rest else None
    if dx is not None:
        along_x = correlate(dx, [w], window)[0]
        dy = sum_of(along_x, dy)
    n, size = len(x_), x_.shape[1:3]

    def each(g: np.ndarray | None) -> list[np.ndarray]:
        return [] if g is None else [g[i : i + n] for i in range(0, len(g), n)]

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        p, q = images.of(p, lead), images.of(q, lead)
        by_x = by_dx = None
        by_w: list[Any] = []
        by_dw: list[Any] = []
        wanted = [*(each(q) if isinstance(weight.tangent, Tensor) else [])]
        split = len(wanted)
        wanted += each(p) if isinstance(weight.value, Tensor) else []
        if wanted:
            found = weights(x_, wanted, window)
            by_dw, by_w = found[:split], found[split:]
        if isinstance(weight.value, Tensor) and dx is not None and q is not None:
            along = [weights(d, [g], window)[0] for d, g in zip(each(dx), each(q))]
            by_w = [sum_of(a, b) for a, b in zip(along, by_w)] if by_w else along
        if isinstance(x.value, Tensor) and p is not None:
            by_x = spread(p, [w], window, size)[0]
        if isinstance(x.value, Tensor) and dw and q is not None:
            through_w = isinstance(x.tangent, Tensor)
            both = [spread(g, [d, *[w] * through_w], window, size) for d, g in zip(dw, each(q))]
            by_x = sum_of(_joined([by[0] for by in both]), by_x)
            by_dx = _joined([by[1] for by in both]) if through_w else None
        elif isinstance(x.tangent, Tensor) and q is not None:
            by_dx = spread(q, [w], window, size)[0]
        return (
            images.back(by_x, lead),
            images.back(by_dx, lead),
            images.kernels_back(by_w, lead),
            images.kernels_back(by_dw, lead),
        )

    pair = paired((*x, *weight), images.back(y), images.back(dy, lead), pullback, stacked=True)
    return with_bias(pair, bias, images)


def _each(v: Any, lead: tuple[int, ...]) -> list[Any]:
    """Return the parts of a tangent, one for each target."""
    return list(values(v)) if lead else [values(v)]


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Images:
    """Between nnabla's (..., C, H, W) or (..., C, W) and the images (B, H, W, C) of a correlation.

    Both are views of one memory where possible, so a network's images stay in the latter order.
    """

    def __init__(self, shape: tuple[int, ...], base_axis: int):
        self.base_axis = base_axis % len(shape)
        self.leading = shape[: self.base_axis]
        self.flat = len(shape) - self.base_axis == 2  # one-dimensional

    def of(self, x: Any, lead: tuple[int, ...] = ()) -> Any:
        """Return the images of an array; of several targets, one after the other."""
        if x is None:
            return None
        x = values(x)
        x = np.moveaxis(x.reshape(-1, *x.shape[len(lead) + self.base_axis :]), 1, -1)
        return x[:, None] if self.flat else x

    def back(self, x: np.ndarray | None, lead: tuple[int, ...] = ()) -> Any:
        """Return the array of images."""
        if x is None:
            return None
        x = np.moveaxis(x[:, 0] if self.flat else x, -1, 1)
        return x.reshape(*lead, *self.leading, *x.shape[1:])

    def kernel(self, w: np.ndarray | None) -> Any:
        """(o, c, kh, kw) -> (kh, kw, c, o)."""
        if w is None:
            return None
        w = np.moveaxis(np.moveaxis(w, 1, -1), 0, -1)
        return np.ascontiguousarray(w[None] if self.flat else w)

    def kernel_back(self, w: np.ndarray | None) -> Any:
        """(kh, kw, c, o) -> (o, c, kh, kw)."""
        if w is None:
            return None
        return np.moveaxis(np.moveaxis(w[0] if self.flat else w, -1, 0), -1, 1)

    def kernels_back(self, kernels: Sequence[np.ndarray], lead: tuple[int, ...]) -> Any:
        """Return the kernels of each target, None where there are none."""
        back = [self.kernel_back(w) for w in kernels]
        return np.stack(back) if lead and back else back[0] if back else None

    def window(
        self,
        kernel: tuple[int, ...],
        pad: Sequence[int],
        stride: Sequence[int],
        dilation: Sequence[int],
        group: int,
    ) -> Window:
        """Return how a kernel of (height, width) moves, by nnabla's arguments."""

        def two(given: Sequence[int], default: int) -> tuple[int, int]:
            sizes = tuple(given) or (default,) * (1 if self.flat else 2)
            return (default, sizes[0]) if self.flat else (sizes[0], sizes[1])

        return Window((kernel[0], kernel[1]), two(pad, 0), two(stride, 1), two(dilation, 1), group)


def targets_of(*pairs: Pair) -> tuple[int, ...]:
    """Return the first axes of tangents that their values have not: (k,) for k targets, else ()."""
    for value, tangent in pairs:
        if tangent is not None:
            return tuple(tangent.shape[: tangent.ndim - value.ndim])
    return ()


def paired(
    inputs: Sequence[Any],
    y: np.ndarray,
    dy: np.ndarray | None,
    pullback: Any,
    stacked: bool = False,
) -> Pair:
    """Return a pair that a tape knows.

    Args:
        inputs: Of the function, value and tangent of each.
        y: The value.
        dy: The tangent.
        pullback: From the gradients by value and tangent to those by the inputs.
        stacked: See `Tape.record`.
    """
    for x in inputs:
        if isinstance(x, Tensor):
            if dy is None:
                return Pair(x.tape.record(inputs, [y], lambda p: pullback(p, None), stacked)[0])
            return Pair(*x.tape.record(inputs, [y, dy], pullback, stacked))
    return Pair(y, dy)


def with_bias(y: Pair, bias: Pair, images: Images) -> Pair:
    """Add a bias to the channels."""
    if bias.value is None:
        return y

    def added(part: Array | None, b: Array | None) -> Any:
        if b is None:
            return part
        lead, n = b.shape[:-1], b.shape[-1]
        zeros = np.zeros((*lead, *y.value.shape), values(b).dtype) if part is None else None
        data = images.of(values(part) if zeros is None else zeros, lead)
        # Whole rows at once, since NumPy is slow along a short last axis.
        rows = data.reshape(*lead, -1, data.shape[2] * n)
        add_to(rows, np.tile(values(b)[..., None, :], data.shape[2]))  # nothing else has seen it
        data = images.back(rows.reshape(data.shape), lead)

        def pullback(g: np.ndarray) -> Sequence[Gradient]:
            if not isinstance(b, Tensor):
                return g, None
            targets = g.shape[: g.ndim - y.value.ndim]
            flat = images.of(g, targets).reshape(*targets, -1, n)
            return g, total(flat)

        tape = next((v.tape for v in (part, b) if isinstance(v, Tensor)), None)
        return data if tape is None else tape.record((part, b), [data], pullback, True)[0]

    return Pair(added(y.value, bias.value), added(y.tangent, bias.tangent))


def sum_of(a: Gradient, b: Gradient) -> Gradient:
    """Return a + b, in the memory of a, which nothing else holds; None is zero."""
    if a is None or b is None:
        return b if a is None else a
    add_to(a, b)
    return a


def _halves(both: np.ndarray) -> tuple[Any, Gradient]:
    """Return the rows of a value and of its tangent."""
    n = len(both) // 2
    return both[:n], both[n:]


def total(g: Gradient) -> Gradient:
    """Return the sum of rows, by a product, which is faster."""
    return None if g is None else np.ones(g.shape[-2], g.dtype) @ g


def _nn(a: Gradient, b: Gradient) -> Gradient:
    if a is None or b is None:
        return None
    if a.ndim == 3 and b.ndim == 2:  # one product in place of one for each target
        return (a.reshape(-1, a.shape[2]) @ b).reshape(*a.shape[:2], -1)
    return a @ b


def _tn(a: Gradient, b: Gradient) -> Gradient:
    return None if a is None else _nn(a.swapaxes(-1, -2), b)


def _nt(a: Gradient, b: Gradient) -> Gradient:
    return None if b is None else _nn(a, b.swapaxes(-1, -2))
