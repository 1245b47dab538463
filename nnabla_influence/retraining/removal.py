"""Train again without some rows: from the start, or the last epoch."""

from __future__ import annotations

from typing import Optional

import numpy as np

from nnabla_influence.errors import RunError, ScoreError
from nnabla_influence.retraining.inputs import Opened
from nnabla_influence.retraining.seeded_training import (
    SeededTraining,
    recorded_training,
    seeded_training,
)
from nnabla_influence.runs.run import Run
from nnabla_influence.runs.steps import Step


def removed_rows(scores: Optional[str], n: int, n_rows: int) -> np.ndarray:
    """Return the ``n`` rows of the lowest scores, of equal ones those that come first.

    Args:
        scores: .npy of a score for each row; None where ``n`` is 0.
        n: How many.
        n_rows: N.

    Raises:
        ScoreError: There are no such scores, or not so many rows.
    """
    if not 0 <= n <= n_rows:
        raise ScoreError(f"{n} rows cannot be removed of {n_rows}; remove from 0 to {n_rows}")
    if n == 0:
        return np.empty(0, np.int64)
    if scores is None:
        raise ScoreError(f"{n} rows are to be removed and no scores are given; rank them first")
    try:
        values = np.load(scores, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ScoreError(
            f"{scores}: cannot be read as scores ({reason}); rank the rows again"
        ) from error
    if values.shape != (n_rows,) or values.dtype != np.float64 or not np.isfinite(values).all():
        raise ScoreError(
            f"{scores}: does not hold {n_rows} finite scores, one for each training row; rank the"
            " rows again"
        )
    return np.argsort(values, kind="stable")[:n]


def retrained(
    opened: Opened, seed: int, protocol: str, run: str, rows: np.ndarray
) -> Optional[dict[str, np.ndarray]]:
    """Return the parameters after a training in which ``rows`` have no gradient.

    None where it diverges: that is what removing them does.

    Args:
        opened: The problem.
        seed: Of the training.
        protocol: ``all`` or ``last``.
        run: Run folder of the training. Where no row is removed, its end is the answer.
        rows: To remove, (n,).

    Raises:
        RunError: The run cannot be read, or is not of this training.
    """
    training = seeded_training(opened, seed)
    if not len(rows):
        return recorded_training(opened, seed, run).parameters()
    weights = {int(row): 0.0 for row in rows}
    trainer, steps = training.trainer, training.steps
    if protocol == "last":
        steps = _to_last_epoch(training, recorded_training(opened, seed, run))
    else:
        trainer.start(training.start)
    for step in steps:
        trainer.step(step, training.inputs, weights)
    try:
        return dict(trainer.checkpoint().parameters)
    except RunError:  # A checkpoint that is not finite is refused by itself.
        return None


def _to_last_epoch(training: SeededTraining, run: Run) -> tuple[Step, ...]:
    """Let the trainer stand where the last epoch begins; return that epoch's steps."""
    last = tuple(step for step in training.steps if step.epoch == training.steps[-1].epoch)
    first = last[0].step
    kept = max((number for number in run.checkpoints if number <= first), default=None)
    if kept is None:
        raise RunError(
            f"{run.folder}: keeps no state from before step {first}, where the last epoch begins;"
            " train again"
        )
    training.trainer.start(run.checkpoint(kept))
    for step in training.steps[kept:first]:
        training.trainer.step(step, training.inputs)
    return last
