"""A replayed training: where it ends, at which epoch, and when a killed one is used."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnabla_influence.errors import ModelError
from nnabla_influence.scoring import replay
from nnabla_influence.scoring.replay import Replay, replay_folder, replay_training
from tests.exact_trainings import Said, Watched, equal, replay_inputs
from tests.small_projects import Trained, trained_table
from tests.training_data import parameters_of


@pytest.fixture(scope="module")
def training(trainings) -> Watched:
    return trainings["adam"]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Trained:
    return trained_table(tmp_path_factory.getbasetemp())


def again(model: Path, csv: Path, folder: Path, window="all", progress=None) -> Replay:
    return replay_training(replay_inputs(model, csv, window), folder / "run", progress or Said())


@pytest.fixture
def never(monkeypatch) -> None:
    def train(*_, **__):
        pytest.fail("trained")

    monkeypatch.setattr(replay, "train", train)


def test_it_ends_at_the_very_bytes_of_the_unmodified_nnabla_cli(training, done, never):
    past = again(training.final, training.training, done)
    assert (past.distance, past.epochs, past.is_near) == (0, 3, True)
    assert past.explanation == (
        "The replayed training, 3 epochs, ended at exactly the trained parameters"
    )
    run = past.run
    assert [step.step for step in run.steps] == list(range(6))
    assert len(run.checkpoints) == 2  # of six steps every third
    for number in run.checkpoints:
        equal(run.checkpoint(number), training.seen_by_nnabla(number))
    equal(run.final_checkpoint(), training.seen_by_nnabla(6))


def test_a_start_that_is_not_known_is_refused(training):
    """The parameters that the file holds are the trained ones."""
    inputs = replay_inputs(training.final, training.training)
    for variable in inputs.definition.proto.network[0].variable:
        if variable.name == "h/affine/W":
            variable.ClearField("initializer")
    with pytest.raises(ModelError, match=r"results_current_3\.nnp: .*'h/affine/W'"):
        replay._check_replayable(inputs)


@pytest.mark.parametrize("window", [1, 2])
def test_another_window_is_trained_for_anew(training, done, tmp_path, monkeypatch, window: int):
    """The existing run may hold too few steps."""
    folder = shutil.copytree(done, tmp_path / "copy")
    asked = []

    def train(*arguments, **options):
        asked.append(options["window"])
        raise KeyboardInterrupt

    monkeypatch.setattr(replay, "train", train)
    with pytest.raises(KeyboardInterrupt):
        again(training.final, training.training, folder, window=window)
    assert asked == [window]


def change_csv(folder: Path, training: Watched) -> Path:
    lines = training.training.read_text().splitlines()
    (folder / "other.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    return folder / "other.csv"


def damage_run(folder: Path, training: Watched) -> Path:
    (folder / "copy" / "run" / "steps.csv").write_text("step,epoch\n")
    return training.training


def other_definition(folder: Path, training: Watched) -> Path:
    written = folder / "copy" / "run.nntxt"
    written.write_text(written.read_text().replace("max_epoch: 3", "max_epoch: 4"))
    return training.training


@pytest.mark.parametrize("change", [change_csv, damage_run, other_definition])
def test_a_run_of_another_training_is_not_used(
    training, done, tmp_path, monkeypatch, change: Callable[[Path, Watched], Path]
):
    folder = shutil.copytree(done, tmp_path / "copy")
    csv = change(tmp_path, training)

    def train(definition, *_, **__):
        text = Path(definition).read_text()
        assert f'uri: "{csv}"' in text
        assert "max_epoch: 3" in text
        raise KeyboardInterrupt

    monkeypatch.setattr(replay, "train", train)
    with pytest.raises(KeyboardInterrupt):
        again(training.final, csv, folder)


@pytest.mark.slow
def test_the_best_epoch_is_what_results_nnp_holds(table: Trained, tmp_path):
    """Of four epochs the third was the best, and nnabla_cli saved that one."""
    said = Said()
    past = again(table.model, table.training, tmp_path, progress=said)
    assert (past.distance, past.epochs) == (0, 3)
    assert [step.step for step in past.run.steps] == list(range(15))
    saved = parameters_of(table.model)
    found = past.run.parameters()
    assert all(np.array_equal(found[name], saved[name]) for name in saved)
    assert any("best epoch, 3 of 4" in line for line in said.lines)
    # The end of the training is found without a second attempt.
    said = Said()
    end = again(table.final, table.training, tmp_path, progress=said)
    assert (end.distance, end.epochs) == (0, 4)
    assert not any("best epoch" in line for line in said.lines)


@pytest.mark.parametrize(
    ("errors", "best", "last"),
    [
        ([0.5, 0.3, 0.2, 0.4], 3, 4),
        ([0.5, 0.3, 0.3, 0.4], 3, 4),  # of equal ones the later
        ([0.3, 0.0, 0.2, 0.4], 3, 4),  # an error of 0 counts as none yet
        # After the first five, nnabla_cli evaluates every tenth epoch only.
        ([0.5, 0.4, 0.3, 0.2, 0.3, None, None], 4, 5),
        ([], None, None),
    ],
)
def test_best_epoch_by_nnabla_clis_rule(tmp_path, errors, best, last):
    report = tmp_path / "monitoring_report.yml"
    lines = [
        f"{i}: {{cost: 0.1" + ("}\n" if e is None else f", valid_error: {e}}}\n")
        for i, e in enumerate(errors)
    ]
    report.write_text("".join(lines))
    assert replay._best_epoch(report, save_best=True) == best
    assert replay._best_epoch(report, save_best=False) == last
    report.write_text("0: [")
    assert replay._best_epoch(report, save_best=True) is None


# --------------------------------------------------------------------- the folder


def test_the_folder_stays_for_the_same_command_until_it_succeeds(japanese_path):
    output = japanese_path / "順位 1.csv"
    with contextlib.suppress(RuntimeError), replay_folder(output) as folder:
        folder.mkdir()
        raise RuntimeError
    assert folder.is_dir()
    with replay_folder(output) as again:
        assert again == folder
        assert again.is_dir()
    assert list(japanese_path.iterdir()) == []


def test_an_unfinished_replay_leaves_nothing(tmp_path):
    with contextlib.suppress(KeyboardInterrupt), replay_folder(tmp_path / "a.csv") as folder:
        folder.with_name("run.nntxt").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_without_an_output_the_folder_is_a_temporary_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with replay_folder(None) as folder:
        assert folder.parent.parent == tmp_path
    assert list(tmp_path.iterdir()) == []
