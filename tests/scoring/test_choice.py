"""Method auto: exact where it can be had in time, final elsewhere, and which is said."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import nnabla_influence
from nnabla_influence import Options
from nnabla_influence.definition import load_definition
from nnabla_influence.device import choose_device
from nnabla_influence.errors import RunError, UnsupportedError
from nnabla_influence.influence.trajectory import NotReproducibleError
from nnabla_influence.runs.run import SETTINGS, read_run, write_run
from nnabla_influence.scoring import past_training, taking_up
from nnabla_influence.scoring.opening import open_training
from tests.exact_trainings import Said, Watched, done_again, watched_trainings

score = functools.partial(nnabla_influence.score, device="cpu")

AUTO = Options(window="all")
EXACT = dataclasses.replace(AUTO, method="exact")
FINAL = dataclasses.replace(AUTO, method="final")


@pytest.fixture(scope="module")
def trainings(tmp_path_factory) -> dict[str, Watched]:
    return watched_trainings(tmp_path_factory.getbasetemp())


@pytest.fixture
def training(trainings) -> Watched:
    return trainings["adam"]


def scored(model: Path, options: Options, **more) -> tuple[np.ndarray, str]:
    """Return the influences, and the line that says the method."""
    said = Said()
    influence = score(model, options=options, progress=said, **more).scores.influence
    (line,) = [line for line in said.lines if line.startswith("Method ")]
    return influence, line.partition(":")[0]


def no_training(monkeypatch) -> None:
    monkeypatch.setattr(past_training, "train", lambda *_, **__: pytest.fail("trained"))


@pytest.mark.parametrize("keep", ["sqrt", "all"])
def test_checkpoints_are_traced_exactly(training, keep, monkeypatch):
    no_training(monkeypatch)
    got, said = scored(training.definition, AUTO, run=training.run(keep))
    wanted, _ = scored(training.definition, EXACT, run=training.run("all"))
    np.testing.assert_array_equal(got, wanted)
    assert said == "Method exact (the run keeps checkpoints)"


@pytest.mark.parametrize("source", ["model file", "run without checkpoints"])
def test_a_training_that_is_quickly_replayed_is_traced_exactly(
    training, source, tmp_path, tmp_path_factory, monkeypatch
):
    done = done_again(tmp_path_factory.getbasetemp())
    shutil.copytree(done, tmp_path / ".influence.csv.replay")
    no_training(monkeypatch)
    more = {} if source == "model file" else {"run": training.run("final")}
    model = training.final if source == "model file" else training.definition
    got, said = scored(model, AUTO, output=tmp_path / "influence.csv", **more)
    wanted, _ = scored(training.definition, EXACT, run=training.run("all"))
    np.testing.assert_array_equal(got, wanted)
    assert said == "Method exact (the training was replayed)"


@pytest.mark.parametrize(("budget", "seconds"), [(0, 1.0), (2, 121.0)])
def test_nothing_is_replayed_beyond_the_budget(trainings, budget, seconds, monkeypatch):
    no_training(monkeypatch)
    monkeypatch.setattr(taking_up, "replay_seconds", lambda *_: seconds)
    model = trainings["sgd"].final
    options = dataclasses.replace(AUTO, replay_budget=budget)
    got, said = scored(model, options)
    np.testing.assert_array_equal(got, scored(model, FINAL)[0])
    assert said.startswith("Method final (no checkpoints and ")


def test_the_estimate_grows_with_the_training(training):
    definition = load_definition(training.final)
    trained = open_training(definition, None, Said())
    more = dataclasses.replace(definition, proto=type(definition.proto)())
    more.proto.CopyFrom(definition.proto)
    more.proto.training_config.iter_per_epoch *= 10_000
    few, many = (
        taking_up.replay_seconds(d, d.parameters, trained, choose_device("cpu"))
        for d in (definition, more)
    )
    assert 0 < few < 10
    assert many > 100 * few


def test_a_script_without_checkpoints_is_scored_at_the_final_parameters(training, tmp_path):
    run = read_run(training.run("final"))
    settings = dataclasses.replace(run.settings, recorded_by="Recorder")
    write_run(
        tmp_path / "run",
        parameters=run.parameters(),
        steps=run.steps,
        settings=settings,
        solver_state=run.solver_state(),
    )
    got, said = scored(training.definition, AUTO, run=tmp_path / "run")
    np.testing.assert_array_equal(got, scored(training.definition, FINAL, run=run.folder)[0])
    assert said == "Method final (no checkpoints and no replay)"


def test_another_nnabla_s_checkpoints_are_not_taken_for_wrong_ones(training, tmp_path):
    """Its last bits differ: no exact trace, and nothing against the final parameters."""
    run = Path(shutil.copytree(training.run("sqrt"), tmp_path / "run"))
    settings = json.loads((run / SETTINGS).read_text())
    rate = settings["hyperparameters"]
    rate["beta1"] += 1e-4  # so that a replay gives other values
    settings["nnabla_version"] = "1.38.0"
    (run / SETTINGS).write_text(json.dumps(settings))
    _, said = scored(training.definition, AUTO, run=run)
    assert said == "Method final (the steps cannot be replayed here)"
    with pytest.raises(NotReproducibleError):
        score(training.definition, run=run, options=EXACT)


def test_a_training_that_the_definition_does_not_describe_is_an_error(training, tmp_path):
    run = Path(shutil.copytree(training.run("sqrt"), tmp_path / "run"))
    settings = json.loads((run / SETTINGS).read_text())
    settings["hyperparameters"]["beta1"] += 1e-4
    (run / SETTINGS).write_text(json.dumps(settings))
    with pytest.raises(RunError, match="cannot be replayed"):
        score(training.definition, run=run, options=AUTO)


def test_a_refusal_after_the_choice_is_the_one_that_is_said(trainings, monkeypatch):
    """Not one of the replay that was not done."""
    monkeypatch.setattr(taking_up, "replay_seconds", lambda *_: 1e9)

    def refuse(*_):
        raise UnsupportedError("mixes the examples")

    monkeypatch.setattr("nnabla_influence.scoring.scoring.check_independence", refuse)
    with pytest.raises(UnsupportedError, match="mixes the examples"):
        scored(trainings["sgd"].final, AUTO)


def test_a_replay_of_an_earlier_call_goes_with_the_next_success(trainings, tmp_path):
    left = tmp_path / ".influence.csv.replay"
    (left / "run").mkdir(parents=True)
    score(trainings["sgd"].final, output=tmp_path / "influence.csv", options=FINAL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["influence.csv"]
