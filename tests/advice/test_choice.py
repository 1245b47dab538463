"""How many rows to change."""

import math

import numpy as np
import pytest
from scipy import stats

from nnabla_influence.advice.choice import amounts, gain_of, has_pattern
from nnabla_influence.ranking.scores import t_quantile


@pytest.mark.parametrize("freedom", [3, 4, 7, 20, 1000])
@pytest.mark.parametrize("probability", [0.9, 0.975])
def test_quantiles_of_t(probability, freedom):
    assert t_quantile(probability, freedom) == pytest.approx(
        stats.t.ppf(probability, freedom), abs=0.05
    )


def test_a_gain_is_the_mean_difference():
    rng = np.random.default_rng(0)
    unchanged, changed = rng.uniform(size=(2, 5, 40))
    gain = gain_of(changed, unchanged)
    assert gain.mean == pytest.approx((changed - unchanged).mean())


def test_the_interval_covers_the_truth_with_new_rows_and_new_seeds():
    """Rows, seeds, and their interaction are drawn anew; the true gain is .1."""
    rng = np.random.default_rng(1)
    covered, sure = 0, 0
    for _ in range(400):
        rows, seeds = rng.normal(size=60), rng.normal(size=(5, 1))
        both = rng.normal(size=(5, 60))
        d = 0.1 + 0.3 * rows + 0.05 * seeds + 0.5 * both
        gain = gain_of(d, np.zeros_like(d))
        low, high = gain.interval()
        covered += low <= 0.1 <= high
        sure += gain_of(d - 0.1, np.zeros_like(d)).is_sure
    assert covered / 400 > 0.93
    assert sure / 400 < 0.13


def test_no_difference_at_all_is_not_sure():
    gain = gain_of(np.ones((3, 5)), np.ones((3, 5)))
    assert gain.mean == 0
    assert not gain.is_sure
    assert gain.interval() == (0, 0)


def test_amounts_stay_within_the_harmful_rows():
    influence = np.tile(np.linspace(-0.1, 1, 400), (5, 1))
    n_harmful = int((influence[0] < 0).sum())
    assert amounts(influence) == (10, 20)  # 37 are harmful in all trainings, near 40
    assert 20 < n_harmful < 40
    assert amounts(np.ones((3, 100))) == ()
    assert amounts(-np.ones((3, 20))) == (1, 2, 4)  # never all of them


def test_amounts_hold_the_rows_that_are_harmful_by_more_than_chance():
    rng = np.random.default_rng(0)
    influence = rng.normal(size=(5, 1000))
    influence[:, :67] -= 40
    found = amounts(influence)
    mean, error = influence.mean(0), influence.std(0, ddof=1) / math.sqrt(5)
    sure = int((mean + stats.t.ppf(0.975, 4) * error < 0).sum())
    assert min(abs(n - sure) for n in found) <= 2 + 0.25 * sure


def test_a_pattern_is_found_in_systematic_errors_but_not_in_random_ones():
    rng = np.random.default_rng(0)
    given = rng.integers(0, 10, 100)
    assert not has_pattern(given, (given + rng.integers(1, 10, 100)) % 10, 10)
    mixed_up = rng.integers(0, 3, 100)
    assert has_pattern(mixed_up, mixed_up + 1, 10)
