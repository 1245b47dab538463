r"""Correlations of each channel of images with kernels of its own.

Images are (B, H, W, C), kernels (kh, kw, C, m), outputs (B, h, w, C m). With a stride s and a
dilation d,

.. math:: y_{bijcm} = \sum_{kl} x_{b, s i + d k, s j + d l, c} \, w_{klcm}:

one product of arrays for each place of the kernel, example by example, so that it stays in the
cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.correlation import Size, Window, padded
from nnabla_influence.engine.threads import for_each


def correlate_channels(x: np.ndarray, kernel: np.ndarray, window: Window) -> np.ndarray:
    """Return the correlation."""
    size = window.output((x.shape[1], x.shape[2]))
    x = padded(x, window.pad)
    y = np.zeros((len(x), *size, *kernel.shape[2:]), x.dtype)

    def example(b: int) -> None:
        for place, index in _places(window, size):
            y[b] += x[b][index][..., None] * kernel[place]

    for_each(example, range(len(x)))
    return y.reshape(*y.shape[:3], -1)


def spread_channels(y: np.ndarray, kernel: np.ndarray, window: Window, size: Size) -> np.ndarray:
    """Return the transpose of `correlate_channels`, of images of ``size``."""
    b, h, w, _ = y.shape
    split = y.reshape(b, h, w, *kernel.shape[2:])
    (ph, pw), reach = window.pad, _reach(window)
    # A stride may leave a rest of the image that no kernel reaches.
    height = max(size[0] + 2 * ph, (h - 1) * window.stride[0] + reach[0] + 1)
    width = max(size[1] + 2 * pw, (w - 1) * window.stride[1] + reach[1] + 1)
    x = np.zeros((b, height, width, kernel.shape[2]), y.dtype)

    def example(b: int) -> None:
        for place, index in _places(window, (h, w)):
            x[b][index] += (split[b] * kernel[place]).sum(axis=-1)

    for_each(example, range(b))
    return x[:, ph : ph + size[0], pw : pw + size[1]]


def channel_weights(x: np.ndarray, g: np.ndarray, window: Window, m: int) -> np.ndarray:
    """Return the gradient by the kernel, from that by the correlation of x."""
    b, h, w, _ = g.shape
    x, c = padded(x, window.pad), x.shape[3]
    split = g.reshape(b, h, w, c, m)
    sums = np.empty((b, *window.kernel, c, m), x.dtype)

    def example(b: int) -> None:
        for place, index in _places(window, (h, w)):
            sums[b][place] = np.einsum("ijc,ijcm->cm", x[b][index], split[b])

    for_each(example, range(b))
    return sums.sum(axis=0)


def _reach(window: Window) -> Size:
    (kh, kw), (dh, dw) = window.kernel, window.dilation
    return dh * (kh - 1), dw * (kw - 1)


def _places(window: Window, size: Size) -> list[tuple[Size, Any]]:
    """Return each place of the kernel with what stands under it for all outputs."""
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    h, w = size
    rows = [slice(k * dh, k * dh + (h - 1) * sh + 1, sh) for k in range(kh)]
    columns = [slice(k * dw, k * dw + (w - 1) * sw + 1, sw) for k in range(kw)]
    return [
        ((i, j), (row, column)) for i, row in enumerate(rows) for j, column in enumerate(columns)
    ]
