"""Method auto: exact where that is possible in time, else final; and which is reported."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from nnabla_influence import Options
from nnabla_influence.definition import load_definition
from nnabla_influence.errors import RunError
from nnabla_influence.influence.trajectory import NotReproducibleError
from nnabla_influence.runs.run import SETTINGS, read_run, write_run
from nnabla_influence.scoring import replay
from nnabla_influence.scoring.choice import note_on_best_epoch
from nnabla_influence.scoring.inputs import Request, read_inputs
from tests.exact_trainings import Said, Watched, done_again
from tests.scores import score
from tests.small_projects import Trained, trained_table, write_table

AUTO = Options(window="all")
EXACT = dataclasses.replace(AUTO, method="exact")
FINAL = dataclasses.replace(AUTO, method="final")


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
    monkeypatch.setattr(replay, "train", lambda *_, **__: pytest.fail("trained"))


@pytest.mark.slow
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
    monkeypatch.setattr(replay, "replay_seconds", lambda *_: seconds)
    model = trainings["sgd"].final
    options = dataclasses.replace(AUTO, replay_budget=budget)
    got, said = scored(model, options)
    np.testing.assert_array_equal(got, scored(model, FINAL)[0])
    assert said.startswith("Method final (no checkpoints and ")


def test_the_estimate_grows_with_the_training(training):
    request = Request(training.final, None, None, None, None, None, AUTO, "cpu")
    inputs = read_inputs(request, Said())
    definition = inputs.definition
    more = dataclasses.replace(definition, proto=type(definition.proto)())
    more.proto.CopyFrom(definition.proto)
    more.proto.training_config.iter_per_epoch *= 10_000
    few, many = (
        replay.replay_seconds(dataclasses.replace(inputs, definition=d)) for d in (definition, more)
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


def test_checkpoints_of_another_nnabla_are_not_called_wrong(training, tmp_path):
    """Its last bits differ: no exact trace, but method final."""
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


def test_the_replay_of_an_earlier_call_is_removed_by_the_next_success(trainings, tmp_path):
    left = tmp_path / ".influence.csv.replay"
    (left / "run").mkdir(parents=True)
    score(trainings["sgd"].final, output=tmp_path / "influence.csv", options=FINAL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["influence.csv"]


# --------------------------------------------------------------------- the best epoch's file


@pytest.fixture
def net(tmp_path) -> Path:
    return write_table(tmp_path)


def pack(net: Path, name: str, *, change: float = 0.0) -> Path:
    """Pack the definition with its parameters, one of them changed."""
    with h5py.File(net.parent / "net.h5", "a") as file:
        file["out/affine/b"][0] += change
    with zipfile.ZipFile(net.parent / name, "w") as archive:
        archive.writestr("nnp_version.txt", "0.1\n")
        archive.write(net, "net.nntxt")
        archive.write(net.parent / "net.h5", "parameter.h5")
    return net.parent / name


@pytest.mark.parametrize(
    ("name", "others", "noted"),
    [
        ("results.nnp", {3: 1e-3, 9: 1e-3, 10: 1e-3}, "results_current_10.nnp"),
        ("results_best_7.nnp", {10: 1e-3}, "results_current_10.nnp"),
        ("results.nnp", {10: 0.0}, None),
        ("results.nnp", {10: None}, None),  # cannot be read
        ("results_current_10.nnp", {11: 1e-3}, None),
        ("my_results.nnp", {11: 1e-3}, None),
    ],
)
def test_the_last_of_the_other_parameters_is_named(net: Path, name: str, others, noted):
    given = pack(net, name)
    for epoch, change in others.items():
        if change is None:
            (net.parent / f"results_current_{epoch}.nnp").write_bytes(b"not a zip")
        else:
            pack(net, f"results_current_{epoch}.nnp", change=change)
    note = note_on_best_epoch(load_definition(given))
    assert note is None if noted is None else noted in note


def test_what_nnabla_cli_leaves(tmp_path_factory):
    """Of a training whose best epoch is not the last."""
    trained: Trained = trained_table(tmp_path_factory.getbasetemp())
    assert trained.final.name in note_on_best_epoch(load_definition(trained.model))
    assert note_on_best_epoch(load_definition(trained.final)) is None
