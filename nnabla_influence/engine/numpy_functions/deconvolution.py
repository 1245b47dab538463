"""Deconvolutions, and convolutions of each channel alone: values with their tangents.

All are linear in the images and in the kernel, as a convolution is. A deconvolution is the
transpose of a correlation, so each one's gradient is the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.correlation import (
    Size,
    Window,
    correlate,
    spread,
    weights,
)
from nnabla_influence.engine.numpy_functions.depthwise import (
    channel_weights,
    correlate_channels,
    spread_channels,
)
from nnabla_influence.engine.numpy_functions.layers import (
    NO_BIAS,
    Images,
    Pair,
    affine_pair,
    convolution_pair,
    paired,
    sum_of,
    with_bias,
)
from nnabla_influence.engine.numpy_functions.tape import Array, Gradient, Tensor, values

Function = Callable[..., np.ndarray]


def deconvolution_pair(
    x: Pair,
    weight: Pair,
    bias: Pair = NO_BIAS,
    base_axis: int = 1,
    pad: Sequence[int] = (),
    stride: Sequence[int] = (),
    dilation: Sequence[int] = (),
    group: int = 1,
    channel_last: bool = False,  # which nnabla does not compute on a CPU
    output_padding: Sequence[int] = (),
) -> Pair:
    """Return the transpose of the correlation with kernels, of (c, o, kh, kw)."""
    images = Images(x.value.shape, base_axis)
    kernel = values(weight.value).shape[2:]
    window = images.window(_two(kernel), pad, stride, dilation, group)
    added = _two(tuple(output_padding) or (0,) * len(kernel), 0)
    size = _size(images.of(values(x.value)), window, added)
    return bilinear_pair(
        (x, weight, bias),
        images,
        images.kernel,
        images.kernel_back,
        forward=lambda v, w: spread(v, [w], window, size)[0],
        back=lambda g, w: correlate(g, [w], window)[0],
        by_kernel=lambda v, g: weights(g, [v], window)[0],
    )


def depthwise_convolution_pair(
    x: Pair,
    weight: Pair,
    bias: Pair = NO_BIAS,
    base_axis: int = 1,
    pad: Sequence[int] = (),
    stride: Sequence[int] = (),
    dilation: Sequence[int] = (),
    multiplier: int = 1,
) -> Pair:
    """Return the correlation of each channel with kernels of its own, of (c m, kh, kw)."""
    images = Images(x.value.shape, base_axis)
    kernel = values(weight.value).shape[1:]
    window = images.window(_two(kernel), pad, stride, dilation, 1)
    size = images.of(values(x.value)).shape[1:3]
    to, back = _kernels(kernel, multiplier)
    return bilinear_pair(
        (x, weight, bias),
        images,
        to,
        back,
        forward=lambda v, w: correlate_channels(v, w, window),
        back=lambda g, w: spread_channels(g, w, window, size),
        by_kernel=lambda v, g: channel_weights(v, g, window, multiplier),
    )


def depthwise_deconvolution_pair(
    x: Pair,
    weight: Pair,
    bias: Pair = NO_BIAS,
    base_axis: int = 1,
    pad: Sequence[int] = (),
    stride: Sequence[int] = (),
    dilation: Sequence[int] = (),
    divisor: int = 1,
) -> Pair:
    """Return the transpose of the correlation of each channel with m = ``divisor`` kernels."""
    images = Images(x.value.shape, base_axis)
    kernel = values(weight.value).shape[1:]
    window = images.window(_two(kernel), pad, stride, dilation, 1)
    size = _size(images.of(values(x.value)), window, (0, 0))
    to, back = _kernels(kernel, divisor)
    return bilinear_pair(
        (x, weight, bias),
        images,
        to,
        back,
        forward=lambda v, w: spread_channels(v, w, window, size),
        back=lambda g, w: correlate_channels(g, w, window),
        by_kernel=lambda v, g: channel_weights(g, v, window, divisor),
    )


def bilinear_pair(
    inputs: tuple[Pair, Pair, Pair],
    images: Images,
    to_kernel: Function,
    from_kernel: Function,
    *,
    forward: Function,
    back: Function,
    by_kernel: Function,
) -> Pair:
    """Return y = f(x, w) + b and y' = f(x', w) + f(x, w') + b' of an f that is linear in each.

    Args:
        inputs: x, w and b.
        images: Between nnabla's arrays and images.
        to_kernel: From nnabla's kernel to that of f.
        from_kernel: The way back.
        forward: f, of images and a kernel.
        back: From a gradient by f and the kernel to that by the images.
        by_kernel: From the images and a gradient by f to that by the kernel.
    """
    x, weight, bias = inputs
    x_, dx = (images.of(values(v)) for v in x)
    w, dw = (None if v is None else to_kernel(values(v)) for v in weight)
    y = forward(x_, w)
    dy = sum_of(_of(forward, dx, w), _of(forward, x_, dw))

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        p, q = images.of(p), images.of(q)
        by_x = by_dx = by_w = by_dw = None
        if isinstance(x.value, Tensor):
            by_x = sum_of(_of(back, p, w), _of(back, q, dw))
        if isinstance(x.tangent, Tensor):
            by_dx = _of(back, q, w)
        if isinstance(weight.value, Tensor):
            by_w = sum_of(_of(by_kernel, x_, p), _of(by_kernel, dx, q))
        if isinstance(weight.tangent, Tensor):
            by_dw = _of(by_kernel, x_, q)
        kernels = [None if g is None else from_kernel(g) for g in (by_w, by_dw)]
        return images.back(by_x), images.back(by_dx), *kernels

    pair = paired((*x, *weight), images.back(y), images.back(dy), pullback)
    return with_bias(pair, bias, images)


def _two(sizes: Sequence[int], first: int = 1) -> Size:
    """Return (height, width) of what may have but a width."""
    return (first, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _size(x: np.ndarray, window: Window, added: Size) -> Size:
    """Return the size of the images that a correlation makes x of."""
    h, w = (
        s * (n - 1) + d * (k - 1) + 1 - 2 * p + a
        for n, k, p, s, d, a in zip(
            x.shape[1:3], window.kernel, window.pad, window.stride, window.dilation, added
        )
    )
    return h, w


def _kernels(shape: Sequence[int], m: int) -> tuple[Function, Function]:
    """Return the ways between (C m, kh, kw) or (C m, kw) and (kh, kw, C, m)."""

    def to(w: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(w.reshape(-1, m, *_two(shape)), (2, 3), (0, 1)))

    def back(g: np.ndarray) -> np.ndarray:
        return np.moveaxis(g, (0, 1), (2, 3)).reshape(-1, *shape)

    return to, back


def _of(function: Function, a: Gradient, b: Gradient) -> Gradient:
    return None if a is None or b is None else function(a, b)


LAYERS: Mapping[str, Callable[..., Pair]] = {
    "Affine": affine_pair,
    "Convolution": convolution_pair,
    "Deconvolution": deconvolution_pair,
    "DepthwiseConvolution": depthwise_convolution_pair,
    "DepthwiseDeconvolution": depthwise_deconvolution_pair,
}
"""By nnabla's type of function; each takes the pairs of x, the weight and the bias."""


def _value_of(pair: Callable[..., Pair]) -> Callable[..., Any]:
    def function(x: Array, weight: Array, bias: Array | None = None, **args: Any) -> Any:
        """See nnabla."""
        return pair(Pair(x), Pair(weight), Pair(bias), **args).value

    return function


FUNCTIONS = {
    "affine": _value_of(affine_pair),
    "convolution": _value_of(convolution_pair),
    "deconvolution": _value_of(deconvolution_pair),
    "depthwise_convolution": _value_of(depthwise_convolution_pair),
    "depthwise_deconvolution": _value_of(depthwise_deconvolution_pair),
}
