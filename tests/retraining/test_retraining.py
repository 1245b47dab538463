"""Retraining and its record, on least squares in float64 with no nnabla in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nnabla_influence.retraining.retraining as retraining_module
from nnabla_influence.errors import OutputError, RunError, ScoreError
from nnabla_influence.progress import SilentProgress
from nnabla_influence.retraining.agreement import row_agreement
from nnabla_influence.retraining.journal import Journal
from nnabla_influence.retraining.measurement import measure
from nnabla_influence.retraining.retraining import Retraining
from nnabla_influence.runs.steps import Step
from tests.retraining.linear import LinearTrainer, Problem
from tests.small_projects import REPOSITORY, environment

SILENT = SilentProgress()


def retraining(problem: Problem, trainer: LinearTrainer) -> Retraining:
    return Retraining(trainer, problem.start, problem.steps, problem.fetch, problem.loss, problem.n)


def measured(problem: Problem, left_out, trainer=None, journal=None):
    base, changes = measure(
        retraining(problem, trainer or LinearTrainer()),
        {"theta": problem.redone()},
        problem.loss,
        [np.asarray(rows) for rows in left_out],
        SILENT,
        journal,
        "f",
    )
    return base, changes[0]


SETS = [*([row] for row in range(24)), [3, 8], [0, 5, 11, 23], list(range(12))]


def test_every_change_is_that_of_the_definition():
    problem = Problem()
    base, changes = measured(problem, SETS)
    before = problem.loss({"theta": problem.redone()})
    wanted = [problem.loss({"theta": problem.redone(rows)}) - before for rows in SETS]
    assert base.loss == pytest.approx(before, rel=1e-12)
    np.testing.assert_allclose(changes, wanted, rtol=1e-8, atol=1e-12)


def test_weights_scale_the_gradients_and_more_of_them_go_on_from_fewer(tmp_path: Path):
    problem, trainer = Problem(), LinearTrainer()
    journal = Journal(tmp_path / "result")
    measured(problem, SETS, trainer, journal)
    alone = trainer.n_steps
    base, changes = measure(
        retraining(problem, trainer),
        {"theta": problem.redone()},
        problem.loss,
        [np.asarray(rows) for rows in SETS],
        SILENT,
        Journal(tmp_path / "result"),
        "f",
        (0.0, 0.1),
    )
    assert trainer.n_steps == 2 * alone  # the first weight's are at hand, the base is done again
    wanted = [problem.loss({"theta": problem.redone(rows, 0.1)}) - base.loss for rows in SETS]
    np.testing.assert_allclose(changes[1], wanted, rtol=1e-8, atol=1e-12)
    # Smooth as it is, the loss changes by nine tenths of the whole change, nearly.
    assert row_agreement(changes[1][:24] / 0.9, changes[0][:24]).kendall_tau > 0.95


def test_the_retest_tells_a_truth_that_is_noise():
    problem, left_out = Problem(), [np.array([row]) for row in range(24)]
    for jitter, least, most in ((0.0, 0.95, 1.0), (0.05, -0.5, 0.5)):
        _, (changes, again) = measure(
            retraining(problem, LinearTrainer(jitter)),
            {"theta": problem.redone()},
            problem.loss,
            left_out,
            SILENT,
            weights=(0.0, 0.1),
        )
        assert least < row_agreement(again, changes).kendall_tau <= most


def test_one_step_has_a_closed_form():
    """theta without row j is theta + eta/|S| grad l_j, and the validation loss is a parabola."""
    problem = Problem(epochs=1, batch_size=24)
    _, changes = measured(problem, [[row] for row in range(24)])
    theta = problem.redone()
    x, y = problem.validation
    slope, hessian = 2 * x.T @ (x @ theta - y) / len(y), 2 * x.T @ x / len(y)
    for row, change in enumerate(changes):
        residual = problem.x[row].sum() - problem.y[row]  # at the first theta, all ones
        d = problem.learning_rate / 24 * 2 * residual * problem.x[row]
        assert change == pytest.approx(slope @ d + d @ hessian @ d / 2, rel=1e-9)


def test_first_order_scores_agree_with_small_steps():
    """The derivative by the row's weight, taken by differences through the whole training."""
    problem = Problem(learning_rate=1e-5)
    _, changes = measured(problem, [[row] for row in range(24)])
    trainer, scores = LinearTrainer(), []
    for row in range(24):
        ends = []
        for weight in (0.9, 1.1):
            trainer.start(problem.start)
            for step in problem.steps:
                trainer.step(step, problem.fetch, {row: weight})
            ends.append(problem.loss(trainer.checkpoint().parameters))
        scores.append((ends[0] - ends[1]) / 0.2)
    got = row_agreement(np.array(scores), changes)
    assert got.kendall_tau > 0.98
    assert got.slope == pytest.approx(1, abs=1e-3)


def test_a_retraining_starts_where_its_first_row_is_met(monkeypatch):
    """With the base's checkpoints at hand it does fewer steps, and gives the very same bits."""
    problem, quick, slow = Problem(epochs=1), LinearTrainer(), LinearTrainer()
    _, changes = measured(problem, SETS, quick)
    monkeypatch.setattr(retraining_module, "SNAPSHOTS", 1)
    _, from_the_start = measured(problem, SETS, slow)
    np.testing.assert_array_equal(changes, from_the_start)
    assert slow.n_steps == 6 * (1 + len(SETS))
    # On average a row of the one epoch is met at its middle.
    assert quick.n_steps < 0.7 * slow.n_steps


def test_memory_bounds_the_moments_that_are_held(monkeypatch):
    monkeypatch.setattr(retraining_module, "SNAPSHOT_BYTES", 100)  # one checkpoint has 48
    problem = Problem()
    redone = retraining(problem, LinearTrainer())
    redone.base(SILENT)
    assert len(redone._checkpoints) == 2


def test_a_row_counts_in_every_step_and_mini_batch_that_holds_it():
    problem = Problem(n=4, batch_size=4, epochs=1)
    twice = Step(0, 0, 0.1, (np.array([0, 1, 0]), np.array([2, 0])))
    object.__setattr__(problem, "steps", (twice,))
    without = retraining(problem, LinearTrainer()).without
    x, y = problem.x, problem.y
    gradients = [2 * (x[j].sum() - y[j]) * x[j] for j in range(4)]
    theta = 1 - 0.1 * (gradients[1] / 3 + gradients[2] / 2)
    assert without([0]) == pytest.approx(problem.loss({"theta": theta}), rel=1e-12)


def test_the_base_says_that_it_reproduces_the_run():
    problem = Problem()
    final = {"theta": trained(problem)}
    base, _ = measure(retraining(problem, LinearTrainer()), final, problem.loss, [], SILENT)
    assert (base.difference, base.noise, base.final_loss) == (0, 0, base.loss)
    assert "byte for byte: no noise from the machine" in base.words


def trained(problem: Problem) -> np.ndarray:
    trainer = LinearTrainer()
    trainer.start(problem.start)
    for step in problem.steps:
        trainer.step(step, problem.fetch, {})
    return trainer.checkpoint().parameters["theta"]


def test_the_base_says_by_how_much_it_differs():
    """A device that never gives the same twice: its noise is measured, never passed over."""
    problem = Problem()
    base, _ = measured(problem, [], LinearTrainer(jitter=1e-6))
    again = LinearTrainer(jitter=1e-6)
    first, second = (retraining(problem, again).base(SILENT) for _ in range(2))
    assert base.difference == np.abs(first.parameters["theta"] - problem.redone()).max() > 0
    assert base.noise == abs(first.loss - second.loss) > 0
    assert base.final_loss == problem.loss({"theta": problem.redone()}) != base.loss
    assert "does NOT give the run's final parameters" in base.words
    assert f"{base.noise:.2g}" in base.words


def test_final_parameters_of_another_network():
    problem = Problem()
    with pytest.raises(RunError, match=r"final\.h5 holds no parameter 'theta' of shape \(3,\)"):
        measure(retraining(problem, LinearTrainer()), {"W": np.ones(3)}, problem.loss, [], SILENT)


@pytest.mark.filterwarnings("ignore:.*(overflow|invalid)")
def test_a_retraining_that_diverges_is_named():
    problem = Problem(learning_rate=1e200)
    with pytest.raises(ScoreError, match="the retraining diverges"):
        retraining(problem, LinearTrainer()).base(SILENT)
    with pytest.raises(ScoreError, match="without row 3: the retraining diverges"):
        retraining(problem, LinearTrainer()).without([3])
    with pytest.raises(ScoreError, match="without 2 rows: the retraining diverges"):
        retraining(problem, LinearTrainer()).without([3, 4])


# --------------------------------------------------------------------- going on


def test_goes_on_behind_a_sigkill(tmp_path: Path):
    code = """
import os, signal, sys
from pathlib import Path
from nnabla_influence.retraining.journal import Journal
from tests.retraining.test_retraining import SETS, Problem, measured
class Killed(Journal):
    def add(self, key, loss):
        super().add(key, loss)
        if len(self.done) == 9:
            with self._file.open("ab") as file:
                file.write(b'{"left_out": [9], "lo')  # a line that the kill cut short
            os.kill(os.getpid(), signal.SIGKILL)
measured(Problem(), SETS, journal=Killed(Path(sys.argv[1])))
"""
    output = tmp_path / "result"
    killed = subprocess.run(
        [sys.executable, "-c", code, str(output)],
        cwd=REPOSITORY,
        env=environment(PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
    )
    assert killed.returncode == -9, killed.stderr
    assert (tmp_path / "result.partial" / "retrainings.jsonl").exists()

    problem, trainer, whole = Problem(), LinearTrainer(), LinearTrainer()
    journal = Journal(output)
    _, changes = measured(problem, SETS, trainer, journal)
    _, wanted = measured(problem, SETS, whole)
    np.testing.assert_array_equal(changes, wanted)
    assert trainer.n_steps < whole.n_steps
    lines = (tmp_path / "result.partial" / "retrainings.jsonl").read_text().splitlines()
    assert len(lines) == 1 + len(SETS)
    journal.remove()
    assert not list(tmp_path.iterdir())


def test_more_rows_take_up_the_finished_ones(tmp_path: Path):
    problem = Problem()
    measured(problem, SETS[:10], journal=Journal(tmp_path / "result"))
    trainer, alone = LinearTrainer(), LinearTrainer()
    measured(problem, SETS[:12], trainer, Journal(tmp_path / "result"))
    measured(problem, SETS[10:12], alone)
    assert trainer.n_steps == alone.n_steps


def test_another_validation_is_not_gone_on_from(tmp_path: Path):
    problem = Problem()
    measured(problem, SETS[:3], journal=Journal(tmp_path / "result"))
    file = tmp_path / "result.partial" / "retrainings.jsonl"
    before = file.read_bytes()
    for other, fingerprint in ((problem, "g"), (Problem(learning_rate=0.04), "f")):
        journal = Journal(tmp_path / "result")
        with pytest.raises(OutputError, match=r"\.partial: holds a validation that was inter"):
            # Other settings; or the same ones where the machine gives another loss.
            measure(
                retraining(other, LinearTrainer()),
                {"theta": trained(other)},
                other.loss,
                [],
                SILENT,
                journal,
                fingerprint,
            )
        journal.leave()
        assert file.read_bytes() == before  # hours of work are the user's to remove


@pytest.mark.parametrize("content", [b"[1, 2]\n", b"rubbish\n", b'{"a": 1}\n[]\n'])
def test_a_file_of_something_else(tmp_path: Path, content: bytes):
    (tmp_path / "result.partial").mkdir()
    (tmp_path / "result.partial" / "retrainings.jsonl").write_bytes(content)
    with pytest.raises(OutputError, match=r"result\.partial"):
        Journal(tmp_path / "result").open("f")


def test_a_failure_before_the_first_retraining_leaves_nothing(tmp_path: Path):
    journal = Journal(tmp_path / "result")
    journal.leave()
    assert not list(tmp_path.iterdir())
    journal = Journal(tmp_path / "result")
    journal.open("f")
    journal.leave()
    assert not list(tmp_path.iterdir())


def test_nothing_can_be_kept(tmp_path: Path):
    (tmp_path / "result.partial").write_text("a file")
    with pytest.raises(OutputError, match=r"result\.partial: cannot be written"):
        Journal(tmp_path / "result")
