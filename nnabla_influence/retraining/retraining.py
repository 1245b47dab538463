"""Retrain some steps without some rows: everything but their gradients stays as it was.

The steps start from the same checkpoint; the other rows, the order of the mini-batches, the 1/|S|
of each of them, the learning rates and the batch statistics of BatchNormalization are the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from nnabla_influence.errors import RunError
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.progress import Progress
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.run import Run
from nnabla_influence.runs.steps import Step

SNAPSHOTS = 16
SNAPSHOT_BYTES = 2**28
"""How many checkpoints of the base are held, and in how much memory, to start a retraining from."""

Parameters = Mapping[str, np.ndarray]


class Retraining:
    """The same steps, retrained again and again, each time without other rows.

    A retraining starts where the first of its rows is met, from what the base had there.

    Args:
        trainer: Does the steps.
        start: The checkpoint before the first of them.
        steps: At least one.
        inputs: Gives the training data of each step to the trainer.
        n_rows: N.
    """

    def __init__(
        self,
        trainer: Trainer,
        start: Checkpoint,
        steps: Sequence[Step],
        inputs: Any,
        n_rows: int,
    ):
        self._trainer, self._steps, self._inputs = trainer, steps, inputs
        self._checkpoints = {0: start}
        self._first_use = np.full(n_rows, len(steps))
        for position in reversed(range(len(steps))):
            self._first_use[steps[position].rows] = position

    def base(self, progress: Progress) -> Parameters:
        """Return the parameters after all steps with every row.

        Raises:
            RunError: They are not finite.
        """
        kept = min(SNAPSHOTS, SNAPSHOT_BYTES // max(self._checkpoints[0].n_bytes, 1))
        keep_at = set(np.linspace(0, len(self._steps), kept + 1, dtype=int)[1:-1].tolist())
        self._trainer.start(self._checkpoints[0])
        with progress.stage("Retraining with every row", len(self._steps), "steps") as stage:
            for position, step in enumerate(self._steps):
                if position in keep_at and position not in self._checkpoints:
                    self._checkpoints[position] = self._trainer.checkpoint()
                self._trainer.step(step, self._inputs, {})
                stage.update()
        return self._trainer.checkpoint().parameters

    def without(self, rows: Collection[int], weight: float = 0.0) -> Parameters:
        """Return the parameters after retraining without ``rows``, at least one.

        With a ``weight`` other than 0 their gradients are scaled by it instead of left out.

        Raises:
            RunError: The parameters are not finite.
        """
        first = int(self._first_use[list(rows)].min())
        start = max(position for position in self._checkpoints if position <= first)
        weights = {int(row): weight for row in rows}
        self._trainer.start(self._checkpoints[start])
        for step in self._steps[start:]:
            self._trainer.step(step, self._inputs, weights)
        return self._trainer.checkpoint().parameters


def checkpoint_before(run: Run, first: int) -> int:
    """Return the number of the run's last checkpoint at or before step ``first``.

    Raises:
        RunError: The run has none.
    """
    earlier = [number for number in run.checkpoints if number <= first]
    if not earlier:
        raise RunError(
            f"{run.folder}: has no checkpoint from before step {first}, where the retraining would"
            " start; record the training with nnabla-influence train --keep sqrt, or with"
            " RecorderOptions(keep='sqrt')"
        )
    return max(earlier)


def replayed(run: Run, trainer: Trainer, first: int, inputs: Any) -> Checkpoint:
    """Return the checkpoint before step ``first``, replayed from the run's last one before it.

    Raises:
        RunError: The run has none, or lacks steps in between.
    """
    kept = checkpoint_before(run, first)
    checkpoint = run.checkpoint(kept)
    if kept == first:
        return checkpoint
    between = [step for step in run.steps if kept <= step.step < first]
    if not between or between[0].step != kept:
        raise RunError(
            f"{run.folder}: steps.csv has no step {kept}, from which step {first} is replayed;"
            " record the training again"
        )
    trainer.start(checkpoint)
    for step in between:
        trainer.step(step, inputs, {})
    return trainer.checkpoint()
