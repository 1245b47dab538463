"""How well a ranking finds rows whose label is known to be flipped."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Detection:
    """What stands at the top of one ranking, the most harmful rows first.

    Attributes:
        counts: Numbers of rows looked at (k), ascending; the number of flipped rows is among them.
        found: For each k, how many of the k most harmful rows are flipped.
        flipped: How many rows are flipped.
        rows: How many rows there are.
        roc_auc: The chance that a flipped row, drawn at random, stands before one that is not; a
            tie counts half. NaN where every row is flipped.
    """

    counts: tuple[int, ...]
    found: tuple[int, ...]
    flipped: int
    rows: int
    roc_auc: float

    @property
    def precision(self) -> tuple[float, ...]:
        """For each k, the share of the k rows that is flipped."""
        return tuple(found / k for k, found in zip(self.counts, self.found))

    @property
    def recall(self) -> tuple[float, ...]:
        """For each k, the share of the flipped rows that is among the k."""
        return tuple(found / self.flipped for found in self.found)


def detect(scores: np.ndarray, flipped: np.ndarray, counts: Iterable[int]) -> Detection | None:
    """Count the flipped rows among the most harmful ones.

    Args:
        scores: (N,), most harmful = lowest; equal scores stand in the order of their rows.
        flipped: (N,), bool.
        counts: The k to look at, each from 1 to N; the number of flipped rows is added.

    Returns:
        The counts, or None where no row is flipped: there is nothing to find.

    Raises:
        ValueError: Shapes that do not fit, a score that is not a number, or a k out of reach.
    """
    scores, flipped = np.asarray(scores, np.float64), np.asarray(flipped)
    if scores.ndim != 1 or flipped.shape != scores.shape or flipped.dtype != np.bool_:
        raise ValueError(
            f"scores {scores.shape} and flips {flipped.shape} of {flipped.dtype}: both are (N,),"
            " the flips bool"
        )
    if np.isnan(scores).any():
        raise ValueError(f"the score of row {int(np.isnan(scores).argmax())} is not a number")
    n_rows, n_flipped = len(scores), int(flipped.sum())
    if n_flipped == 0:
        return None
    looked_at = sorted({*map(int, counts), n_flipped})
    if looked_at[0] < 1 or looked_at[-1] > n_rows:
        wrong = looked_at[0] if looked_at[0] < 1 else looked_at[-1]
        raise ValueError(f"{wrong} rows cannot be looked at: there are {n_rows}")
    found = np.cumsum(flipped[np.argsort(scores, kind="stable")])
    return Detection(
        counts=tuple(looked_at),
        found=tuple(int(found[k - 1]) for k in looked_at),
        flipped=n_flipped,
        rows=n_rows,
        roc_auc=_roc_auc(scores, flipped),
    )


def _roc_auc(scores: np.ndarray, flipped: np.ndarray) -> float:
    """Return the area under the curve by the sum of the flipped rows' ranks (Mann and Whitney)."""
    from scipy.stats import rankdata

    n_flipped = int(flipped.sum())
    n_others = len(scores) - n_flipped
    if n_others == 0:
        return math.nan
    others_first = rankdata(scores)[flipped].sum() - n_flipped * (n_flipped + 1) / 2
    return float(1 - others_first / (n_flipped * n_others))
