"""Who judges what: the flow of `advise`, with trainings that are made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from nnabla_influence import AdviceOptions, advise
from nnabla_influence.advice import work
from nnabla_influence.advice.comparison import compare, folds_of
from nnabla_influence.advice.result import RELABEL, Change
from nnabla_influence.advice.trainings import Judged, Scored, write
from nnabla_influence.retraining.seeded import NO_CHANGES, Changes
from tests.advice.conftest import N, V, digits

LABELS = digits()[1][:N]
HARMFUL = np.argsort(LABELS, kind="stable")[:60].reshape(2, 30)
"""Which rows the ranking of each half calls harmful; they are of a few classes."""
EVEN = np.arange(N) % 2 == 0
WEIGHTS = 1 + np.arange(V) / V
FIRST, FRESH = {0, 1, 2}, {3, 4, 5}


@dataclass
class Trainings:
    """Stands for the workers' tasks: half i's ranking helps the rows of the other half alone.

    Attributes:
        folds: The rows of each half.
        effect: By seed and number of changed rows, the gain on these rows; the ranking's own half
            loses as much.
        others: What the suggested labels are above the given ones.
        judged: Which trainings were done.
    """

    folds: tuple[tuple[int, ...], tuple[int, ...]]
    effect: Callable[[int, int], float]
    others: np.ndarray | int = 1
    judged: set[tuple[int, Changes]] = field(default_factory=set)

    def judge(self, _, seed, target, changes, output):
        self.judged.add((seed, changes))
        write(output, self._of(seed, changes))

    def score_and_judge(self, _, seed, target, folds, outputs):
        assert folds == self.folds
        influence = np.full((2, N), 0.1)
        suggested = (LABELS + self.others) % 10
        scores, gains = np.zeros((N, 10)), np.zeros((2, N, 10))
        scores[np.arange(N), suggested] = 1
        for half in (0, 1):
            influence[half, HARMFUL[half]], influence[half, HARMFUL[1 - half]] = -3, 1
            influence[half] += 0.01 * seed
            firm = np.flatnonzero((half == 0) == EVEN)
            gains[half, firm, suggested[firm]] = 1
        scored = Scored(influence, gains, scores, np.ones(N), 0)
        for path, record in zip(outputs, (self._of(seed, NO_CHANGES), {}, scored)):
            write(path, record)

    def foresee(self, _, parameters, target, removed, output):
        write(output, {"moves": -WEIGHTS * self._signs({*removed})})

    def _of(self, seed, changes):
        rows = {*changes.removed, *dict(changes.relabelled)}
        gain = self.effect(seed, len(rows)) + 0.1 * bool(changes.relabelled) if rows else 0
        gain = gain * self._signs(rows) if rows else np.zeros(V)
        return Judged(0.4 + 0.01 * seed + gain, np.full(V, 9.0), -WEIGHTS * gain)

    def _signs(self, rows):
        half = 0 if HARMFUL[0, 0] in rows else 1
        signs = np.ones(V)
        signs[list(self.folds[half])] = -1
        return signs


@pytest.fixture
def advised(right, monkeypatch):
    def run(effect, others=1):
        trainings = Trainings(folds_of(compare(right.inputs), 0), effect, others)
        for name in ("judge", "score_and_judge", "foresee"):
            monkeypatch.setattr(work, name, getattr(trainings, name))
        options = AdviceOptions(trainings=3, retrainings=3)
        csvs = {"train": right.training, "validation": right.validation}
        return advise(right.model, **csvs, options=options, device="cpu"), trainings

    return run


def best_at_thirty(seed, n):
    return 0.01 * (min(n, 30) - max(n - 30, 0))


def test_each_half_judges_the_ranking_of_the_other(advised):
    advice, _ = advised(best_at_thirty)
    assert advice.tried == pytest.approx({8: 0.08, 15: 0.15, 30: 0.3, 60: 0.0})
    gains = {change: gain.mean for change, gain in advice.confirmed.items()}
    assert gains == pytest.approx({Change(30): 0.3, Change(30, RELABEL): 0.4})
    assert advice.agreement == pytest.approx(1)
    # Of all validation rows together: each row is harmful, and each label firm.
    assert not len(advice.removed)
    assert len(advice.relabelled) == 30
    assert all(label == (LABELS[row] + 1) % 10 for row, label in advice.relabelled.items())
    assert {*advice.relabelled} <= {*HARMFUL.ravel().tolist()}
    scores = advice.ranking.scores
    np.testing.assert_allclose(scores.influence_se, 0.01 / np.sqrt(3))
    assert (scores.harmful_in == 3).sum() == HARMFUL.size


def test_relabelling_is_not_tried_without_a_pattern(advised):
    advice, _ = advised(best_at_thirty, np.random.default_rng(0).integers(1, 10, N))
    assert [*advice.confirmed] == [Change(30)]


def test_changes_are_of_one_half_and_confirmed_from_fresh_starts(advised):
    _, trainings = advised(best_at_thirty)
    by_seeds = {}
    for seed, changes in trainings.judged:
        by_seeds.setdefault(changes, set()).add(seed)
    relabelled = []
    for half, rows in enumerate(HARMFUL):
        for n in (8, 15):
            assert by_seeds.pop(Changes(tuple(sorted(rows.tolist())[:n]))) == {0, 1}
        assert by_seeds.pop(Changes(tuple(sorted(rows.tolist())))) == {0, 1} | FRESH
        firm = EVEN[rows] == (half == 0)
        relabelled.append(({*rows[~firm].tolist()}, {*rows[firm].tolist()}))
    assert by_seeds.pop(NO_CHANGES) == FRESH
    of_sixty = [by_seeds.pop(change) for change in [*by_seeds] if len(change.removed) == 60]
    assert of_sixty == [{0, 1}, {0, 1}]
    found = [({*change.removed}, {*dict(change.relabelled)}) for change in by_seeds]
    assert sorted(found, key=relabelled.index) == relabelled
    assert all(seeds == FRESH for seeds in by_seeds.values())


@pytest.mark.parametrize(
    "effect",
    [
        lambda seed, n: {3: 0.4, 4: -0.3, 5: 0.1}.get(seed, 0.2),
        lambda seed, n: 0.2 if seed in FIRST else -0.2,
        lambda seed, n: -0.1,
    ],
)
def test_nothing_is_changed_without_a_sure_gain(advised, effect):
    advice, _ = advised(effect)
    assert advice.is_none
    assert not len(advice.removed)
