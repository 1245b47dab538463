"""What was computed for every row of a dataset."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from nnabla_influence.errors import ScoreError
from nnabla_influence.ranking.verdict import FORBIDDEN, Verdict, parsed_verdict


@dataclass(frozen=True)
class Orders:
    """Which orders of the mini-batches the scores are for.

    Attributes:
        origin: Where they are known from (recorded, replayed or shuffled), and by which method they
            were traced: ``recorded exact``.
        count: How many of them were averaged.
        why: Why they were traced so, in a few words, without a comma, colon, semicolon or ``/``
            between spaces.
        verdict: How far the scores can be trusted; None where it is not known.

    Raises:
        ValueError: There is no word, one that a header cell cannot hold, or fewer than one order.
    """

    origin: str
    count: int
    why: str = ""
    verdict: Verdict | None = None

    def __post_init__(self) -> None:
        said = self.why and (FORBIDDEN & set(self.why) or parsed_verdict(self.why))
        if not self.origin or said or self.count < 1:
            raise ValueError(f"{self.count} orders, {self.origin!r}, {self.why!r}")

    @property
    def label(self) -> str:
        """What the header cell of the column says: ``recorded exact / why / rough - reason``."""
        parts = (self.origin, self.why, "" if self.verdict is None else str(self.verdict))
        return " / ".join(filter(None, parts))


def parsed_orders(label: str, count: int) -> Orders:
    """Return what `Orders.label` was made of; a label of older rankings is the origin alone."""
    origin, *rest = label.split(" / ")
    verdict = parsed_verdict(rest[-1]) if rest else None
    why = " ".join(rest if verdict is None else rest[:-1])
    why = "".join(character for character in why if character not in FORBIDDEN)
    return Orders(origin or "unknown", count, "" if parsed_verdict(why) else why, verdict)


@dataclass(frozen=True, eq=False)
class Scores:
    """What was computed for every row of a dataset, in the order of its rows.

    Attributes:
        influence: First-order change of the mean validation loss if the row's gradient is left
            out; negative for a harmful row. Shape (N,), float64.
        times_seen: How often the window saw the row, (N,) int64; None where it is not known.
        influence_std: Standard deviation of the influence over trials, (N,); None without trials.
        loss: The row's own loss, (N,); None where it is not known.
        predicted: The label or value that the network predicts, (N,); None where there is none.

    Raises:
        ScoreError: A value is not finite, or every influence is zero.
        ValueError: The arrays have not all the shape (N,).
    """

    influence: np.ndarray
    times_seen: np.ndarray | None = None
    influence_std: np.ndarray | None = None
    loss: np.ndarray | None = None
    predicted: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = (len(self.influence),)
        for field in fields(self):
            values = getattr(self, field.name)
            if values is None:
                continue
            kind = np.int64 if field.name == "times_seen" else np.float64
            values = np.array(values, kind)
            if values.shape != shape:
                raise ValueError(f"{field.name} has the shape {values.shape}, not {shape}")
            finite = np.isfinite(values)
            if not finite.all():
                row = int(np.argmin(finite))
                raise ScoreError(
                    f"{field.name} of datasource_index {row} is {values[row]}, not a finite number;"
                    " check the model's parameters, the data and the learning rate"
                )
            values.flags.writeable = False
            object.__setattr__(self, field.name, values)
        if not self.influence.any():
            raise ScoreError(
                "every influence is zero; check the learning rate, and that the window saw the rows"
            )

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.influence)
