r"""Targets: the number V of the validation rows that an influence is the change of.

Of the validation rows' losses :math:`l_i`, n of them,

.. math::

    V = \frac1n \sum_i \varphi(l_i), \qquad
    \nabla V = \frac1n \sum_i \varphi'(l_i) \, \nabla l_i.

========== ================================== ==================== =============================
target     :math:`\varphi(l)`                 :math:`\varphi'(l)`  of a cross entropy
========== ================================== ==================== =============================
``loss``   :math:`l`                          1                    :math:`-\log p`
``error``  :math:`1 - e^{-l/s}`               :math:`e^{-l/s}/s`   :math:`1 - p`, expected error
``q-loss`` :math:`2 (1 - e^{-l/2s})`          :math:`e^{-l/2s}/s`  :math:`(1 - p^q)/q`, q = 1/2
``margin`` :math:`\log(e^l - 1)`              :math:`1/(1-e^{-l})` :math:`-\log(p / (1 - p))`
========== ================================== ==================== =============================

A cross entropy has s = 1: then :math:`p = e^{-l}` is the probability of the given class. A few rows
that are hopeless decide the mean of ``loss``; ``error`` and ``q-loss`` bound what each can add.
For other losses s is the median of the :math:`l_i`, taken as a constant; of a squared error,
``error`` is then Welsch's loss.

Sources: q-loss, Zhang and Sabuncu (NeurIPS 2018); Welsch's loss, Dennis and Welsch (1978); margin,
Park et al. (TRAK, ICML 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Definition, is_cross_entropy
from nnabla_influence.engine import Engine
from nnabla_influence.errors import ScoreError
from nnabla_influence.options import TARGETS
from nnabla_influence.progress import Progress
from nnabla_influence.runs.steps import FetchRows

Phi = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From losses (n,) to the values and the slopes of :math:`\\varphi`, (n,) each."""

LEAST = 1e-6
"""Of a loss, for ``margin``, whose slope is without bound at 0. Below, a float32 loss is mostly
rounding, and the tangent at this point stands for the curve."""

BLOCK = 256


@dataclass(frozen=True)
class Target:
    r"""A target, as a function of each validation row's loss.

    Attributes:
        name: One of `TARGETS`, or the name of ``function``.
        scale: s; None for the median of the losses.
        function: Of the user's own, in place of the named one.
    """

    name: str
    scale: float | None = 1.0
    function: Phi | None = None

    def phi(self, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Return :math:`\varphi(l_i)` and :math:`\varphi'(l_i)` of all validation rows, (n,) each.

        Raises:
            ScoreError: The median is not above 0, or a function of the user's own returns arrays of
                another shape.
        """
        if self.function is not None:
            values, slopes = (np.asarray(found, np.float64) for found in self.function(losses))
            if not values.shape == slopes.shape == losses.shape:
                raise ScoreError(
                    f"the target {self.name} returned arrays of the shapes {values.shape} and"
                    f" {slopes.shape} for losses of the shape {losses.shape}; return the value and"
                    " the slope of each loss"
                )
            return values, slopes
        s = float(np.median(losses)) if self.scale is None else self.scale
        if not s > 0:
            raise ScoreError(
                f"the median loss of the validation rows is {s:g}, and the target {self.name}"
                " measures each loss by it; use the target loss"
            )
        values, slopes = _PHI[self.name](losses / s)
        return values, slopes / s


LOSS = Target("loss")
"""The mean loss, the papers' target."""


def target_of(chosen: str | Phi, definition: Definition) -> Target:
    """Return a target.

    Args:
        chosen: One of `TARGETS`, or a function that takes losses (n,) and returns the value and the
            slope of each, (n,) both.
        definition: Whose loss it is made of.

    Raises:
        ScoreError: The margin of a loss that has none.
    """
    if callable(chosen):
        return Target(getattr(chosen, "__name__", "of your own"), function=chosen)
    if chosen == "loss" or is_cross_entropy(definition):
        return Target(chosen)
    if chosen == "margin":
        raise ScoreError(
            f"{definition.path}: the target margin is made of the probability of a class, and the"
            " loss is not a cross entropy; use another target, such as loss"
        )
    return Target(chosen, scale=None)


def target_gradient(
    engine: Engine,
    fetch: FetchRows,
    rows: np.ndarray,
    target: Target,
    progress: Progress,
    block: int = BLOCK,
) -> nn.NdArray:
    r"""Return :math:`\nabla V` of the given validation rows, shape ``(p,)``.

    It has no weight decay, and the network is in test mode.

    Raises:
        ScoreError: The gradient is zero or not finite; or as `Target.phi` does.
    """
    parts = [rows[start : start + block] for start in range(0, len(rows), block)]
    slopes = np.ones(len(rows))
    if target != LOSS:
        slopes = target.phi(np.concatenate([engine.outputs(fetch(p)).losses for p in parts]))[1]
    u = engine.zeros()
    with progress.stage("Validation gradient", len(rows), "rows") as stage:
        for start, some in zip(range(0, len(rows), block), parts):
            weights = slopes[start : start + block] / len(rows)
            engine.add_gradient(fetch(some), weights, u)
            stage.update(len(some))
    if not np.isfinite(u.data).all():
        raise ScoreError(
            "the gradient of the validation loss is not finite; the training diverged, or the"
            " validation data hold extreme values"
        )
    if not u.data.any():
        raise ScoreError(
            "the gradient of the validation loss is zero, so every influence would be zero too;"
            " check the trained parameters and the validation data"
        )
    return u


def _loss(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x, np.ones_like(x)


def _error(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return -np.expm1(-x), np.exp(-x)


def _q_loss(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return -2 * np.expm1(-x / 2), np.exp(-x / 2)


def _margin(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    above = np.maximum(x, LEAST)
    slope = -1 / np.expm1(-above)
    return above + np.log(-np.expm1(-above)) + (x - above) * slope, slope


_PHI: dict[str, Phi] = dict(zip(TARGETS, (_loss, _error, _q_loss, _margin)))
