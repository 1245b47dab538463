"""Which checkpoints stand for the steps: kept or replayed the same, and no wrong replay."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnabla_influence import Options
from nnabla_influence.definition import load_definition
from nnabla_influence.device import cpu_device
from nnabla_influence.errors import RunError
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.influence.trajectory import (
    FinalTrajectory,
    RecordedTrajectory,
    ReplayedTrajectory,
    describe_difference,
)
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.run import read_run
from nnabla_influence.solvers import SolverState
from tests.exact_trainings import (
    RECORDED,
    Watched,
    equal,
    fetch_from,
)
from tests.runs.changing import with_new_checksums
from tests.scores import score

CONTEXT = cpu_device("tests").context


def replayed(training: Watched, folder: Path | None = None) -> ReplayedTrajectory:
    definition = load_definition(training.definition)
    run = read_run(folder or training.run("sqrt"))
    inputs = StepInputs(fetch_from(training.training))
    return ReplayedTrajectory(run, Trainer(definition, definition.solver, CONTEXT), inputs)


def copy(training: Watched, folder: Path) -> Path:
    shutil.copytree(training.run("sqrt"), folder)
    return folder


def tamper(folder: Path, step: int, index: int = 3, value: float | None = None) -> None:
    """Change one value of a kept checkpoint."""
    path = folder / "checkpoints" / f"{step}.npy"
    flat = np.load(path)
    flat[index] = flat[index] + 0.01 if value is None else value
    np.save(path, flat)
    with_new_checksums(folder)


# --------------------------------------------------------------------- checkpoints


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_each_checkpoint_is_nnablas_in_any_order(trainings, name: str):
    training = trainings[name]
    recorded = read_run(training.run("all"))
    steps = recorded.steps
    kept = RecordedTrajectory(recorded, steps)
    again = replayed(training)
    assert kept.exact
    assert again.exact
    assert len(read_run(training.run("sqrt")).checkpoints) < len(steps)
    for step in (*reversed(steps), steps[0], steps[-1], steps[len(steps) // 2]):
        wanted = training.seen_by_nnabla(step.step)
        equal(kept.before(step), wanted)
        equal(again.before(step), wanted)


def test_the_final_state_stands_for_every_step(trainings):
    run = read_run(trainings["adam"].run("final"))
    trajectory = FinalTrajectory(run.final_checkpoint())
    assert not trajectory.exact
    for step in run.steps:
        equal(trajectory.before(step), trainings["adam"].seen_by_nnabla(6))


# --------------------------------------------------------------------- scores


@pytest.mark.slow
@pytest.mark.parametrize("window", ["last", "all", 2])
@pytest.mark.parametrize("name", RECORDED)
def test_sqrt_gives_the_bytes_of_all(trainings, tmp_path, name: str, window):
    training = trainings[name]
    files = []
    for keep in ("all", "sqrt"):
        output = tmp_path / "influence.csv"
        options = Options(method="exact", window=window)
        ranking = score(training.definition, run=training.run(keep), output=output, options=options)
        files.append(output.read_bytes())
        output.unlink()
    assert files[0] == files[1]
    assert np.ptp(ranking.scores.influence) > 1e-4
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------- wrong replays


@pytest.mark.parametrize(
    ("tampered", "first", "end"), [(8, 8, 12), (4, 4, 8)], ids=["last segment", "within"]
)
def test_one_changed_value_in_a_kept_state_is_noticed(
    trainings, tmp_path, tampered: int, first: int, end: int
):
    training = trainings["momentum"]
    run = copy(training, tmp_path / "run")
    tamper(run, tampered)
    with pytest.raises(RunError, match=rf"run: the training from step {first} to {end} cannot"):
        score(
            training.definition,
            run=run,
            output=tmp_path / "a.csv",
            options=Options(method="exact", window="all"),
        )
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_changed_solver_state_at_the_end_is_noticed(trainings, tmp_path):
    """The parameters alone arrive where they should."""
    training = trainings["adam"]
    run = read_run(training.run("sqrt"))
    final = run.final_checkpoint()
    values = {kind: dict(arrays) for kind, arrays in final.solver.values.items()}
    values["var"]["h/affine/b"] = values["var"]["h/affine/b"] * np.float32(1.01)
    changed = Checkpoint(final.step, final.parameters, SolverState(final.solver.t, values))
    assert describe_difference(final, final) is None
    assert describe_difference(final, changed) == "h/affine/b (var) has the relative error 9.9e-03"


def test_training_that_the_definition_does_not_describe_is_noticed(trainings, tmp_path):
    """The run says another learning rate than the loop had; the same goes for a scaled loss."""
    training = trainings["sgd"]
    run = copy(training, tmp_path / "run")
    lines = (run / "steps.csv").read_text().splitlines()
    number, epoch, rate, rows = lines[-2].split(",")  # the last but one update
    lines[-2] = ",".join([number, epoch, repr(float(rate) * 1.5), rows])
    (run / "steps.csv").write_text("\n".join(lines) + "\n")
    with_new_checksums(run)
    with pytest.raises(RunError, match="from step 8 to 12 cannot be replayed"):
        replayed(training, run).before(read_run(run).steps[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_kept_steps_are_replayed_to_the_next(trainings, name: str):
    training = trainings[name]
    definition, run = load_definition(training.definition), read_run(training.run("all"))
    trainer = Trainer(definition, definition.solver, CONTEXT)
    RecordedTrajectory(run, run.steps).check(trainer, StepInputs(fetch_from(training.training)))


def test_kept_steps_of_another_loss_are_noticed(trainings):
    """As of a script that scales its loss: each step is twice as long as the definition says."""
    training = trainings["sgd"]
    definition, run = load_definition(training.definition), read_run(training.run("all"))
    lr = dataclasses.replace(run.steps[-1], learning_rate=run.steps[-1].learning_rate / 2)
    trajectory = RecordedTrajectory(run, (*run.steps[:-1], lr))
    trainer = Trainer(definition, definition.solver, CONTEXT)
    with pytest.raises(RunError, match=rf"step {lr.step} .*relative error 0\.5"):
        trajectory.check(trainer, StepInputs(fetch_from(training.training)))


def test_a_device_that_does_not_give_the_same_twice_is_named(trainings, tmp_path):
    training = trainings["sgd"]
    run = copy(training, tmp_path / "run")
    trajectory = replayed(training, run)
    drawn = np.random.default_rng(0)
    fetch = fetch_from(training.training)

    def unsteady(rows):
        arrays = fetch(rows)
        return {**arrays, "x": arrays["x"] * (1 + 1e-4 * drawn.normal())}

    trajectory._inputs = StepInputs(unsteady)
    with pytest.raises(RunError, match="same result twice"):
        trajectory.before(read_run(run).steps[-1])


def test_a_replay_begins_at_a_kept_checkpoint_or_is_refused(trainings, tmp_path):
    training = trainings["sgd"]
    run = read_run(training.run("sqrt"))
    trajectory = replayed(training)

    class From8:
        def __getattr__(self, name):
            return getattr(run, name)

        checkpoints = (8,)

    trajectory._run = From8()
    equal(trajectory.before(run.steps[9]), training.seen_by_nnabla(9))
    with pytest.raises(RunError, match="before step 7"):
        trajectory.before(run.steps[7])
