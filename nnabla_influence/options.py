"""What the user can choose about a scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnabla_influence.counts import check_count, is_count
from nnabla_influence.errors import InfluenceError


@dataclass(frozen=True)
class Options:
    """What the user can choose about a scoring; it checks itself.

    Attributes:
        method: ``final``: every step at the final parameters (Suzuki et al.); ``exact``: each step
            at its own, as the training had them (Hara et al., for any solver); ``auto``: exact
            where the run keeps checkpoints or the training can be replayed within
            ``replay_budget``, final elsewhere.
        window: ``last`` epoch, ``all`` that is known of the training, or a number of last epochs.
        validation_rows: Rows of the validation CSV whose mean loss is asked about; None for all.
        batch_size: Of the training, where the model file does not know it.
        n_trials: Shuffled orders to average where the order of training is not known.
        running_statistics: For ``final``: batch normalisations with their running statistics, as
            in use, in place of those of each mini-batch, as in training, which are closer to
            retraining. ``exact`` always has those of each mini-batch.
        replay_budget: Minutes that ``auto`` may spend on replaying a training that kept no
            checkpoints; 0 for never.
        any_verdict: Give the scores as ``rough`` where the verdict is that there is no ranking;
            for experiments, such as removal curves, that measure what scores are worth.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        chunk_size: Examples in the network at once: memory against speed, never the numbers; None
            for one that suits the network.

    Raises:
        InfluenceError: A value is not one of these.
    """

    method: str = "auto"
    window: str | int = "last"
    validation_rows: Sequence[int] | None = None
    batch_size: int | None = None
    n_trials: int | None = None
    running_statistics: bool = False
    replay_budget: float = 10
    any_verdict: bool = False
    device: str = "auto"
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
            raise InfluenceError("no validation row is named; name some, or none of the option")

    @property
    def epochs(self) -> int | None:
        """The window as a number of last epochs; None for all."""
        return {"last": 1, "all": None}.get(self.window, self.window)  # type: ignore[arg-type]
