"""What the user can choose when scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnabla_influence.errors import InfluenceError


@dataclass(frozen=True)
class Options:
    """What the user can choose; the values are checked.

    Attributes:
        method: ``final``: every step at the final parameters (Suzuki et al.); ``exact``: each step
            at its own, as the training had them (Hara et al., for any solver); ``auto``: exact
            where the run has checkpoints or the training can be replayed within
            ``replay_budget``, else final.
        window: ``last`` epoch, ``all`` known epochs of the training, or a number of last epochs.
        validation_rows: Rows of the validation CSV whose mean loss is the target; None for all.
        batch_size: Of the training, if the model file does not give it.
        n_trials: Shuffled orders to average if the order of training is not known.
        running_statistics: For ``final``: batch normalisations with their running statistics, as
            in inference, instead of those of each mini-batch, as in training, which are closer to
            retraining. ``exact`` always uses those of each mini-batch.
        replay_budget: Minutes that ``auto`` may spend on replaying a training without checkpoints;
            0 for never.
        any_verdict: Call scores ``rough`` that would otherwise not be written; for experiments,
            such as removal curves, that measure what scores are worth.
        chunk_size: Examples per forward pass; trades memory for speed, and does not change the
            scores. None for one that suits the network.

    Raises:
        InfluenceError: A value is none of these.
    """

    method: str = "auto"
    window: str | int = "last"
    validation_rows: Sequence[int] | None = None
    batch_size: int | None = None
    n_trials: int | None = None
    running_statistics: bool = False
    replay_budget: float = 10
    any_verdict: bool = False
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        if self.method not in ("auto", "final", "exact"):
            raise InfluenceError(f"method {self.method!r} is unknown; use auto, final or exact")
        if not self.replay_budget >= 0:
            raise InfluenceError(f"replay_budget {self.replay_budget!r} is not a time in minutes")
        if self.window not in ("last", "all") and not is_count(self.window):
            raise InfluenceError(
                f"window {self.window!r} is not last, all or a number of epochs from 1"
            )
        for name in ("batch_size", "n_trials", "chunk_size"):
            value = getattr(self, name)
            if value is not None:
                check_count(name, value)
        if self.validation_rows is not None and not len(self.validation_rows):
            raise InfluenceError("validation_rows is empty; give some rows or omit it")

    @property
    def epochs(self) -> int | None:
        """The window as a number of last epochs; None for all."""
        return {"last": 1, "all": None}.get(self.window, self.window)  # type: ignore[arg-type]


def is_count(value: object, least: int = 1) -> bool:
    """Whether a value is a whole number from ``least``; True is not the number 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse a value that is not a whole number from ``least``.

    Raises:
        InfluenceError: It names the value and ``name``.
    """
    if not is_count(value, least):
        raise InfluenceError(f"{name} {value!r} is not a whole number from {least}")
