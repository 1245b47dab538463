r"""How many rows to change, and how: what retraining gains on rows that no ranking has seen.

Each validation row is judged by trainings on data that was changed by the ranking of the *other*
half of the validation rows. The gain of row i is :math:`d_i`, the mean over the retrainings of its
accuracy (or minus its loss) with the changes minus that without; the gain is the mean of the
:math:`d_i`, and its variance

.. math:: \frac{\mathrm{var}_i(d_i)}{V} + \frac{\mathrm{var}_r(g_r)}{R}

over V rows and over R seeds r with the gains :math:`g_r`; what rows and seeds share is counted
twice, which errs on the side of caution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nnabla_influence.ranking.scores import t_quantile

FRACTIONS = (1 / 40, 1 / 20, 1 / 10, 1 / 5)
"""Of the rows, that are tried."""
SURE = 0.9
"""How sure it must be that a change helps to advise it."""
SHOWN = 0.95
"""Of the interval that is reported."""

PATTERN = 3.0
"""How many times as many rows as by chance make a pair of classes a pattern."""

_NEAR = 1.25
_LEAST_ROWS = 4
_HALF = 0.5


@dataclass(frozen=True)
class Gain:
    """What a change gains: accuracy, from 0 to 1, or a fall of the loss.

    Attributes:
        mean: The estimate.
        error: Its standard error.
        freedom: The degrees of freedom of that error.
    """

    mean: float
    error: float
    freedom: float

    def interval(self, level: float = SHOWN) -> tuple[float, float]:
        """Return the limits between which it lies, with a probability."""
        half = self.error * t_quantile((1 + level) / 2, self.freedom)
        return self.mean - half, self.mean + half

    @property
    def is_sure(self) -> bool:
        """Whether it is above 0 with the probability `SURE`."""
        return self.mean - self.error * t_quantile(SURE, self.freedom) > 0


def gain_of(changed: np.ndarray, unchanged: np.ndarray) -> Gain:
    """Estimate a gain.

    Args:
        changed: The values of V rows after R retrainings with the change, (R, V).
        unchanged: Those of the same seeds without, (R, V).
    """
    difference = changed - unchanged
    of_rows, of_seeds = difference.mean(axis=0), difference.mean(axis=1)
    parts = [
        (np.var(values, ddof=1) / len(values), len(values) - 1)
        for values in (of_rows, of_seeds)
        if len(values) > 1
    ]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Gain(float(difference.mean()), 0.0, math.inf)
    # Welch and Satterthwaite's degrees of freedom of a sum.
    freedom = variance**2 / sum(part**2 / n for part, n in parts)
    return Gain(float(difference.mean()), math.sqrt(variance), float(freedom))


def amounts(influence: np.ndarray) -> tuple[int, ...]:
    """Return the numbers of rows to try, ascending.

    They are `FRACTIONS` of the rows, and the number of rows that are harmful in training after
    training: whose influence is below 0 by more than chance (97.5 %). None is beyond the rows that
    are harmful on average, nor beyond half of all.

    Args:
        influence: By training, (K, N).
    """
    k, n = influence.shape
    mean = influence.mean(axis=0)
    tried = {round(fraction * n) for fraction in FRACTIONS}
    if k > 1:
        error = influence.std(axis=0, ddof=1) / math.sqrt(k)
        sure = int((mean + t_quantile(0.975, k - 1) * error < 0).sum())
        if all(max(sure, 1) / m > _NEAR or m / max(sure, 1) > _NEAR for m in tried if m):
            tried.add(sure)
    most = min(int((mean < 0).sum()), n // 2)
    return tuple(sorted(m for m in tried if 0 < m <= most))


def has_pattern(given: np.ndarray, suggested: np.ndarray, n_classes: int) -> bool:
    """Whether at least half of some rows belong to pairs of classes that are mixed up.

    Errors at random spread over all C (C - 1) pairs (given, suggested); a pair with at least
    `PATTERN` times its share of them, and four rows, is mixed up.
    """
    if n_classes < 2 or not len(given):
        return False
    _, counts = np.unique(given * n_classes + suggested, return_counts=True)
    by_chance = len(given) / (n_classes * (n_classes - 1))
    mixed_up = counts[counts >= max(PATTERN * by_chance, _LEAST_ROWS)]
    return bool(mixed_up.sum() >= _HALF * len(given))
