"""The word for a ranking, from numbers, and what a training without one leaves behind."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nnabla_influence import Options, train
from nnabla_influence.errors import ScoreError
from nnabla_influence.influence.trace import Trace
from nnabla_influence.ranking import RELIABLE, ROUGH, read_ranking
from nnabla_influence.scoring.verdict import Signs, judge, signs_of
from reproductions.trust.trainings import Kind, write_training
from tests.scores import score

GOOD = Signs(
    exact=False,
    spread=0.002,
    growth=1.0,
    chosen=False,
    lowest=-0.01,
    never_negative=True,
)
INF = float("inf")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        # Nothing that `final` shows by itself saw every bad ranking, so it is rough at best.
        ({}, ROUGH),
        ({"exact": True}, RELIABLE),
        ({"spread": 0.02}, ROUGH),
        ({"growth": 2.1}, None),
        ({"spread": 0.05}, None),
        ({"spread": 0.05, "chosen": True}, ROUGH),
        ({"lowest": -1.1}, None),
        ({"spread": INF}, None),
        ({"spread": float("nan")}, None),
        # Exact scores are derivatives of what happened, however large: rough, but for nonsense.
        ({"exact": True, "spread": 0.05}, ROUGH),
        ({"exact": True, "growth": 2.1}, ROUGH),
        ({"exact": True, "lowest": -1.1}, None),
        ({"exact": True, "lowest": -1.1, "never_negative": False}, RELIABLE),
    ],
)
def test_the_word_follows_from_the_signs(changes, word):
    signs = dataclasses.replace(GOOD, **changes)
    if word is None:
        with pytest.raises(ScoreError, match=r"no ranking.*; do that$"):
            judge(signs, "do that")
    else:
        verdict = judge(signs, "do that")
        assert verdict.word == word
        assert bool(verdict.reason) == (word == ROUGH)


def test_the_signs_are_of_the_mean_over_the_orders_and_of_rows_seen():
    seen = np.array([1, 2, 0, 0])
    one = Trace(np.array([-0.3, 0.1, 0.0, 0.0]), seen, 5, 1.0, growth=1.5)
    other = Trace(np.array([-0.1, 0.3, 0.0, 0.0]), seen, 5, 1.0, growth=1.2)
    signs = signs_of([one, other], 0.5, exact=False, chosen=False, never_negative=True)
    # Two rows seen, with -.2 and .2: their deviation is .2.
    assert signs.spread == pytest.approx(0.2 * np.sqrt(0.2) / 0.5)
    assert signs.lowest == pytest.approx(-0.4)
    assert signs.growth == 1.5


@pytest.fixture
def unjudged():
    """Here they are judged."""


@pytest.fixture(scope="module")
def normalized(tmp_path_factory):
    """The table of which `final` with running statistics is no better than chance."""
    folder = tmp_path_factory.mktemp("normalized")
    kind = Kind("table", "LeakyReLU", True, "Adam", 0.002, 20, 300, 20, 30)
    definition = write_training(folder, kind)
    return definition, train(definition, folder / "run", keep="all", device="cpu")


@pytest.mark.slow
def test_running_statistics_give_no_ranking_there_and_no_file(normalized, tmp_path):
    definition, run = normalized
    output = tmp_path / "influence.csv"
    with pytest.raises(ScoreError, match=r"no ranking.*method auto.*batch statistics"):
        score(
            definition,
            run=run.folder,
            output=output,
            options=Options(method="final", running_statistics=True),
        )
    assert list(tmp_path.iterdir()) == []


def test_exact_scores_are_reliable_there_and_say_so(normalized, tmp_path):
    definition, run = normalized
    output = tmp_path / "influence.csv"
    options = Options(method="exact")
    ranking = score(definition, run=run.folder, output=output, options=options)
    assert ranking.verdict is not None
    assert ranking.verdict.word == RELIABLE
    assert read_ranking(output).orders == ranking.orders
