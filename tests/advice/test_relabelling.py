"""Suggested labels."""

import numpy as np

from nnabla_influence.advice.relabelling import has_pattern, suggest


def test_the_best_other_class_is_suggested_and_firm_where_the_gain_agrees():
    scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]])
    gains = np.array([[0.0, 1.0, 0.5], [2.0, 0.0, 1.0], [-1.0, 0.0, -0.5]])
    found = suggest(scores, gains, np.array([0, 1, 1]))
    assert found.labels.tolist() == [1, 2, 2]
    assert found.gains.tolist() == [1.0, 1.0, -0.5]
    assert found.firm.tolist() == [True, False, False]


def test_a_label_below_0_is_no_class():
    scores, gains = np.array([[0.1, 0.2, 0.7]]), np.zeros((1, 3))
    found = suggest(scores, gains, np.array([-1]))
    assert found.labels.tolist() == [2]
    assert not found.firm.any()


def test_nothing_is_firm_without_gains():
    found = suggest(np.eye(3), None, np.arange(3))
    assert found.gains is None
    assert not found.firm.any()


def test_a_pattern_is_found_in_systematic_errors_but_not_in_random_ones():
    rng = np.random.default_rng(0)
    given = rng.integers(0, 10, 100)
    assert not has_pattern(given, (given + rng.integers(1, 10, 100)) % 10, 10)
    mixed_up = rng.integers(0, 3, 100)
    assert has_pattern(mixed_up, mixed_up + 1, 10)
