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
    out = x.value.shape[: base_axis % x.value.ndim] + weight.value.shape[1:]
    n, shape = weight.value.shape[0], weight.value.shape
    lead = targets_of(x, weight, bias)
    w, x_ = values(weight.value).reshape(n, -1), values(x.value).reshape(-1, n)
    dw = None if weight.tangent is None else values(weight.tangent).reshape(*lead, n, -1)
    dx = None if x.tangent is None else values(x.tangent).reshape(*lead, -1, n)
    y = x_ @ w
    if bias.value is not None:
        y += values(bias.value).reshape(-1)
    dy = None if dw is None else x_ @ dw
    if dx is not None:
        along_x = (dx.reshape(-1, n) @ w).reshape(*lead, *y.shape)
        dy = along_x if dy is None else np.add(dy, along_x, out=dy)
    if bias.tangent is not None:
        db = values(bias.tangent).reshape(*lead, 1, -1)
        dy = np.broadcast_to(db, (*lead, *y.shape)) if dy is None else np.add(dy, db, out=dy)
    inputs = (*x, *weight, *bias)

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        p, q = (None if g is None else g.reshape(*lead, *y.shape) for g in (p, q))
        wanted = [isinstance(v, Tensor) for v in inputs]
        of_bias = None if bias.value is None else bias.value.shape
        found = (
            (sum_of(_nt(p, w), _nt(q, dw)) if wanted[0] else None, x.value.shape),
            (_nt(q, w) if wanted[1] else None, x.value.shape),
            (sum_of(_tn(x_, p), _tn(dx, q)) if wanted[2] else None, shape),
            (_tn(x_, q) if wanted[3] else None, shape),
            (p.sum(axis=-2) if wanted[4] and p is not None else None, of_bias),
            (q.sum(axis=-2) if wanted[5] and q is not None else None, of_bias),
        )
        return [None if g is None else g.reshape(*lead, *(of or ())) for g, of in found]

    dy = None if dy is None else dy.reshape(*lead, *out)
    return paired(inputs, y.reshape(out), dy, pullback, stacked=True)


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
    return with_bias(pair, bias, images.base_axis)


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
    tape = next((x.tape for x in inputs if isinstance(x, Tensor)), None)
    if tape is None:
        return Pair(y, dy)
    if dy is None:
        return Pair(tape.record(inputs, [y], lambda p: pullback(p, None), stacked)[0])
    return Pair(*tape.record(inputs, [y, dy], pullback, stacked))


def with_bias(y: Pair, bias: Pair, axis: int) -> Pair:
    """Add a bias along the axes from ``axis`` on, or along the one axis of the channels."""
    if bias.value is None:
        return y

    shape, ndim = bias.value.shape, y.value.ndim
    along = axis % ndim
    aligned = (*[1] * along, *shape, *[1] * (ndim - along - len(shape)))
    summed = tuple(i - ndim for i, size in enumerate(aligned) if size == 1)

    def added(part: Array | None, b: Array | None) -> Any:
        if b is None:
            return part
        lead = b.shape[: b.ndim - len(shape)]
        view = values(b).reshape(*lead, *aligned)
        data = np.zeros((*lead, *y.value.shape), view.dtype) if part is None else values(part)
        add_to(data, view)  # nothing else has seen it

        def pullback(g: np.ndarray) -> Sequence[Gradient]:
            if not isinstance(b, Tensor):
                return g, None
            return g, g.sum(axis=summed).reshape(*g.shape[: g.ndim - ndim], *shape)

        tape = next((v.tape for v in (part, b) if isinstance(v, Tensor)), None)
        return data if tape is None else tape.record((part, b), [data], pullback, True)[0]

    return Pair(added(y.value, bias.value), added(y.tangent, bias.tangent))


def sum_of(a: Gradient, b: Gradient) -> Gradient:
    """Return a + b, in the memory of a, which nothing else holds; None is zero."""
    if a is None or b is None:
        return b if a is None else a
    add_to(a, b)
    return a


def _tn(a: Gradient, b: Gradient) -> Gradient:
    return None if a is None or b is None else a.swapaxes(-1, -2) @ b


def _nt(a: Gradient, b: Gradient) -> Gradient:
    if a is None or b is None:
        return None
    if a.ndim == 3 and b.ndim == 2:  # one product in place of one for each target
        return (a.reshape(-1, a.shape[2]) @ b.T).reshape(*a.shape[:2], -1)
    return a @ b.swapaxes(-1, -2)
