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


class Pair(NamedTuple):
    """A value and its tangent."""

    value: Any
    tangent: Any = None


def affine_pair(x: Pair, weight: Pair, bias: Pair, base_axis: int = 1) -> Pair:
    """Y = x W + b, with x and W as matrices."""
    shape = x.value.shape
    base_axis %= len(shape)
    w, dw = (_matrix(v) for v in weight)
    x_ = values(x.value).reshape(-1, w.shape[0])
    dx = None if x.tangent is None else values(x.tangent).reshape(-1, w.shape[0])
    y = x_ @ w
    dy = None
    if dw is not None:
        dy = x_ @ dw
    if dx is not None:
        along_x = dx @ w
        dy = along_x if dy is None else np.add(dy, along_x, out=dy)

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        p, q = (None if g is None else g.reshape(len(x_), -1) for g in (p, q))
        by_w = _sum(_tn(x_, p), _tn(dx, q)) if isinstance(weight.value, Tensor) else None
        by_dw = _tn(x_, q) if isinstance(weight.tangent, Tensor) else None
        by_x = _sum(_nt(p, w), _nt(q, dw)) if isinstance(x.value, Tensor) else None
        by_dx = _nt(q, w) if isinstance(x.tangent, Tensor) else None
        shapes = [x.value, x.tangent, weight.value, weight.tangent]
        return [
            None if g is None else g.reshape(like.shape)
            for g, like in zip((by_x, by_dx, by_w, by_dw), shapes)
        ]

    out = shape[:base_axis] + values(weight.value).shape[1:]
    return _with_bias(
        paired((*x, *weight), y.reshape(out), _reshaped(dy, out), pullback), bias, base_axis
    )


def convolution_pair(
    x: Pair,
    weight: Pair,
    bias: Pair,
    base_axis: int = 1,
    pad: Sequence[int] = (),
    stride: Sequence[int] = (),
    dilation: Sequence[int] = (),
    group: int = 1,
    channel_last: bool = False,  # which nnabla does not compute on a CPU
) -> Pair:
    """Return the correlation of one- or two-dimensional images with kernels, of (o, c, kh, kw)."""
    images = _Images(x.value.shape, base_axis)
    w, dw = (images.kernel(values(v)) for v in weight)
    window = images.window(w.shape[:2], pad, stride, dilation, group)
    x_, dx = (images.of(values(v)) for v in x)
    y, *rest = correlate(x_, [w] if dw is None else [w, dw], window)
    dy = rest[0] if rest else None
    if dx is not None:
        along_x = correlate(dx, [w], window)[0]
        dy = along_x if dy is None else np.add(dy, along_x, out=dy)

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        p, q = images.of(p), images.of(q)
        by_x = by_dx = by_w = by_dw = None
        wanted = [q] if isinstance(weight.tangent, Tensor) and q is not None else []
        if isinstance(weight.value, Tensor) and p is not None:
            wanted.append(p)
        if wanted:
            found = weights(x_, wanted, window)
            by_w = found.pop() if wanted[-1] is p else None
            by_dw = found.pop() if found else None
        if isinstance(weight.value, Tensor) and dx is not None and q is not None:
            by_w = _sum(weights(dx, [q], window)[0], by_w)
        size = x_.shape[1:3]
        if isinstance(x.value, Tensor) and p is not None:
            by_x = spread(p, [w], window, size)[0]
        if q is not None:
            through_w = [w] if isinstance(x.tangent, Tensor) else []
            through_dw = [dw] if isinstance(x.value, Tensor) and dw is not None else []
            if through_w or through_dw:
                found = spread(q, through_w + through_dw, window, size)
                if through_dw:
                    by_x = _sum(found.pop(), by_x)
                by_dx = found.pop() if found else None
        return (
            images.back(by_x),
            images.back(by_dx),
            images.kernel_back(by_w),
            images.kernel_back(by_dw),
        )

    pair = paired((*x, *weight), images.back(y), images.back(dy), pullback)
    return _with_bias(pair, bias, images.base_axis)


class _Images:
    """Between nnabla's (..., C, H, W) or (..., C, W) and the images (B, H, W, C) of a correlation.

    Both are views of one memory where possible, so a network's images stay in the latter order.
    """

    def __init__(self, shape: tuple[int, ...], base_axis: int):
        self.base_axis = base_axis % len(shape)
        self.leading = shape[: self.base_axis]
        self.flat = len(shape) - self.base_axis == 2  # one-dimensional

    def of(self, x: np.ndarray | None) -> Any:
        if x is None:
            return None
        x = np.moveaxis(x.reshape(-1, *x.shape[self.base_axis :]), 1, -1)
        return x[:, None] if self.flat else x

    def back(self, x: np.ndarray | None) -> Any:
        if x is None:
            return None
        x = np.moveaxis(x[:, 0] if self.flat else x, -1, 1)
        return x if len(self.leading) == 1 else x.reshape(*self.leading, *x.shape[1:])

    def kernel(self, w: np.ndarray | None) -> Any:
        """(o, c, kh, kw) -> (kh, kw, c, o)."""
        if w is None:
            return None
        w = np.moveaxis(np.moveaxis(w, 1, -1), 0, -1)
        return np.ascontiguousarray(w[None] if self.flat else w)

    def kernel_back(self, w: np.ndarray | None) -> Any:
        if w is None:
            return None
        return np.moveaxis(np.moveaxis(w[0] if self.flat else w, -1, 0), -1, 1)

    def window(
        self,
        kernel: tuple[int, ...],
        pad: Sequence[int],
        stride: Sequence[int],
        dilation: Sequence[int],
        group: int,
    ) -> Window:
        def two(given: Sequence[int], default: int) -> tuple[int, int]:
            sizes = tuple(given) or (default,) * (1 if self.flat else 2)
            return (default, sizes[0]) if self.flat else (sizes[0], sizes[1])

        return Window((kernel[0], kernel[1]), two(pad, 0), two(stride, 1), two(dilation, 1), group)


def paired(inputs: Sequence[Any], y: np.ndarray, dy: np.ndarray | None, pullback: Any) -> Pair:
    """Return a value with its tangent, recorded where one of the inputs is."""
    tape = next((x.tape for x in inputs if isinstance(x, Tensor)), None)
    if tape is None:
        return Pair(y, dy)
    if dy is None:
        return Pair(tape.record(inputs, [y], lambda p: pullback(p, None))[0])
    return Pair(*tape.record(inputs, [y, dy], pullback))


def _with_bias(y: Pair, bias: Pair, axis: int) -> Pair:
    """Add a bias along the axes from ``axis`` on, or along the one axis of the channels."""
    if bias.value is None:
        return y

    def added(part: Array | None, b: Array | None) -> Any:
        if b is None:
            return part
        shape = [1] * y.value.ndim
        raw = values(b)
        if raw.ndim == 1:
            shape[axis] = len(raw)
        else:
            shape[axis:] = raw.shape
        view = raw.reshape(shape)
        if part is None:
            part = np.zeros(y.value.shape, raw.dtype)
        data = values(part)
        data += view  # nothing else has seen it
        summed = tuple(i for i, size in enumerate(shape) if size == 1)

        def pullback(g: np.ndarray) -> Sequence[Gradient]:
            by_b = g.sum(axis=summed).reshape(raw.shape) if isinstance(b, Tensor) else None
            return g, by_b

        tape = next((v.tape for v in (part, b) if isinstance(v, Tensor)), None)
        return data if tape is None else tape.record((part, b), [data], pullback)[0]

    return Pair(added(y.value, bias.value), added(y.tangent, bias.tangent))


def _matrix(v: Array | None) -> Any:
    return None if v is None else values(v).reshape(v.shape[0], -1)


def _reshaped(a: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    return None if a is None else a.reshape(shape)


def _sum(a: Gradient, b: Gradient) -> Gradient:
    if a is None or b is None:
        return b if a is None else a
    a += b
    return a


def _tn(a: Gradient, b: Gradient) -> Gradient:
    return None if a is None or b is None else a.T @ b


def _nt(a: Gradient, b: Gradient) -> Gradient:
    return None if a is None or b is None else a @ b.T
