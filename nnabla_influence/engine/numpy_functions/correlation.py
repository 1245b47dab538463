r"""Correlations of images with kernels by matrix products: what convolutions are made of.

Images are (B, h, w, C), kernels (kh, kw, C, O). The patches under a kernel are copied, a few at a
time so that they stay in the cache, and go through one matrix product for all kernels:

.. math:: y_{bij} = \sum_{klc} x_{b, s i + d k, s j + d l, c} \, W_{klc}

with stride s and dilation d. Outputs side by side share most of their patches: where there are few
channels, some of them are taken as one output of a wider kernel. Blocks are shared by threads; the
sums of `weights` are taken in a fixed number of parts, so that no bit depends on how many threads
there are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnabla_influence.engine.threads import for_each, scratch

_BLOCK = 400_000
"""Values of patches at a time: about what a core's second cache holds."""

_WIDE = 32
"""Outputs of a product that is not slim; a slim one is slow."""

_PARTS = 8
"""Of a sum over blocks, so that it does not depend on the number of threads."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """How a kernel moves over an image; (height, width) each."""

    kernel: Size
    pad: Size
    stride: Size
    dilation: Size
    group: int = 1

    def output(self, size: Sequence[int]) -> Size:
        """Return the size of what an image of ``size``, (height, width), gives."""
        h, w = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, p, s, d in zip(size, self.kernel, self.pad, self.stride, self.dilation)
        )
        return h, w


def correlate(x: np.ndarray, kernels: Sequence[np.ndarray], window: Window) -> list[np.ndarray]:
    """Return the correlation of images (B, H, W, C) with each of the kernels."""
    if window.group > 1:
        return _by_group(correlate, x, kernels, window)
    c, n_outputs = kernels[0].shape[2:]
    h, w = window.output(x.shape[1:3])
    together = _together(window, w, n_outputs)
    if together > 1:
        wide = [_widened(kernel, together) for kernel in kernels]
        found = correlate(x, wide, _wider(window, together))
        return [y.reshape(len(x), h, w, n_outputs) for y in found]
    k = c * window.kernel[0] * window.kernel[1]
    matrix = np.concatenate([kernel.reshape(k, n_outputs) for kernel in kernels], axis=1)
    outputs = [np.empty((len(x) * h * w, n_outputs), x.dtype) for _ in kernels]

    def block(some: slice) -> None:
        flat = _patches(x[some], window).reshape(-1, k)
        rows = slice(some.start * h * w, some.stop * h * w)
        if len(kernels) == 1:
            np.matmul(flat, matrix, out=outputs[0][rows])
            return
        product = scratch("product", (len(flat), matrix.shape[1]), x.dtype)
        np.matmul(flat, matrix, out=product)
        for i, output in enumerate(outputs):
            output[rows] = product[:, i * n_outputs : (i + 1) * n_outputs]

    for_each(block, _blocks(len(x), h * w * k), len(x) * h * w * matrix.size)
    return [output.reshape(len(x), h, w, n_outputs) for output in outputs]


def weights(x: np.ndarray, gradients: Sequence[np.ndarray], window: Window) -> list[np.ndarray]:
    r"""Return, for each gradient g by an output, that by the kernel.

    .. math:: g_{klc} = \sum_{bij} x_{b, s i + d k, s j + d l, c} \, g_{bij}
    """
    if window.group > 1:
        return _by_group(weights, x, gradients, window)
    c, n_outputs = x.shape[3], gradients[0].shape[3]
    h, w = window.output(x.shape[1:3])
    together = _together(window, w, n_outputs)
    if together > 1:
        wide = [g.reshape(len(x), h, w // together, -1) for g in gradients]
        return [_narrowed(g, together) for g in weights(x, wide, _wider(window, together))]
    k = c * window.kernel[0] * window.kernel[1]
    flat_gradients = [np.ascontiguousarray(g).reshape(-1, n_outputs) for g in gradients]
    blocks = _blocks(len(x), h * w * k)
    parts = [blocks[i::_PARTS] for i in range(min(_PARTS, len(blocks)))]
    sums = np.zeros((len(parts), k, len(gradients) * n_outputs), x.dtype)

    def part(number: int) -> None:
        for some in parts[number]:
            flat = _patches(x[some], window).reshape(-1, k)
            rows = slice(some.start * h * w, some.stop * h * w)
            g = [g[rows] for g in flat_gradients]
            sums[number] += flat.T @ (g[0] if len(g) == 1 else np.concatenate(g, axis=1))

    for_each(part, range(len(parts)), len(x) * h * w * sums[0].size)
    total = sums.sum(axis=0)
    shape = (*window.kernel, c, n_outputs)
    return [
        total[:, i * n_outputs : (i + 1) * n_outputs].reshape(shape) for i in range(len(gradients))
    ]


def spread(
    y: np.ndarray, kernels: Sequence[np.ndarray], window: Window, size: Size
) -> list[np.ndarray]:
    r"""Return the transpose of `correlate`: from (B, h, w, O) to images (B, H, W, C)."""
    if window.group > 1:
        return _by_group(functools.partial(spread, size=size), y, kernels, window)
    reach = [d * (k - 1) for k, d in zip(window.kernel, window.dilation)]
    rest = [r - p for r, p in zip(reach, window.pad)]
    if window.stride == (1, 1) and min(rest) >= 0:
        turned = [np.ascontiguousarray(k[::-1, ::-1].transpose(0, 1, 3, 2)) for k in kernels]
        return correlate(y, turned, replace(window, pad=(rest[0], rest[1])))
    c, n_outputs = kernels[0].shape[2:]
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    k = c * kh * kw
    h, w = y.shape[1:3]
    ph, pw = window.pad
    # A stride may leave a rest of the image that no patch reaches.
    height = max(size[0] + 2 * ph, (h - 1) * sh + reach[0] + 1)
    width = max(size[1] + 2 * pw, (w - 1) * sw + reach[1] + 1)
    matrix = np.concatenate([kernel.reshape(k, n_outputs).T for kernel in kernels], axis=1)
    y = np.ascontiguousarray(y)
    images = np.zeros((len(kernels), len(y), height, width, c), y.dtype)

    def block(some: slice) -> None:
        product = y[some].reshape(-1, n_outputs) @ matrix
        product = product.reshape(-1, h, w, len(kernels), kh, kw, c)
        for i, j in np.ndindex(kh, kw):
            rows = slice(i * dh, i * dh + h * sh, sh)
            columns = slice(j * dw, j * dw + w * sw, sw)
            for number, image in enumerate(images):
                image[some, rows, columns] += product[:, :, :, number, i, j]

    for_each(block, _blocks(len(y), h * w * k * len(kernels)), len(y) * h * w * matrix.size)
    return [image[:, ph : ph + size[0], pw : pw + size[1]] for image in images]


def _together(window: Window, width: int, n_outputs: int) -> int:
    """Return how many outputs of a row to take as one."""
    if window.stride[1] > 1 or window.dilation[1] > 1:
        return 1
    fitting = min(window.kernel[1] - 1, _WIDE // n_outputs)
    return next((n for n in range(fitting, 1, -1) if width % n == 0), 1)


def _wider(window: Window, n: int) -> Window:
    (kh, kw), (stride, _) = window.kernel, window.stride
    return replace(window, kernel=(kh, kw + n - 1), stride=(stride, n))


def _widened(kernel: np.ndarray, n: int) -> np.ndarray:
    """(kh, kw, C, O) -> (kh, kw + n - 1, C, n O): the kernel at n places side by side."""
    kh, kw, c, n_outputs = kernel.shape
    wide = np.zeros((kh, kw + n - 1, c, n, n_outputs), kernel.dtype)
    for i in range(n):
        wide[:, i : i + kw, :, i] = kernel
    return wide.reshape(kh, kw + n - 1, c, -1)


def _narrowed(wide: np.ndarray, n: int) -> np.ndarray:
    """Return the transpose of `_widened`."""
    kh, width, c = wide.shape[:3]
    parts = wide.reshape(kh, width, c, n, -1)
    return np.add.reduce([parts[:, i : i + width - n + 1, :, i] for i in range(n)])


def _by_group(
    function: Callable[..., list[np.ndarray]],
    x: np.ndarray,
    others: Sequence[np.ndarray],
    window: Window,
) -> list[np.ndarray]:
    one = replace(window, group=1)
    xs = np.split(x, window.group, axis=3)
    parts = [np.split(other, window.group, axis=3) for other in others]
    outputs = [function(xs[i], [p[i] for p in parts], one) for i in range(window.group)]
    return [np.concatenate(of_one, axis=3) for of_one in zip(*outputs)]


def _patches(x: np.ndarray, window: Window) -> np.ndarray:
    """Return a copy (B, h, w, kh, kw, C) of the patches under the kernel; it is a `scratch`."""
    h, w = window.output(x.shape[1:3])
    x = padded(x, window.pad)
    b, c = len(x), x.shape[3]
    of_b, of_h, of_w, of_c = x.strides
    (sh, sw), (dh, dw) = window.stride, window.dilation
    strides = (of_b, of_h * sh, of_w * sw, of_h * dh, of_w * dw, of_c)
    patches: np.ndarray = np.ndarray((b, h, w, *window.kernel, c), x.dtype, x, strides=strides)
    copied = scratch("patches", patches.shape, patches.dtype)
    copied[...] = patches
    return copied


def padded(x: np.ndarray, pad: Size) -> np.ndarray:
    """Return images with zeros around them; it may be a `scratch`."""
    if pad == (0, 0):
        return np.ascontiguousarray(x)
    (ph, pw), (b, h, w, c) = pad, x.shape
    y = scratch("padded", (b, h + 2 * ph, w + 2 * pw, c), x.dtype)
    y[:, :ph] = y[:, ph + h :] = y[:, :, :pw] = y[:, :, pw + w :] = 0
    y[:, ph : ph + h, pw : pw + w] = x
    return y


def _blocks(n: int, values: int) -> list[slice]:
    """Return n examples, of so many values of patches each, in blocks."""
    size = max(1, _BLOCK // max(values, 1))
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
