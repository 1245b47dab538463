"""Which rows are left out, and how well scores agree with what retraining gave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau, rankdata

from nnabla_influence.errors import InfluenceError
from nnabla_influence.options import Sample

DEFAULT_ROWS = 50
RETEST_WEIGHT = 0.1
"""Of the gradients in the retest. Where the loss is smooth in them, the change is
nine tenths of the whole one; where training is chaotic, it is another number."""

EXTREMES = 10
"""How many of the most harmful, and of the most helpful, rows are compared as sets."""

RESAMPLES = 2000
CONFIDENCE = 0.95


def draw_rows(sample: Sample, seen: np.ndarray) -> np.ndarray:
    """Draw the rows to leave out one at a time, ascending.

    Args:
        sample: How many.
        seen: The row numbers that the window uses, each once.
    """
    n = min(DEFAULT_ROWS, len(seen)) if sample.rows is None else sample.rows
    if n > len(seen):
        raise InfluenceError(
            f"{n} rows are requested, but the window uses {len(seen)} only; use fewer, or a"
            " window of more epochs"
        )
    if n == 1:
        raise InfluenceError("the window uses one row only, which has no order")
    return np.sort(np.random.default_rng([sample.seed, 1]).permutation(seen)[:n])


def draw_subsets(sample: Sample, seen: np.ndarray) -> tuple[np.ndarray, ...]:
    """Draw distinct subsets to leave out, each ascending."""
    if not sample.subsets:
        return ()
    size = sample.leave
    if isinstance(size, float):
        size = round(size * len(seen))
        if size == 0:
            raise InfluenceError(
                f"leave {sample.leave} of the {len(seen)} rows that the window uses is not one row;"
                " leave more of them"
            )
    if size >= len(seen):
        raise InfluenceError(
            f"leave {sample.leave}: the window uses {len(seen)} rows only; leave out fewer"
        )
    if math.comb(len(seen), int(size)) < 2 * sample.subsets:
        raise InfluenceError(
            f"{sample.subsets} subsets are requested, but the {len(seen)} rows that the window uses"
            f" make too few of {size}; use fewer subsets, or leave another number of rows"
        )
    rng = np.random.default_rng([sample.seed, 2])
    drawn: dict[tuple[int, ...], np.ndarray] = {}
    while len(drawn) < sample.subsets:
        rows = np.sort(rng.permutation(seen)[: int(size)])
        drawn.setdefault(tuple(rows.tolist()), rows)
    return tuple(drawn.values())


def subset_sums(scores: np.ndarray, subsets: Sequence[np.ndarray]) -> np.ndarray:
    """Sum the scores (N,) of each subset's rows, ``(m,)``: the change that they predict."""
    return np.array([scores[rows].sum() for rows in subsets])


@dataclass(frozen=True)
class RowAgreement:
    """Scores of single rows against leaving each of them out.

    A figure is NaN where it is not defined: all scores, or all changes, are the same.

    Attributes:
        kendall_tau: Tau-b, from -1 to 1: of all pairs of rows, those in the same order less those
            in the opposite one.
        spearman: The correlation of their ranks.
        jaccard_harmful: Of the rows that are among the ``extremes`` most harmful by score or by
            truth, the share that is so by both.
        jaccard_helpful: The same of the most helpful.
        slope: Of the scores over the changes, by least squares; 1 where their size is right too.
        extremes: 10, or half of the rows if that is less.
    """

    kendall_tau: float
    spearman: float
    jaccard_harmful: float
    jaccard_helpful: float
    slope: float
    extremes: int


@dataclass(frozen=True)
class SubsetAgreement:
    """Summed scores of subsets against leaving each subset out.

    Attributes:
        lds: The linear datamodeling score (Park et al., arXiv 2303.14186): the correlation over
            the subsets of the ranks of summed scores and true changes. NaN where not defined.
        low: Where its 95 % confidence interval begins (bootstrap over the subsets, percentiles).
        high: Where it ends.
    """

    lds: float
    low: float
    high: float


def row_agreement(scores: np.ndarray, changes: np.ndarray) -> RowAgreement:
    """Compare scores with true loss changes of the same rows, both of shape ``(n,)``, n > 1."""
    extremes = min(EXTREMES, len(scores) // 2)
    by_score, by_truth = np.argsort(scores, kind="stable"), np.argsort(changes, kind="stable")
    constant = np.ptp(scores) == 0 or np.ptp(changes) == 0
    centred = changes - changes.mean()
    return RowAgreement(
        kendall_tau=np.nan if constant else float(kendalltau(scores, changes).statistic),
        spearman=float(_spearman(scores[None], changes[None])[0]),
        jaccard_harmful=_jaccard(by_score[:extremes], by_truth[:extremes]),
        jaccard_helpful=_jaccard(by_score[-extremes:], by_truth[-extremes:]),
        slope=np.nan if np.ptp(changes) == 0 else float(centred @ scores / (centred @ centred)),
        extremes=extremes,
    )


def subset_agreement(sums: np.ndarray, changes: np.ndarray, seed: int = 0) -> SubsetAgreement:
    """Compare summed scores with true loss changes of the same subsets, shape ``(m,)``, m > 1."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(sums), (RESAMPLES, len(sums)))
    resampled = _spearman(sums[drawn], changes[drawn])
    defined = resampled[np.isfinite(resampled)]  # one subset drawn again and again has no ranks
    low, high = np.nan, np.nan
    if len(defined):
        low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    lds = float(_spearman(sums[None], changes[None])[0])
    return SubsetAgreement(lds, float(low), float(high))


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlate the ranks along the last axis, ``(k, n)`` to ``(k,)``."""
    a, b = (rankdata(x, axis=-1) - (x.shape[-1] + 1) / 2 for x in (a, b))
    length = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.divide((a * b).sum(-1), length, out=np.full(len(a), np.nan), where=length > 0)


def _jaccard(some: np.ndarray, others: np.ndarray) -> float:
    one, other = set(some.tolist()), set(others.tolist())
    return len(one & other) / len(one | other)
