"""Retraining and its record, on least squares in float64 with no nnabla in it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import nnabla_influence.retraining.retraining as retraining_module
from nnabla_influence.errors import OutputError, ScoreError
from nnabla_influence.progress import SilentProgress
from nnabla_influence.retraining.agreement import row_agreement
from nnabla_influence.retraining.retraining import Retraining
from nnabla_influence.retraining.store import PartialValidation
from nnabla_influence.retraining.validation import LossChanges
from nnabla_influence.runs.steps import Step
from tests.retraining.linear import LinearData, LinearTrainer

pytestmark = pytest.mark.slow

SILENT = SilentProgress()


def retraining(data: LinearData, trainer: LinearTrainer) -> Retraining:
    return Retraining(trainer, data.start, data.steps, data.fetch, data.n)


def changes_of(data: LinearData, trainer=None, theta=None) -> LossChanges:
    """The changes, against a run that ended with ``theta``, by default as the trainer gives it."""
    final = {"theta": trained(data) if theta is None else theta}
    return LossChanges(retraining(data, trainer or LinearTrainer()), data.loss, final, SILENT)


def measured(data: LinearData, left_out, trainer=None, partial=None, weights=(0.0,)):
    """The base, and the changes without each of the rows; ``partial`` keeps what is finished."""
    changes = changes_of(data, trainer)
    if partial is not None:
        changes.resume(partial, "f")
    found = changes.without([np.asarray(rows) for rows in left_out], weights)
    return changes.base, found if len(weights) > 1 else found[0]


SETS = [*([row] for row in range(24)), [3, 8], [0, 5, 11, 23], list(range(12))]


def test_every_change_is_that_of_the_definition():
    data = LinearData()
    base, changes = measured(data, SETS)
    before = data.loss({"theta": data.retrained()})
    wanted = [data.loss({"theta": data.retrained(rows)}) - before for rows in SETS]
    assert base.loss == pytest.approx(before, rel=1e-12)
    np.testing.assert_allclose(changes, wanted, rtol=1e-8, atol=1e-12)


def test_weights_scale_the_gradients_and_more_of_them_resume_from_fewer(tmp_path: Path):
    data, trainer = LinearData(), LinearTrainer()
    measured(data, SETS, trainer, PartialValidation(tmp_path / "result"))
    alone = trainer.n_steps
    partial = PartialValidation(tmp_path / "result")
    base, changes = measured(data, SETS, trainer, partial, (0.0, 0.1))
    assert trainer.n_steps == 2 * alone  # the first weight's are kept, the base is retrained
    wanted = [data.loss({"theta": data.retrained(rows, 0.1)}) - base.loss for rows in SETS]
    np.testing.assert_allclose(changes[1], wanted, rtol=1e-8, atol=1e-12)
    # Smooth as it is, the loss changes by nine tenths of the whole change, nearly.
    assert row_agreement(changes[1][:24] / 0.9, changes[0][:24]).kendall_tau > 0.95


def test_the_retest_shows_true_changes_that_are_noise():
    data, left_out = LinearData(), [[row] for row in range(24)]
    for jitter, least, most in ((0.0, 0.95, 1.0), (0.05, -0.5, 0.5)):
        _, found = measured(data, left_out, LinearTrainer(jitter), weights=(0.0, 0.1))
        assert least < row_agreement(found[1], found[0]).kendall_tau <= most


def test_one_step_has_a_closed_form():
    """theta without row j is theta + eta/|S| grad l_j, and the validation loss is a parabola."""
    data = LinearData(epochs=1, batch_size=24)
    _, changes = measured(data, [[row] for row in range(24)])
    theta = data.retrained()
    x, y = data.validation
    slope, hessian = 2 * x.T @ (x @ theta - y) / len(y), 2 * x.T @ x / len(y)
    for row, change in enumerate(changes):
        residual = data.x[row].sum() - data.y[row]  # at the first theta, all ones
        d = data.learning_rate / 24 * 2 * residual * data.x[row]
        assert change == pytest.approx(slope @ d + d @ hessian @ d / 2, rel=1e-9)


def test_a_retraining_starts_where_its_first_row_is_met(monkeypatch):
    """With the base's checkpoints it does fewer steps, and gives the very same bits."""
    data, quick, slow = LinearData(epochs=1), LinearTrainer(), LinearTrainer()
    _, changes = measured(data, SETS, quick)
    monkeypatch.setattr(retraining_module, "SNAPSHOTS", 1)
    _, from_the_start = measured(data, SETS, slow)
    np.testing.assert_array_equal(changes, from_the_start)
    assert slow.n_steps == 6 * (1 + len(SETS))
    # On average a row of the one epoch is met at its middle.
    assert quick.n_steps < 0.7 * slow.n_steps


def test_a_row_counts_in_every_step_and_mini_batch_that_holds_it():
    data = LinearData(n=4, batch_size=4, epochs=1)
    twice = Step(0, 0, 0.1, (np.array([0, 1, 0]), np.array([2, 0])))
    object.__setattr__(data, "steps", (twice,))
    without = retraining(data, LinearTrainer()).without
    x, y = data.x, data.y
    gradients = [2 * (x[j].sum() - y[j]) * x[j] for j in range(4)]
    theta = 1 - 0.1 * (gradients[1] / 3 + gradients[2] / 2)
    assert data.loss(without([0])) == pytest.approx(data.loss({"theta": theta}), rel=1e-12)


def trained(data: LinearData) -> np.ndarray:
    trainer = LinearTrainer()
    trainer.start(data.start)
    for step in data.steps:
        trainer.step(step, data.fetch, {})
    return trainer.checkpoint().parameters["theta"]


def test_the_base_says_by_how_much_it_differs():
    """A device that never gives the same twice: its noise is measured, never passed over."""
    data = LinearData()
    base = changes_of(data, LinearTrainer(jitter=1e-6), data.retrained()).base
    again = LinearTrainer(jitter=1e-6)
    first, second = (retraining(data, again).base(SILENT) for _ in range(2))
    assert base.difference == np.abs(first["theta"] - data.retrained()).max() > 0
    assert base.noise == abs(data.loss(first) - data.loss(second)) > 0
    assert base.final_loss == data.loss({"theta": data.retrained()}) != base.loss
    assert "does not give the run's final parameters" in base.words
    assert f"{base.noise:.2g}" in base.words


@pytest.mark.filterwarnings("ignore:.*(overflow|invalid)")
def test_a_retraining_that_diverges_is_named():
    with pytest.raises(ScoreError, match="diverges"):
        changes_of(LinearData(learning_rate=1e200))
    data, losses = LinearData(), iter([1.0, math.inf, math.inf])
    final = {"theta": trained(data)}
    changes = LossChanges(retraining(data, LinearTrainer()), lambda _: next(losses), final, SILENT)
    for rows, named in (([3], "without row 3: .*diverges"), ([3, 4], "without 2 rows: .*diverges")):
        with pytest.raises(ScoreError, match=named):
            changes.without([np.array(rows)])


# --------------------------------------------------------------------- resuming


def test_another_validation_is_not_resumed(tmp_path: Path):
    """Other settings; or the same ones where the machine gives another loss."""
    data = LinearData()
    changes = changes_of(data)
    changes.resume(PartialValidation(tmp_path / "result"), "f")
    changes.without([np.array(rows) for rows in SETS[:3]])
    for other, fingerprint in ((data, "g"), (LinearData(learning_rate=0.04), "f")):
        changes = changes_of(other)
        with pytest.raises(OutputError, match=r"result\.partial"):
            changes.resume(PartialValidation(tmp_path / "result"), fingerprint)
    assert len(list((tmp_path / "result.partial").iterdir())) == 3
