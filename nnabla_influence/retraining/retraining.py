"""Retrain the window's steps with some rows left out, in the paper's sense.

A row that is left out has no gradient in any of the steps. Everything else is as it was: where the
steps start from, the other rows, the order of the mini-batches, the 1/|S| of each of them, the
learning rates, and the batch statistics of BatchNormalization.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Definition, build_objective
from nnabla_influence.errors import InfluenceError, ScoreError
from nnabla_influence.progress import Progress
from nnabla_influence.runs.steps import FetchRows, Step

if TYPE_CHECKING:
    from nnabla_influence.runs.checkpoint import Checkpoint

SNAPSHOTS = 16
SNAPSHOT_BYTES = 2**28
"""How many checkpoints of the base are held, and in how much memory, to start a retraining from."""

Parameters = Mapping[str, np.ndarray]


class AnyTrainer(Protocol):
    """What is asked of a `nnabla_influence.influence.trainer.Trainer`."""

    def start(self, checkpoint: Checkpoint) -> None:
        """Go to a checkpoint."""

    def step(self, step: Step, inputs: Any, weights: Mapping[int, float]) -> None:
        """Do the next update, each row's gradient with its weight, 1 by default."""

    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint that it stands at."""


@dataclass(frozen=True, eq=False)
class Retrained:
    """What a retraining ends with: its parameters, and the mean validation loss with them."""

    parameters: Parameters
    loss: float


class Retraining:
    """The window's steps, again and again, each time with other rows left out.

    A retraining starts where the first of its rows is met, from what the base had there.

    Args:
        trainer: Does the steps.
        start: The checkpoint before the first of them.
        steps: The window, at least one.
        inputs: Gives the training data of each step, as the trainer takes it.
        loss: Parameters to mean validation loss.
        n_rows: N.
    """

    def __init__(
        self,
        trainer: AnyTrainer,
        start: Checkpoint,
        steps: Sequence[Step],
        inputs: Any,
        loss: Callable[[Parameters], float],
        n_rows: int,
    ):
        self._trainer, self._steps, self._inputs, self._loss = trainer, steps, inputs, loss
        self._checkpoints = {0: start}
        self._first_use = np.full(n_rows, len(steps))
        for position in reversed(range(len(steps))):
            self._first_use[steps[position].rows] = position

    def base(self, progress: Progress) -> Retrained:
        """Retrain with nothing left out, from the window's first step."""
        kept = min(SNAPSHOTS, SNAPSHOT_BYTES // max(self._checkpoints[0].n_bytes, 1))
        keep_at = set(np.linspace(0, len(self._steps), kept + 1, dtype=int)[1:-1].tolist())
        self._trainer.start(self._checkpoints[0])
        with progress.stage("Retraining with nothing left out", len(self._steps), "steps") as stage:
            for position, step in enumerate(self._steps):
                if position in keep_at and position not in self._checkpoints:
                    self._checkpoints[position] = self._trainer.checkpoint()
                self._trainer.step(step, self._inputs, {})
                stage.update()
        return self._end()

    def without(self, rows: Collection[int], weight: float = 0.0) -> float:
        """Return the mean validation loss after retraining without ``rows``.

        With a ``weight`` other than 0 their gradients are scaled by it, in place of left out.
        """
        first = int(self._first_use[list(rows)].min())
        start = max(position for position in self._checkpoints if position <= first)
        weights = {int(row): weight for row in rows}
        self._trainer.start(self._checkpoints[start])
        for step in self._steps[start:]:
            self._trainer.step(step, self._inputs, weights)
        try:
            return self._end().loss
        except InfluenceError as error:  # a checkpoint that is not finite is refused by itself
            named = f"row {next(iter(rows))}" if len(rows) == 1 else f"{len(rows)} rows"
            raise ScoreError(f"without {named}: {error}") from error

    def _end(self) -> Retrained:
        parameters = self._trainer.checkpoint().parameters
        diverged = ScoreError(
            "the retraining diverges (what it ends with is not finite); choose a shorter window, or"
            " train with a lower learning rate"
        )
        if not all(np.isfinite(value).all() for value in parameters.values()):
            raise diverged
        loss = self._loss(parameters)
        if not np.isfinite(loss):
            raise diverged
        return Retrained(parameters, loss)


class MeanLoss:
    """The mean validation loss as a function of the parameters: test mode, no weight decay.

    Args:
        definition: The network.
        context: Where to compute.
        parameters: Any that the network can be built with.
        fetch: Gives the rows of the validation data.
        rows: Those that are asked about, repeated or not.
        block: Examples in the network at once.
    """

    def __init__(
        self,
        definition: Definition,
        context: nn.Context,
        parameters: Parameters,
        fetch: FetchRows,
        rows: np.ndarray,
        block: int,
    ):
        self._context, self._fetch, self._rows = context, fetch, rows
        self._objective = build_objective(definition, block, context, parameters)

    def __call__(self, parameters: Parameters) -> float:
        """Return the mean, summed in float64."""
        objective, size, total = self._objective, self._objective.batch_size, 0.0
        with nn.context_scope(self._context):
            objective.set_parameters(parameters)
            for start in range(0, len(self._rows), size):
                rows = self._rows[start : start + size]
                # Filled up with a real example: anything else could be outside a loss's domain.
                filled = np.concatenate([rows, np.repeat(rows[-1:], size - len(rows))])
                inputs = self._fetch(filled)
                for column, variable in objective.inputs.items():
                    variable.d = inputs[column]
                objective.losses.forward(clear_buffer=True)
                total += float(objective.losses.d[: len(rows)].astype(np.float64).sum())
        return total / len(self._rows)
