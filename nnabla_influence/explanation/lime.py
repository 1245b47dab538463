r"""LIME: which parts of one row a class's score rests on, by a linear model around the row.

Ribeiro, Singh and Guestrin, "Why should I trust you?", 2016. Samples :math:`x_i` around the row are
given to the network, whose score f of the class is fitted by a linear model of what was changed,

.. math:: \min_{w, b} \sum_i \pi_i \left( f(x_i) - b - \langle w, z_i \rangle \right)^2
    + \alpha \lVert w \rVert^2, \qquad \pi_i = \exp \left( - \frac{D_i^2}{2 \sigma^2} \right),

with :math:`\alpha = 1`, and the distance D of the sample from the row. The kernel is the square
root of the paper's, as in the authors' program, whose widths :math:`\sigma` these are. All parts
stay in the model: none is selected.

- Of a picture, :math:`z_i` says which superpixels are shown (1) and which are hidden (0), each by
  half. A hidden one has the mean colour of the *picture*. The authors' program gives it its own
  mean colour, which hides nothing where superpixels are flat, as in drawn digits or a planted mark.
  D is the cosine distance of :math:`z_i` from all ones, :math:`\sigma = 0.25`.
- Of K features, :math:`z_i` are their changes in standard deviations, drawn from a normal
  distribution around the row. The authors' program asks by default whether a feature stays within
  its quartile, which says nothing about its direction. D is :math:`\lVert z_i \rVert`,
  :math:`\sigma = 0.75 \sqrt{K}`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nnabla_influence.errors import UnsupportedError

Predict = Callable[[np.ndarray], np.ndarray]
"""From n rows to a score of each class, (n, C)."""

_PICTURE_WIDTH, _TABLE_WIDTH = 0.25, 0.75
_ALPHA = 1.0
_SUPERPIXELS, _LEAST_PIXELS = 50, 4
"""Of a picture, about; and of a superpixel, about, in the smallest pictures."""
_LEAST_R2 = 0.5
"""Where less is explained, hiding the strongest parts was measured to change little."""
_MOST_NOISE, _WANTED_NOISE = 0.1, 0.05
"""Measured: two seeds share 70 % of their five strongest weights at 0.1, 80 to 85 % at 0.02."""
_ROUNDING = 1e-6
"""Of a score; smaller changes do not count."""
_BLOCK_VALUES = 2**23
"""Of the samples that the network is given at once."""


@dataclass(frozen=True, eq=False)
class LocalModel:
    """The linear model of one class's score around a row.

    Attributes:
        weights: w of each superpixel or feature, shape ``(K,)``.
        intercept: b.
        r2: The share of the weighted variance of the scores that the model explains; 0 where the
            score does not change.
        noise: The expected share of chance in the squared length of the weights, as by another
            seed.
    """

    weights: np.ndarray
    intercept: float
    r2: float
    noise: float

    def warning(self, samples: int) -> str:
        """Return what speaks against relying on it, in a few words; empty for nothing."""
        found = []
        if self.r2 < _LEAST_R2:
            found.append(f"bad fit: a linear model explains {self.r2:.0%} of the changes")
        if self.noise > _MOST_NOISE:
            # Noise falls as 1 / samples.
            enough = 100 * int(np.ceil(samples * self.noise / _WANTED_NOISE / 100))
            found.append(f"unsteady: another seed gives other weights; use {enough} samples")
        return "; ".join(found)


def superpixels(picture: np.ndarray) -> np.ndarray:
    """Return the number of each pixel's superpixel, from 0, (H, W), by SLIC.

    Args:
        picture: As a network reads it, (H, W) or (channels, H, W).

    Raises:
        UnsupportedError: scikit-image is not installed.
    """
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise UnsupportedError(
            "LIME of pictures needs the package scikit-image, which is missing;"
            ' run: pip install "nnabla-influence[lime]"'
        ) from error
    height, width = picture.shape[-2:]
    pixels = np.moveaxis(picture.reshape(-1, height, width), 0, -1).astype(np.float64)
    if pixels.shape[-1] != 3:
        # Grey in three channels, so that SLIC compares lightness by the same measure.
        pixels = np.repeat(pixels.mean(axis=-1, keepdims=True), 3, axis=-1)
    n = min(max(height * width // _LEAST_PIXELS, 1), _SUPERPIXELS)
    segments = slic(pixels, n_segments=n, start_label=0)
    return np.unique(segments, return_inverse=True)[1].reshape(height, width)


def explain_picture(
    predict: Predict,
    picture: np.ndarray,
    segments: np.ndarray,
    classes: Sequence[int],
    *,
    samples: int,
    seed: int,
) -> list[LocalModel]:
    """Return the model of each class: a weight for each superpixel that is shown.

    Args:
        predict: The network.
        picture: The row's picture, (H, W) or (channels, H, W).
        segments: Its `superpixels`.
        classes: Whose scores are explained.
        samples: How many pictures the network is given, the first the picture itself.
        seed: Of the superpixels that are hidden.
    """
    rng, k = np.random.default_rng(seed), int(segments.max()) + 1
    shown = rng.random((samples, k)) < 0.5
    shown[0] = True
    hidden = np.broadcast_to(picture.mean(axis=(-2, -1), keepdims=True), picture.shape)

    def make(part: slice) -> np.ndarray:
        masks = shown[part][:, segments]  # (n, H, W)
        if picture.ndim == 3:
            masks = masks[:, None]
        return np.where(masks, picture, hidden)

    scores = _scores(predict, make, samples, picture.size)[:, classes]
    distances = 1 - np.sqrt(shown.mean(axis=1))
    return _fit(shown.astype(np.float64), scores, _kernel(distances, _PICTURE_WIDTH))


def explain_features(
    predict: Predict,
    row: np.ndarray,
    deviations: np.ndarray,
    classes: Sequence[int],
    *,
    samples: int,
    seed: int,
) -> list[LocalModel]:
    """Return the model of each class: a weight for one standard deviation more of each feature.

    Args:
        predict: The network.
        row: The row's features, (K,).
        deviations: Their standard deviations in the data, (K,); one that never changes is kept.
        classes: Whose scores are explained.
        samples: How many rows the network is given, the first the row itself.
        seed: Of the changes.
    """
    rng, k = np.random.default_rng(seed), len(row)
    changes = rng.standard_normal((samples, k))
    changes[0] = 0
    changes[:, deviations == 0] = 0

    def make(part: slice) -> np.ndarray:
        return row + changes[part] * deviations

    scores = _scores(predict, make, samples, k)[:, classes]
    distances = np.linalg.norm(changes, axis=1)
    return _fit(changes, scores, _kernel(distances, _TABLE_WIDTH * np.sqrt(k)))


def _kernel(distances: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-(distances**2) / (2 * width**2))


def _scores(
    predict: Predict, make: Callable[[slice], np.ndarray], samples: int, size: int
) -> np.ndarray:
    """Return the scores of all samples, which are made a block at a time."""
    block = max(_BLOCK_VALUES // size, 1)
    parts = (slice(start, start + block) for start in range(0, samples, block))
    return np.concatenate([predict(make(part)) for part in parts]).astype(np.float64)


def _fit(z: np.ndarray, scores: np.ndarray, pi: np.ndarray) -> list[LocalModel]:
    """Return the ridge regression of each column of the scores, (n, c)."""
    total = pi.sum()
    z_mean, mean = pi @ z / total, pi @ scores / total
    z, f = z - z_mean, scores - mean
    gram = z.T @ (pi[:, None] * z)
    inverse = np.linalg.inv(gram + _ALPHA * np.eye(z.shape[1]))
    w = inverse @ (z.T @ (pi[:, None] * f))  # (K, c)
    residuals = f - z @ w
    # The variance of the weights, with errors that differ from sample to sample, each as if its
    # sample had been left out (HC3).
    by_sample = (pi[:, None] * z) @ inverse
    leverage = (by_sample * z).sum(axis=1) + pi / total
    errors = residuals / np.maximum(1 - leverage, 1e-9)[:, None]
    noise = (by_sample**2).sum(axis=1) @ errors**2
    variance, left = pi @ f**2, pi @ residuals**2
    squares = (w**2).sum(axis=0)
    moves = variance > total * (_ROUNDING * np.abs(scores).max(axis=0)) ** 2
    return [
        LocalModel(
            weights=w[:, c],
            intercept=float(mean[c] - z_mean @ w[:, c]),
            r2=float(1 - left[c] / variance[c]) if moves[c] else 0.0,
            noise=float(noise[c] / squares[c]) if moves[c] else 0.0,
        )
        for c in range(scores.shape[1])
    ]
