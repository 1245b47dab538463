"""Exact scores of trainings without checkpoints, from their files alone."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from nnabla_influence import Options
from nnabla_influence.definition import load_definition
from nnabla_influence.errors import InfluenceError, RunError, ScoreError
from nnabla_influence.influence import trace_file
from nnabla_influence.runs.run import read_run, write_run
from nnabla_influence.scoring import replay
from tests.exact_trainings import Said, Watched
from tests.runs.changing import with_new_checksums
from tests.scores import score

EXACT = Options(method="exact", window="all")
FINAL = dataclasses.replace(EXACT, method="final")
REPLAY = ".influence.csv.replay"


@pytest.fixture(scope="module")
def training(trainings) -> Watched:
    return trainings["adam"]


@pytest.fixture
def output(done: Path, tmp_path: Path, monkeypatch) -> Path:
    """A ranking to write, beside which the replay is finished; no other is allowed."""
    folder = tmp_path / "out"
    folder.mkdir()
    shutil.copytree(done, folder / REPLAY)
    monkeypatch.setattr(replay, "train", lambda *_, **__: pytest.fail("trained"))
    return folder / "influence.csv"


def influence(*arguments, **more) -> np.ndarray:
    return score(*arguments, **more).scores.influence


def test_from_the_nnp_of_an_unmodified_training_to_the_recorded_runs_bytes(training, output):
    said = Said()
    wanted = output.parent / "wanted.csv"
    score(training.definition, run=training.run("all"), output=wanted, options=EXACT)
    score(training.final, output=output, options=EXACT, progress=said)
    got, recorded = (path.read_text().replace("replayed", "recorded") for path in (output, wanted))
    assert got == recorded
    assert any("exactly the trained parameters" in line for line in said.lines)
    (method,) = [line for line in said.lines if line.startswith("Method exact (as asked)")]
    assert "6 steps" in method
    assert sorted(p.name for p in output.parent.iterdir()) == ["influence.csv", "wanted.csv"]


def test_a_recorded_run_without_checkpoints_is_replayed(training, output):
    wanted = influence(training.definition, run=training.run("all"), options=EXACT)
    got = influence(training.definition, run=training.run("final"), output=output, options=EXACT)
    np.testing.assert_array_equal(got, wanted)
    final = influence(training.definition, run=training.run("final"), options=FINAL)
    assert np.linalg.norm(got - final) > 1e-2 * np.linalg.norm(got)


def test_killed_after_the_replay_the_second_call_does_not_replay(training, output, monkeypatch):
    monkeypatch.setattr(trace_file, "SAVE_SECONDS", 0.0)
    arguments = {"output": output, "options": EXACT}
    with pytest.raises(RuntimeError):
        score(training.final, progress=Said(4), **arguments)
    assert sorted(p.name for p in output.parent.iterdir()) == [
        REPLAY,
        ".influence.csv.trace.npz",
    ]
    said = Said()
    got = influence(training.final, progress=said, **arguments)
    assert said.n_traced == 2
    wanted = influence(training.definition, run=training.run("all"), options=EXACT)
    np.testing.assert_array_equal(got, wanted)
    assert [p.name for p in output.parent.iterdir()] == ["influence.csv"]


def test_ctrl_c_reports_what_is_kept(training, output):
    said = Said(4, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        score(training.final, output=output, options=EXACT, progress=said)
    assert REPLAY in said.lines[-1]
    assert [p.name for p in output.parent.iterdir()] == [REPLAY]


def test_a_failure_that_would_happen_again_leaves_nothing(training, output):
    with pytest.raises(ScoreError):
        score(training.final, output=output, options=EXACT, progress=Said(4, ScoreError))
    assert list(output.parent.iterdir()) == []


def noisy(training: Watched, folder: Path, scale: float) -> Path:
    path = shutil.copy(training.run("all") / "final.h5", folder / "noisy.h5")
    rng = np.random.default_rng(0)
    with h5py.File(path, "r+") as file:
        for name in ("h/affine/W", "out/affine/W"):
            file[name][...] *= 1 + scale * rng.normal(size=file[name].shape).astype(np.float32)
    return Path(path)


def test_where_the_replay_differs_final_is_scored_and_reported(
    training, output, tmp_path, monkeypatch
):
    monkeypatch.setattr(replay, "_best_epoch", lambda *_, **__: None)
    parameters = noisy(training, tmp_path, 0.1)
    run = Path(shutil.copytree(training.run("final"), tmp_path / "run"))
    shutil.copy(parameters, run / "final.h5")
    with_new_checksums(run)
    said = Said()
    arguments = {"run": run, "output": output}
    auto = dataclasses.replace(EXACT, method="auto")
    got = influence(training.definition, options=auto, progress=said, **arguments)
    (line,) = [line for line in said.lines if "falling back to method final" in line]
    assert "different parameters" in line
    np.testing.assert_array_equal(got, influence(training.definition, run=run, options=FINAL))
    assert [p.name for p in output.parent.iterdir()] == ["influence.csv"]


def test_where_the_replay_differs_nothing_is_written_if_exact_was_asked_for(
    training, output, tmp_path, monkeypatch
):
    monkeypatch.setattr(replay, "_best_epoch", lambda *_, **__: None)
    parameters = noisy(training, tmp_path, 0.1)
    with pytest.raises(RunError, match="different parameters"):
        score(training.definition, parameters=parameters, output=output, options=EXACT)
    assert list(output.parent.iterdir()) == []


def test_where_the_replay_is_near_that_is_reported(training, output, tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "_best_epoch", lambda *_, **__: None)
    parameters = noisy(training, tmp_path, 1e-5)
    said = Said()
    arguments = {"parameters": parameters, "options": EXACT, "progress": said}
    got = influence(training.definition, output=output, **arguments)
    assert any("the scores are those of the replayed training" in line for line in said.lines)
    wanted = influence(training.definition, run=training.run("all"), options=EXACT)
    np.testing.assert_array_equal(got, wanted)


# --------------------------------------------------------------------- refused


@pytest.fixture(autouse=True)
def _no_training(monkeypatch):
    monkeypatch.setattr(replay, "train", lambda *_, **__: pytest.fail("trained"))


def test_a_scripts_training_without_states_is_refused_with_advice(training, tmp_path):
    run = read_run(training.run("final"))
    settings = dataclasses.replace(run.settings, recorded_by="Recorder")
    write_run(tmp_path / "run", parameters=run.parameters(), steps=run.steps, settings=settings)
    with pytest.raises(RunError, match=r"run: .* RecorderOptions"):
        score(training.definition, run=tmp_path / "run", options=EXACT)


def test_another_csv_is_refused(training, tmp_path):
    lines = training.training.read_text().splitlines()
    (tmp_path / "other.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    with pytest.raises(InfluenceError, match=r"other\.csv .*train\.csv"):
        score(training.final, train=tmp_path / "other.csv", options=EXACT)


def test_another_batch_size_is_refused(training):
    with pytest.raises(InfluenceError, match="batch size 4"):
        score(training.final, options=dataclasses.replace(EXACT, batch_size=4))


# --------------------------------------------------------------------- moved away


def test_the_given_csv_is_trained_on_where_the_definitions_does_not_exist(
    training, tmp_path, monkeypatch
):
    """A project that was moved: the same rows, elsewhere."""
    definition = load_definition(training.final)
    moved = shutil.copy(training.training, tmp_path / "moved.csv")
    assert definition.validation is not None
    validation = shutil.copy(definition.validation.path, tmp_path / "moved too.csv")
    definition = dataclasses.replace(
        definition,
        training=dataclasses.replace(definition.training, path=tmp_path / "gone.csv"),
    )
    for dataset in definition.proto.dataset:
        dataset.uri = str(tmp_path / "gone.csv")
    asked = []

    def train(written, *_, **__):
        asked.extend(dataset.uri for dataset in load_definition(written).proto.dataset)
        raise KeyboardInterrupt

    monkeypatch.setattr(replay, "train", train)
    monkeypatch.setattr("nnabla_influence.scoring.inputs.load_definition", lambda *_: definition)
    with pytest.raises(KeyboardInterrupt):
        score(
            training.final,
            train=moved,
            validation=validation,
            output=tmp_path / "a.csv",
            options=EXACT,
        )
    # The monitor's too: nnabla_cli needs an existing one, to find the best epoch.
    assert asked == [str(moved), str(validation)]
    assert not list(tmp_path.glob(".*"))
