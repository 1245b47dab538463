"""Which rows and subsets are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from nnabla_influence.errors import InfluenceError
from nnabla_influence.retraining.sampling import Sample, draw_rows, draw_subsets, subset_sums

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


def test_every_row_is_left_out_as_often_as_any_other():
    subsets = draw_subsets(Sample(subsets=800, leave=0.25), SEEN)
    counts = np.bincount(np.concatenate(subsets), minlength=70)[SEEN]
    assert counts.sum() == 800 * 16
    assert 150 < counts.min() <= counts.max() < 250  # 200 expected, standard deviation 12


def test_sums():
    scores = np.array([1.0, 2, 4, 8])
    np.testing.assert_array_equal(subset_sums(scores, [np.array([0, 3]), np.array([1, 2])]), [9, 6])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": -1}, "rows -1 is not a whole number from 0"),
        ({"rows": 1}, "rows 1: one of them has no order"),
        ({"subsets": 1}, "subsets 1: one of them has no order"),
        ({"subsets": 2.5}, "subsets 2.5 is not a whole number"),
        ({"seed": -3}, "seed -3 is not a whole number"),
        ({"leave": 0}, "leave 0 is neither a number of rows from 1 nor a fraction"),
        ({"leave": 1.0}, "leave 1.0 is neither"),
        ({"leave": -0.5}, "leave -0.5 is neither"),
        ({"rows": 0, "subsets": 0}, "0 rows and 0 subsets leave nothing to validate"),
    ],
)
def test_a_sample_checks_itself(wrong, message: str):
    with pytest.raises(InfluenceError, match=message):
        Sample(**wrong)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample(rows=65), "65 rows were asked for, but the window saw 64 only"),
        (Sample(leave=0.001), "leave 0.001 of the 64 rows that the window saw is no row"),
        (Sample(leave=64), "leave 64: the window saw 64 rows only"),
        (Sample(subsets=40, leave=1), "40 subsets were asked for, but the 64 rows .* too few of 1"),
    ],
)
def test_more_than_there_is(sample: Sample, message: str):
    draw = draw_rows if sample.rows else draw_subsets
    with pytest.raises(InfluenceError, match=message):
        draw(sample, SEEN)


def test_a_single_row_has_no_order():
    with pytest.raises(InfluenceError, match="the window saw one row only"):
        draw_rows(Sample(), np.array([4]))
