"""Which rows are drawn; agreement against scipy, by hand, and against what is known of it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import bootstrap, spearmanr

from nnabla_influence.errors import InfluenceError
from nnabla_influence.retraining.agreement import (
    Sample,
    draw_rows,
    draw_subsets,
    row_agreement,
    subset_agreement,
)


def counted_tau(a, b) -> float:
    """Tau-b from its definition, pair by pair."""
    agree = ties_a = ties_b = n_pairs = 0
    for i, j in itertools.combinations(range(len(a)), 2):
        n_pairs += 1
        agree += int(np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]))
        ties_a += a[i] == a[j]
        ties_b += b[i] == b[j]
    return agree / math.sqrt((n_pairs - ties_a) * (n_pairs - ties_b))


@pytest.mark.parametrize("ties", [False, True])
def test_tau_and_spearman(ties: bool):
    rng = np.random.default_rng(0)
    scores, changes = rng.normal(size=(2, 30)) + rng.normal(size=30)
    if ties:
        scores, changes = scores.round(0), changes.round(1)
    got = row_agreement(scores, changes)
    assert got.kendall_tau == pytest.approx(counted_tau(scores, changes), abs=1e-12)
    assert got.spearman == pytest.approx(spearmanr(scores, changes).statistic, abs=1e-12)


def test_the_same_scores_agree_and_reversed_ones_do_not():
    changes = np.random.default_rng(0).normal(size=40)
    same, reversed_ = row_agreement(changes, changes), row_agreement(-changes, changes)
    figures = (same.kendall_tau, same.spearman, same.jaccard_harmful, same.jaccard_helpful)
    assert figures == pytest.approx((1, 1, 1, 1), abs=1e-12)
    assert same.slope == pytest.approx(1, abs=1e-12)
    assert reversed_.kendall_tau == pytest.approx(-1, abs=1e-12)
    assert reversed_.spearman == pytest.approx(-1, abs=1e-12)
    assert (reversed_.jaccard_harmful, reversed_.jaccard_helpful) == (0, 0)
    assert row_agreement(3 * changes, changes).slope == pytest.approx(3, abs=1e-12)


def test_jaccard_by_hand():
    """24 rows: 7 of the ten most harmful are the same (7 of 13), and 9 of the most helpful."""
    changes = np.arange(24.0)
    scores = changes.copy()
    scores[[7, 8, 9]] = 12.1, 12.2, 12.3  # out of the lowest ten, and 10, 11, 12 come in
    scores[14] = -1  # the lowest of all: 12 goes out again, 13 comes into the highest ten
    got = row_agreement(scores, changes)
    lowest = {14, 0, 1, 2, 3, 4, 5, 6, 10, 11}
    highest = {15, 16, 17, 18, 19, 20, 21, 22, 23, 13}
    assert got.extremes == 10
    assert got.jaccard_harmful == len(lowest & set(range(10))) / len(lowest | set(range(10)))
    assert got.jaccard_harmful == 7 / 13
    assert got.jaccard_helpful == len(highest & set(range(14, 24))) / 11 == 9 / 11


def test_figures_that_are_not_defined_are_nan():
    constant, varied = np.full(6, 0.5), np.arange(6.0)
    got = row_agreement(constant, varied)
    assert math.isnan(got.kendall_tau)
    assert math.isnan(got.spearman)
    assert got.slope == 0
    assert math.isnan(row_agreement(varied, constant).slope)
    subsets = subset_agreement(constant, varied)
    assert all(math.isnan(figure) for figure in (subsets.lds, subsets.low, subsets.high))


def test_lds_is_spearman_over_the_subsets():
    rng = np.random.default_rng(0)
    sums, changes = rng.normal(size=(2, 25)) + rng.normal(size=25)
    got = subset_agreement(sums, changes)
    assert got.lds == pytest.approx(spearmanr(sums, changes).statistic, abs=1e-12)
    assert got.low < got.lds < got.high
    perfect = subset_agreement(sums, sums)
    assert (perfect.lds, perfect.low, perfect.high) == pytest.approx((1, 1, 1), abs=1e-12)


@pytest.mark.slow
def test_the_interval_is_that_of_scipys_bootstrap():
    rng = np.random.default_rng(0)
    sums, changes = rng.normal(size=(2, 25)) + rng.normal(size=25)
    got = subset_agreement(sums, changes)
    drawn = bootstrap(
        (sums, changes),
        lambda a, b: spearmanr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=3000,
        method="percentile",
        random_state=7,
    ).bootstrap_distribution
    assert (drawn < got.low).mean() == pytest.approx(0.025, abs=0.015)
    assert (drawn > got.high).mean() == pytest.approx(0.025, abs=0.015)


# --------------------------------------------------------------- which rows are left out

SEEN = np.array([1, 3, 4, 8, *range(10, 70)])


def test_rows_are_seen_ones_each_once_and_more_contain_fewer():
    few, many = draw_rows(Sample(rows=7), SEEN), draw_rows(Sample(rows=30), SEEN)
    assert len(set(few)) == 7
    assert set(few) < set(many) <= set(SEEN)
    assert list(many) == sorted(many)
    assert set(draw_rows(Sample(rows=30, seed=1), SEEN)) != set(many)


def test_rows_are_50_by_default_or_all_of_fewer():
    assert len(draw_rows(Sample(), SEEN)) == 50
    np.testing.assert_array_equal(draw_rows(Sample(), SEEN[:20]), SEEN[:20])
    assert len(draw_rows(Sample(rows=0), SEEN)) == 0


@pytest.mark.parametrize(("leave", "size"), [(5, 5), (0.25, 16), (0.1, 6), (1, 1)])
def test_subsets_are_distinct_and_of_the_size_asked_for(leave, size: int):
    subsets = draw_subsets(Sample(subsets=20, leave=leave), SEEN)
    assert {len(rows) for rows in subsets} == {size}
    assert len({tuple(rows) for rows in subsets}) == 20
    assert all(len(set(rows)) == size and set(rows) <= set(SEEN) for rows in subsets)


def test_more_subsets_contain_fewer():
    few, many = (draw_subsets(Sample(subsets=m), SEEN) for m in (5, 12))
    for one, other in zip(few, many):
        np.testing.assert_array_equal(one, other)


def test_a_sample_checks_itself():
    for wrong in (
        {"rows": -1},
        {"rows": 1},
        {"subsets": 1},
        {"subsets": 2.5},
        {"seed": -3},
        {"leave": 0},
        {"leave": 1.0},
        {"leave": -0.5},
        {"rows": 0, "subsets": 0},
    ):
        ((name, value), *_) = wrong.items()
        with pytest.raises(InfluenceError, match=f"{name} {value}|{value} {name}"):
            Sample(**wrong)


def test_more_than_there_is():
    for sample, message in (
        (Sample(rows=65), "65 rows .* 64"),
        (Sample(leave=0.001), "leave 0.001 .* 64"),
        (Sample(leave=64), "leave 64: .* 64"),
        (Sample(subsets=40, leave=1), "40 subsets .* 64 rows"),
    ):
        with pytest.raises(InfluenceError, match=message):
            (draw_rows if sample.rows else draw_subsets)(sample, SEEN)
    with pytest.raises(InfluenceError, match="one row"):
        draw_rows(Sample(), np.array([4]))
