"""Which checkpoints of a training are kept, and how much disk and memory they take."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from nnabla_influence.errors import OutputError, RunError
from nnabla_influence.runs.checkpoint import HEADER_BYTES
from nnabla_influence.text import size_text

KEEP = ("final", "sqrt", "all")

# Measured overhead of final.h5 and solver_states.h5: of both files, and per array.
_H5_BYTES, _H5_BYTES_PER_ARRAY = 5600, 1500


def check_keep(keep: str) -> str:
    """Return ``keep`` if it is one of `KEEP`, else raise `RunError`."""
    if keep not in KEEP:
        raise RunError(f"keep: {keep!r} is not one of {', '.join(KEEP)}")
    return keep


def window_epochs(window: int | str) -> int | None:
    """Return the number of epochs that a window names, counted from the end; None for ``all``.

    Args:
        window: ``last`` (1 epoch), ``all``, or a number from 1, as a text too.

    Raises:
        RunError: It is none of these.
    """
    text = str(window)
    if text == "all":
        return None
    if text == "last":
        return 1
    if isinstance(window, bool) or not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise RunError(f"window: {window!r} is not a number of epochs from 1, 'last' or 'all'")
    return int(text)


def window_words(epochs: int | None) -> str:
    """Return what ``run.json`` says of a window."""
    return "all" if epochs is None else f"last {epochs} epochs"


@dataclass(frozen=True)
class WindowPlan:
    """The solver updates of a window, known before the training.

    Attributes:
        first: Number of the window's first update.
        end: Number after the window's last update.
    """

    first: int
    end: int

    @property
    def n_steps(self) -> int:
        """Updates of the window."""
        return self.end - self.first

    def spacing(self, keep: str) -> int:
        """Return the distance between two checkpoints, in steps.

        For ``sqrt`` it is the square root of the steps, rounded up: about as many checkpoints are
        then on disk as the trace holds in memory while it replays the steps between two of them.
        """
        return 1 if keep == "all" else math.isqrt(max(self.n_steps - 1, 0)) + 1

    def n_checkpoints(self, keep: str) -> int:
        """Return how many checkpoints are kept."""
        return 0 if keep == "final" else -(-self.n_steps // self.spacing(keep))


@dataclass(frozen=True)
class StorageEstimate:
    """The cost of each choice of ``keep`` for one training.

    Attributes:
        n_parameters: Values of all parameters.
        n_states: Values of the solver's state.
        n_arrays: Arrays that hold them.
        plan: The window.
    """

    n_parameters: int
    n_states: int
    n_arrays: int
    plan: WindowPlan

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of one checkpoint: parameters and the solver's state."""
        return HEADER_BYTES + 4 * (self.n_parameters + self.n_states)

    def disk_bytes(self, keep: str) -> int:
        """Return the bytes of all checkpoints on disk, including the final state."""
        beside = _H5_BYTES + _H5_BYTES_PER_ARRAY * self.n_arrays
        final = 4 * (self.n_parameters + self.n_states) + beside
        return final + self.checkpoint_bytes * self.plan.n_checkpoints(keep)

    def memory_bytes(self, keep: str) -> int:
        """Return the bytes of the checkpoints that an exact trace holds in memory at once."""
        return self.checkpoint_bytes * (1 + self.plan.spacing(keep) if keep == "sqrt" else 1)

    def describe(self, keep: str) -> str:
        """Return a line for the user, such as ``Checkpoints: final 1.2 MB, sqrt 214 MB ...``."""
        choices = []
        for choice in KEEP:
            n = self.plan.n_checkpoints(choice)
            count = f" ({n:,})" if n else ""
            choices.append(f"{choice} {size_text(self.disk_bytes(choice))}{count}")
        line = f"Checkpoints: {', '.join(choices)}; keeping {keep}"
        if keep == "final":
            return line
        memory = size_text(self.memory_bytes(keep))
        return f"{line}; exact scores will need {memory} of memory for them"

    def check_disk_space(self, folder: Path, keep: str) -> None:
        """Refuse a choice of ``keep`` for which the disk is too small.

        Raises:
            OutputError: The checkpoints need more space than is free on the disk of ``folder``.
        """
        needed, free = self.disk_bytes(keep), shutil.disk_usage(folder).free
        if needed > free:
            fitting = [choice for choice in KEEP if self.disk_bytes(choice) <= free]
            advice = f"use --keep {fitting[-1]}, or " if fitting else ""
            raise OutputError(
                f"{folder}: --keep {keep} needs {size_text(needed)} of disk, but only"
                f" {size_text(free)} are free; {advice}free disk space"
            )


def nnabla_cli_plan(
    max_epoch: int,
    iter_per_epoch: int,
    update_interval: int,
    window: int | None,
    resumed_epoch: int = 0,
) -> WindowPlan:
    """Return the window of a training of nnabla_cli.

    Args:
        max_epoch: Epochs of the whole training.
        iter_per_epoch: Mini-batches per epoch.
        update_interval: Mini-batches per update.
        window: Epochs, counted from the end; None for all.
        resumed_epoch: Epochs done before the training was resumed.
    """
    first = resumed_epoch * iter_per_epoch // update_interval
    end = max(max_epoch * iter_per_epoch // update_interval, first)
    return _last_epochs(first, end, iter_per_epoch, update_interval, window)


def recorder_plan(
    total_steps: int | None, steps_per_epoch: int | None, window: int | None
) -> WindowPlan | None:
    """Return the window of a script's training; None where it is not known beforehand.

    Args:
        total_steps: Updates of the whole training, if known.
        steps_per_epoch: Updates per epoch, if known.
        window: Epochs, counted from the end; None for all.
    """
    if total_steps is None or (window is not None and steps_per_epoch is None):
        return None
    return _last_epochs(0, total_steps, steps_per_epoch or total_steps, 1, window)


def _last_epochs(
    first: int, end: int, iter_per_epoch: int, update_interval: int, window: int | None
) -> WindowPlan:
    if window is not None and end > first:
        # An update belongs to the epoch of its last mini-batch.
        last_epoch = (end * update_interval - 1) // iter_per_epoch
        batches_before = max(last_epoch + 1 - window, 0) * iter_per_epoch
        first = max(first, batches_before // update_interval)
    return WindowPlan(first, end)


class CheckpointSelection:
    """The numbers of the checkpoints that are kept while a training runs.

    Args:
        keep: ``sqrt`` or ``all``.
        plan: The window, where it is known. For ``sqrt`` without it, the checkpoints thin out: the
            spacing (1 at first) doubles whenever there are more than twice as many of them.
        certain: The training will follow the plan: no checkpoint before its window is needed.
    """

    def __init__(self, keep: str, plan: WindowPlan | None = None, *, certain: bool = False):
        self._spacing = 1 if plan is None else plan.spacing(keep)
        self._first = 0 if plan is None else plan.first
        self._thins_out = keep == "sqrt" and plan is None
        self._only = plan if certain else None
        self.numbers: list[int] = []

    def wants(self, number: int) -> bool:
        """Return whether to keep the checkpoint before update ``number``."""
        if self._only is not None and not self._only.first <= number < self._only.end:
            return False
        # The first of all is always kept, as it may be the only one before the window.
        is_first = not self.numbers or number in self.numbers
        return is_first or (number - self._first) % self._spacing == 0

    def add(self, number: int) -> list[int]:
        """Add a checkpoint; return those to remove."""
        self.numbers.append(number)
        if not self._thins_out or len(self.numbers) <= 2 * self._spacing:
            return []
        self._spacing *= 2
        return self._drop({n for n in self.numbers[1:] if (n - self._first) % self._spacing})

    def anchor(self, number: int) -> int:
        """Return the last checkpoint at or before ``number``; ``number`` if there is none."""
        return max((n for n in self.numbers if n <= number), default=number)

    def release(self, window_start: int) -> list[int]:
        """Drop and return the checkpoints that a window from ``window_start`` does not need."""
        anchor = self.anchor(window_start)
        return self._drop({n for n in self.numbers if n < anchor})

    def _drop(self, numbers: set[int]) -> list[int]:
        self.numbers = [n for n in self.numbers if n not in numbers]
        return sorted(numbers)
