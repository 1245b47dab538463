"""The log of a training's steps, and the solver that writes it."""

from __future__ import annotations

import math
import os
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnabla_influence.dataset.file_hashes import hash_contents
from nnabla_influence.errors import DatasetError, RunError, UnsupportedError
from nnabla_influence.runs.checkpoint_writer import CheckpointWriter
from nnabla_influence.runs.steps import Step


@dataclass(frozen=True, eq=False)
class LoggedUpdate:
    """One solver update; ``epoch`` is None where it was not given."""

    batches: tuple[np.ndarray, ...]
    learning_rate: float
    weight_decay: float
    epoch: int | None

    @property
    def n_rows(self) -> int:
        """Rows in all mini-batches."""
        return sum(len(batch) for batch in self.batches)


class StepLog:
    """The updates of the window so far; older ones are dropped, so that memory stays bounded.

    Args:
        n_rows: Rows of the training dataset.
        window: How many epochs back to keep; None for all.
        epoch_of: The epoch of an update, from the number of updates before it and the number of
            mini-batches drawn, its own included; None to count epochs back from the end.

    Attributes:
        checkpoints: Writes the checkpoints of the training, if there are any. The log then reaches
            back to the last checkpoint at or before the window, from where it can be replayed.
    """

    def __init__(
        self,
        n_rows: int,
        window: int | None,
        epoch_of: Callable[[int, int], int] | None = None,
    ):
        self.n_rows = n_rows
        self.window = window
        self.n_updates = 0
        self.n_batches = 0
        self.checkpoints: CheckpointWriter | None = None
        self._epoch_of = epoch_of
        self._updates: deque[LoggedUpdate] = deque()
        self._n_before = 0  # updates that are kept for the replay, before the window
        self._rows_in_window = 0
        self._pending: list[np.ndarray] = []
        self._decay = 0.0

    def batch(self, rows: Any) -> None:
        """Log that the next update adds the gradient of a mini-batch.

        Raises:
            RunError: These are not rows of the dataset; where they are an exception, that.
        """
        if isinstance(rows, Exception):
            raise rows
        rows = np.asarray(rows)
        if rows.ndim != 1 or not rows.size or rows.dtype.kind not in "iu":
            raise RunError(f"{rows.dtype} of shape {rows.shape} is not a list of row numbers")
        for row in (rows.min(), rows.max()):
            if not 0 <= row < self.n_rows:
                raise RunError(
                    f"row {row} is not in the dataset, whose {self.n_rows} rows are numbered from 0"
                )
        self._pending.append(rows.astype(np.int64))
        self.n_batches += 1

    def zeroed(self) -> None:
        """Log that the gradients were set to zero, which drops all mini-batches but the last.

        The last one may be drawn before zeroing, but its gradient is computed after it.
        """
        del self._pending[:-1]

    def decayed(self, rate: float, *, replaces: bool = False) -> None:
        """Log ``weight_decay(rate)``: rates add up, or are replaced where the solver fuses them."""
        rate = float(np.float32(rate))
        self._decay = rate if replaces else self._decay + rate

    def updated(self, learning_rate: float, epoch: int | None = None) -> None:
        """Log that the solver updated the parameters.

        Raises:
            RunError: No mini-batch was drawn.
        """
        if not self._pending:
            raise RunError(
                "the solver updated the parameters without a new mini-batch; draw from"
                " recorder.iterator, or use your own solver and call recorder.step(rows)"
            )
        if epoch is None and self._epoch_of is not None:
            epoch = self._epoch_of(self.n_updates, self.n_batches)
        update = LoggedUpdate(tuple(self._pending), float(learning_rate), self._decay, epoch)
        self._updates.append(update)
        self.n_updates += 1
        self._rows_in_window += update.n_rows
        self._pending, self._decay = [], 0.0
        self._drop_old()
        if self.checkpoints is not None:
            self.checkpoints.write(self.n_updates)

    def started(self) -> None:
        """Log that the first update comes next: the training starts from the current state."""
        if self.checkpoints is not None and self.n_updates == 0:
            self.checkpoints.write(0)

    def _drop_old(self) -> None:
        if self.window is None:
            return
        while self._is_before_window(self._updates[self._n_before], self._updates[-1]):
            self._rows_in_window -= self._updates[self._n_before].n_rows
            self._n_before += 1
        window_start = self.n_updates - len(self._updates) + self._n_before
        if self.checkpoints is not None:
            self.checkpoints.release(window_start)
        needed = self._needed_from(window_start)
        while self.n_updates - len(self._updates) < needed:
            self._updates.popleft()
            self._n_before -= 1

    def _is_before_window(self, first: LoggedUpdate, last: LoggedUpdate) -> bool:
        assert self.window is not None
        if last.epoch is not None and first.epoch is not None:
            return first.epoch <= last.epoch - self.window
        return self._rows_in_window - first.n_rows >= self.window * self.n_rows

    def _needed_from(self, number: int) -> int:
        return number if self.checkpoints is None else self.checkpoints.anchor(number)

    def steps(self, first_step: int = 0, first_epoch: int = 0) -> tuple[Step, ...]:
        """Return the steps of the window, after those that a replay to its start needs.

        Where epochs were not given, they are counted from the end: the last one is the last updates
        that hold no more rows than the dataset, and so on.

        Args:
            first_step: Number of the first logged update within the whole training.
            first_epoch: Added to each given epoch.
        """
        updates = list(self._updates)
        n_dropped = self.n_updates - len(updates)
        in_window = self._n_before
        if any(update.epoch is None for update in updates):
            epochs = _epochs_from_the_end([u.n_rows for u in updates], self.n_rows, self.n_updates)
            if self.window is not None:
                in_window = next(i for i, e in enumerate(epochs) if e > epochs[-1] - self.window)
        else:
            epochs = [update.epoch or 0 for update in updates]
        first = self._needed_from(n_dropped + in_window)
        return tuple(
            Step(first_step + number, first_epoch + epoch, update.learning_rate, update.batches)
            for number, (update, epoch) in enumerate(zip(updates, epochs), n_dropped)
            if number >= first
        )

    def window_start(self, steps: Sequence[Step]) -> int | None:
        """Return the first step of the window; None where it is the first of ``steps``."""
        if self.window is None or not steps:
            return None
        first = next(s.step for s in steps if s.epoch > steps[-1].epoch - self.window)
        return None if first == steps[0].step else first

    def weight_decay(self) -> float:
        """Return the weight decay of every recorded step.

        Raises:
            UnsupportedError: It changed within the window.
        """
        rates = sorted({update.weight_decay for update in self._updates})
        if len(rates) > 1:
            raise UnsupportedError(
                f"the weight decay changed within the window (from {rates[0]:g} to {rates[-1]:g}),"
                " which cannot be traced; keep it constant"
            )
        return rates[0] if rates else 0.0


def _epochs_from_the_end(sizes: Sequence[int], n_rows: int, n_updates: int) -> list[int]:
    back, rows, lengths = [0] * len(sizes), 0, [0]
    for i in reversed(range(len(sizes))):
        if rows and rows + sizes[i] > n_rows:
            rows = 0
            lengths.append(0)
        rows += sizes[i]
        lengths[-1] += 1
        back[i] = len(lengths) - 1
    # The number of epochs that were dropped is inferred from the length of the last one.
    last = max(math.ceil(n_updates / lengths[0]) if sizes else 1, len(lengths)) - 1
    return [last - behind for behind in back]


class RecordedSolver:
    """A solver that logs its updates, and otherwise behaves as before."""

    def __init__(self, solver: Any, log: StepLog):
        self._solver = solver
        self._log = log

    def zero_grad(self) -> None:
        """Set the gradients to zero."""
        self._log.zeroed()
        self._solver.zero_grad()

    def weight_decay(self, decay_rate: float, *hooks: Any, **named_hooks: Any) -> None:
        """Add weight decay to the gradients; AdamW and SgdW replace their own by it instead."""
        fused = self._solver.weight_decay_is_fused()
        if fused and not decay_rate and hyperparameters(self._solver).get("wd"):
            raise UnsupportedError(
                "solver.weight_decay(0) cannot be recorded for a solver with its own decay wd; make"
                " the solver with wd=0 and remove the call"
            )
        self._solver.weight_decay(decay_rate, *hooks, **named_hooks)
        self._log.decayed(decay_rate, replaces=fused)

    def update(self, *hooks: Any, **named_hooks: Any) -> None:
        """Update the parameters."""
        rate = self._solver.learning_rate()
        self._solver.update(*hooks, **named_hooks)
        self._log.updated(rate)

    def clip_grad_by_norm(self, *arguments: Any, **named: Any) -> None:
        """Refuse: a clipped gradient is not the mean of the examples' gradients."""
        raise UnsupportedError(
            "clipped gradients cannot be traced; train without clip_grad_by_norm"
        )

    def scale_grad(self, *arguments: Any, **named: Any) -> None:
        """Refuse: the trace does not know the scale."""
        raise UnsupportedError("scaled gradients cannot be traced; train without scale_grad")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._solver, name)


def contents_of(
    dataset: str | None, names: Sequence[str] | None = None
) -> dict[str, list[str]] | None:
    """Return hashes of the files that a dataset CSV names; None where one cannot be read."""
    if dataset is None or not os.path.isfile(dataset):
        return None
    try:
        return hash_contents(Path(dataset), names)
    except DatasetError:  # the pictures of a prepared cache, say, may have been removed
        return None


def solver_name(solver: Any) -> str:
    """Return the solver's name as definition files have it, on a GPU too (``Sgd``)."""
    return re.sub("Cuda$", "", str(solver.name))


def hyperparameters(solver: Any) -> dict[str, float]:
    """Return a solver's initial hyper-parameters by name; the learning rate is ``lr``."""
    return {
        "lr" if name in ("lr", "alpha", "eta") else name: float(value)
        for name, value in (solver.info or {}).items()
    }
