"""Which checkpoints of a training are kept: none but the end, every so many steps, or all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional, Union

from nnabla_influence.errors import RunError

KEEP = ("final", "sqrt", "all")


def check_keep(keep: str) -> str:
    """Return ``keep`` if it is one of `KEEP`.

    Raises:
        RunError: It is not.
    """
    if keep not in KEEP:
        raise RunError(f"keep: {keep!r} is none of {', '.join(KEEP)}")
    return keep


def window_epochs(window: Union[int, str]) -> Optional[int]:
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
        raise RunError(
            f"window: {window!r} is neither a number of epochs from 1 nor 'last' or 'all'"
        )
    return int(text)


def window_words(epochs: Optional[int]) -> str:
    """Return what ``run.json`` says of a window."""
    return "all" if epochs is None else f"last {epochs} epochs"


@dataclass(frozen=True)
class Plan:
    """The updates of a window, where they are known before the training.

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
        """Return how many steps lie between two checkpoints that are kept.

        For ``sqrt`` that is the square root, rounded up: then about as many checkpoints are on disk
        as lie between two of them, which the trace holds at once while it replays these.
        """
        return 1 if keep == "all" else math.isqrt(max(self.n_steps - 1, 0)) + 1

    def n_checkpoints(self, keep: str) -> int:
        """Return how many checkpoints are kept."""
        return 0 if keep == "final" else -(-self.n_steps // self.spacing(keep))


def nnabla_cli_plan(
    max_epoch: int,
    iter_per_epoch: int,
    update_interval: int,
    window: Optional[int],
    resumed_epoch: int = 0,
) -> Plan:
    """Return the window of a training of nnabla_cli.

    Args:
        max_epoch: Epochs of the whole training.
        iter_per_epoch: Mini-batches of an epoch.
        update_interval: Mini-batches of an update.
        window: Epochs, counted from the end; None for all.
        resumed_epoch: Epochs that were done before it was resumed.
    """
    first = resumed_epoch * iter_per_epoch // update_interval
    end = max(max_epoch * iter_per_epoch // update_interval, first)
    return _last_epochs(first, end, iter_per_epoch, update_interval, window)


def recorder_plan(
    total_steps: Optional[int], steps_per_epoch: Optional[int], window: Optional[int]
) -> Optional[Plan]:
    """Return the window of a script's training, as far as it was told.

    Args:
        total_steps: Updates of the whole training, if known.
        steps_per_epoch: Updates of an epoch, if known.
        window: Epochs, counted from the end; None for all.
    """
    if total_steps is None or (window is not None and steps_per_epoch is None):
        return None
    if total_steps < 1:
        raise RunError(f"total_steps: {total_steps} is not a whole number from 1")
    return _last_epochs(0, total_steps, steps_per_epoch or total_steps, 1, window)


def _last_epochs(
    first: int, end: int, iter_per_epoch: int, update_interval: int, window: Optional[int]
) -> Plan:
    if window is not None and end > first:
        # An update belongs to the epoch of its last mini-batch.
        last_epoch = (end * update_interval - 1) // iter_per_epoch
        batches_before = max(last_epoch + 1 - window, 0) * iter_per_epoch
        first = max(first, batches_before // update_interval)
    return Plan(first, end)


class Kept:
    """The numbers of the checkpoints that are kept, while a training goes on.

    Args:
        keep: ``sqrt`` or ``all``.
        plan: The window, where it is known. For ``sqrt`` without it the checkpoints thin out on the
            way: 1, 2, 4, ... steps lie between two, doubled when there are more of them than twice
            that.
        certain: The plan will come true: no checkpoint before its window is needed.
    """

    def __init__(self, keep: str, plan: Optional[Plan] = None, *, certain: bool = False):
        self._spacing = 1 if plan is None else plan.spacing(keep)
        self._first = 0 if plan is None else plan.first
        self._thins_out = keep == "sqrt" and plan is None
        self._only = plan if certain else None
        self.numbers: list[int] = []

    def wants(self, number: int) -> bool:
        """Tell whether the checkpoint before update ``number`` is to be kept."""
        if self._only is not None and not self._only.first <= number < self._only.end:
            return False
        # The first of all is always kept, as it may be the only one before the window.
        first = not self.numbers or number in self.numbers
        return first or (number - self._first) % self._spacing == 0

    def add(self, number: int) -> list[int]:
        """Keep a checkpoint; return those to be removed for it."""
        self.numbers.append(number)
        if not self._thins_out or len(self.numbers) <= 2 * self._spacing:
            return []
        self._spacing *= 2
        return self._let_go({n for n in self.numbers[1:] if (n - self._first) % self._spacing})

    def anchor(self, number: int) -> int:
        """Return the last kept checkpoint at or before ``number``; ``number`` if there is none.

        A replay of the steps from ``number`` on starts there.
        """
        return max((n for n in self.numbers if n <= number), default=number)

    def release(self, window_start: int) -> list[int]:
        """Forget and return the checkpoints that a window from ``window_start`` does not need."""
        anchor = self.anchor(window_start)
        return self._let_go({n for n in self.numbers if n < anchor})

    def _let_go(self, gone: set[int]) -> list[int]:
        if gone:
            self.numbers = [n for n in self.numbers if n not in gone]
        return sorted(gone)
