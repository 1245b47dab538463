"""Scores over several trainings are the mean of scores of single ones, and scatter as they say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nnabla_influence import Options, read_ranking, score, score_trainings
from nnabla_influence import train as record
from nnabla_influence.advice import several_trainings
from nnabla_influence.errors import InfluenceError, RunError
from nnabla_influence.progress import SilentProgress
from nnabla_influence.retraining.inputs import open_inputs
from nnabla_influence.retraining.seeded import train
from nnabla_influence.scoring.inputs import Request
from nnabla_influence.scoring.scoring import score_training
from tests.advice.conftest import N, Table, digits, write_project
from tests.commands.common import run

FINAL = Options(method="final", any_verdict=True)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Table:
    return write_project(tmp_path_factory.mktemp("several") / "学習", epochs=4)


@pytest.fixture(scope="module")
def past(table):
    folder = table.folder / "run"
    record(table.model, folder, device="cpu", window="all", keep="sqrt")
    return folder


def scored(table: Table, trainings: int, **more):
    return score_trainings(table.model, trainings=trainings, **{"device": "cpu", **more})


def one_by_one(table: Table, folder, seeds, options, past=None):
    """Train and score each on its own; return influence (K, N), losses and predictions."""
    runs = [] if past is None else [past]
    for seed in seeds:
        runs.append(folder / f"{seed}")
        train(open_inputs(table.config), seed, runs[-1])
    each = [score(table.model, run=r, options=options, device="cpu").scores for r in runs]
    return [np.stack([getattr(s, name) for s in each]) for name in ("influence", "loss")], each


@pytest.mark.parametrize("method", ["exact", "final"])
def test_one_past_training_and_new_ones(table, past, tmp_path, method):
    options = dataclasses.replace(FINAL, method=method)
    (influence, loss), each = one_by_one(table, tmp_path, [7, 8], options, past)
    output = tmp_path / "influence.csv"
    auto = dataclasses.replace(options, method="auto" if method == "exact" else method)
    found = scored(table, 3, run=past, options=auto, seed=7, output=output)
    np.testing.assert_array_equal(found.scores.influence, influence.mean(0))
    np.testing.assert_array_equal(found.scores.influence_se, influence.std(0, ddof=1) / 3**0.5)
    np.testing.assert_array_equal(found.scores.harmful_in, (influence < 0).sum(0))
    np.testing.assert_array_equal(found.scores.loss, loss.mean(0))
    np.testing.assert_array_equal(found.scores.times_seen, sum(s.times_seen for s in each))
    votes = np.stack([s.predicted for s in each])
    for row, predicted in enumerate(found.scores.predicted):
        classes, n = np.unique(votes[:, row], return_counts=True)
        assert predicted == (classes[n.argmax()] if n.max() > 1 else votes[0, row])
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    read = read_ranking(output)
    assert read.orders == found.orders
    assert found.scores.suggested_label is None  # by last epochs
    assert found.orders.origin == f"3 trainings {method}"
    np.testing.assert_array_equal(read.order, found.order)


@pytest.mark.parametrize("method", ["exact", "influence-function"])
def test_labels_are_suggested_by_the_mean(table, tmp_path, method):
    """By whole trainings, and by influence functions; a single one of these suggests none."""
    options = Options(method=method, window="all" if method == "exact" else "last")
    found = scored(table, 2, options=options, seed=7).scores
    gains, classes = [], []
    for seed in (7, 8):
        folder = tmp_path / f"{seed}"
        train(open_inputs(table.config), seed, folder)
        request = Request(table.model, folder, None, None, None, None, options, "cpu")
        one = score_training(request, 1, SilentProgress(), of_several=True)
        gains.append(one.gains)
        classes.append(one.class_scores)
        alone = score(table.model, run=folder, options=options, device="cpu").scores
        assert (alone.suggested_label is None) == (method == "influence-function")
    rows, given = np.arange(N), digits()[1][:N]
    others = np.mean(classes, axis=0)
    others[rows, given] = -1
    np.testing.assert_array_equal(found.suggested_label, others.argmax(axis=1))
    mean = np.mean(gains, axis=0)
    np.testing.assert_array_equal(found.relabel_gain, mean[rows, others.argmax(axis=1)])
    assert not mean[rows, given].any()


def test_new_ones_alone_in_workers(table, tmp_path):
    (influence, _), _ = one_by_one(table, tmp_path, [0, 1], FINAL)
    for jobs in (1, 2):
        found = scored(table, 2, options=FINAL, jobs=jobs)
        np.testing.assert_array_equal(found.scores.influence, influence.mean(0))


def test_what_is_finished_is_not_trained_again(table, past, tmp_path, monkeypatch):
    output = tmp_path / "influence.csv"
    settings = {"run": past, "options": FINAL, "output": output}
    whole = several_trainings._mean
    monkeypatch.setattr(several_trainings, "_mean", fail)
    with pytest.raises(InfluenceError, match="stopped"):
        scored(table, 3, **settings)
    monkeypatch.setattr(several_trainings, "_mean", whole)
    monkeypatch.setattr(several_trainings, "score_training", fail)
    monkeypatch.setattr(several_trainings, "train_and_score", fail)
    found = scored(table, 3, **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["influence.csv"]
    assert found.orders.count == 3


def fail(*_, **__):
    raise InfluenceError("stopped")


def test_a_run_of_another_definition_is_refused(table, past, tmp_path):
    longer = write_project(tmp_path / "longer", epochs=5)
    with pytest.raises(RunError, match="number of steps"):
        scored(longer, 2, run=past, train=table.training, validation=table.validation)


def test_the_standard_error_is_the_scatter_of_means(table):
    """24 trainings in 8 groups of 3; the mean square over the rows is of thousands of numbers."""
    groups = [scored(table, 3, options=FINAL, seed=100 + 3 * i).scores for i in range(8)]
    scatter = np.stack([g.influence for g in groups]).var(axis=0, ddof=1).mean()
    told = np.mean([g.influence_se**2 for g in groups])
    assert told == pytest.approx(scatter, rel=0.5)


def test_the_command(table, past, tmp_path, capsys):
    output = tmp_path / "influence.csv"
    words = ["-m", table.model, "--run", past, "-o", output, "--method", "exact"]
    code, out, err = run(capsys, "score", *words, "--trainings", 2, "--device", "cpu")
    assert code == 0
    assert any(line.startswith("New trainings: 1, ") for line in err)
    assert "of 2 trainings" in out
    assert read_ranking(output).scores.influence_se is not None
