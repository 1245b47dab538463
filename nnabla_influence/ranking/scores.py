"""What was computed for every row of a dataset, how, and how reliable it is."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, fields
from statistics import NormalDist

import numpy as np

from nnabla_influence.errors import ScoreError

RELIABLE, ROUGH = "reliable", "rough"
_FORBIDDEN = frozenset(",:;\r\n")
"""What the header cell that holds the words must not contain."""

_COUNTS = ("times_seen", "harmful_in")
_EXACT_IN_A_FLOAT = 2.0**53
# Without predictions, this many distinct whole numbers are classes in any case.
_FEW = 100


@dataclass(frozen=True)
class Verdict:
    """How reliable a ranking is; an unusable one is not written.

    Attributes:
        word: ``reliable`` if the checks found nothing against it, else ``rough``.
        reason: A few words, without comma, colon, semicolon or line end.

    Raises:
        ValueError: It is another word, or the reason contains one of these.
    """

    word: str
    reason: str = ""

    def __post_init__(self) -> None:
        if self.word not in (RELIABLE, ROUGH) or _FORBIDDEN & set(self.reason):
            raise ValueError(f"verdict {self.word!r}, {self.reason!r}")

    @property
    def is_rough(self) -> bool:
        """Whether to warn the reader."""
        return self.word == ROUGH

    @property
    def sentence(self) -> str:
        """The verdict for a reader of the ranking."""
        if not self.is_rough:
            return "The ranking is reliable: its checks found nothing against it."
        because = f" ({self.reason})" if self.reason else ""
        return (
            f"The ranking is rough{because}: retraining without a row may change the loss by much"
            " more or less than its score says. Check the rows themselves, and measure before you"
            " remove."
        )

    def __str__(self) -> str:
        return f"{self.word} - {self.reason}" if self.reason else self.word


def parsed_verdict(text: str) -> Verdict | None:
    """Return the verdict in a header cell; None if there is none."""
    word, _, reason = text.partition(" - ")
    try:
        return Verdict(word, reason)
    except ValueError:
        return None


@dataclass(frozen=True)
class Orders:
    """The orders of mini-batches that the scores are for.

    Attributes:
        origin: Their source (recorded, replayed or shuffled) and the method of the trace:
            ``recorded exact``.
        count: How many were averaged.
        why: Why this method, in a few words, without comma, colon, semicolon or ``/``
            between spaces.
        verdict: How reliable the scores are; None if unknown.
    """

    origin: str
    count: int
    why: str = ""
    verdict: Verdict | None = None

    @property
    def label(self) -> str:
        """The label of the column's header cell: ``recorded exact / why / rough - reason``."""
        parts = (self.origin, self.why, "" if self.verdict is None else str(self.verdict))
        return " / ".join(filter(None, parts))


def parsed_orders(label: str, count: int) -> Orders:
    """Return what `Orders.label` was made of; a label of older rankings is the origin alone."""
    origin, *rest = label.split(" / ")
    verdict = parsed_verdict(rest[-1]) if rest else None
    why = " ".join(rest if verdict is None else rest[:-1])
    why = "".join(character for character in why if character not in _FORBIDDEN)
    return Orders(origin or "unknown", count, "" if parsed_verdict(why) else why, verdict)


@dataclass(frozen=True, eq=False)
class Scores:
    """What was computed for every row of a dataset, in the order of its rows.

    Attributes:
        influence: First-order change of the target, such as the mean validation loss, if the row is
            left out; negative for a harmful row. Shape (N,), float64.
        times_seen: How often the window saw the row, (N,) int64; None if unknown.
        influence_std: Standard deviation of the influence over trials, (N,); None without trials.
        influence_se: Standard error of the influence, a mean over several trainings, (N,); None
            without such.
        harmful_in: In how many of these trainings the row is harmful, (N,) int64.
        loss: The row's own loss, (N,); None if unknown.
        predicted: The label or value that the network predicts, (N,); None if there is none.
        suggested_label: The best class other than the given one, (N,); None if there is none.
        relabel_gain: First-order fall of the target if the row had that label, (N,); negative
            where it would rise.

    Raises:
        ScoreError: A value is not finite, or every influence is zero.
        ValueError: The arrays do not all have the shape (N,).
    """

    influence: np.ndarray
    times_seen: np.ndarray | None = None
    influence_std: np.ndarray | None = None
    influence_se: np.ndarray | None = None
    harmful_in: np.ndarray | None = None
    loss: np.ndarray | None = None
    predicted: np.ndarray | None = None
    suggested_label: np.ndarray | None = None
    relabel_gain: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = (len(self.influence),)
        for field in fields(self):
            values = getattr(self, field.name)
            if values is None:
                continue
            kind = np.int64 if field.name in _COUNTS else np.float64
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
                "every influence is zero; choose a window in which the training still learns (its"
                " learning rate may be 0), and check that both CSVs belong to the trained model"
            )

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.influence)


def are_classes(labels: Collection[float], n_rows: int, predicted: np.ndarray | None) -> bool:
    """Whether labels are classes, not targets such as ages or counts, nor row numbers.

    Classes are whole numbers, and so are predictions of them. Without predictions, most rows must
    share their class with others.

    Args:
        labels: The distinct values of the labels; NaN for one that is not a number.
        n_rows: The number of rows that have them.
        predicted: The network's prediction for each row, or None.
    """
    if not all(map(is_whole, labels)):
        return False
    if predicted is not None:
        return all(map(is_whole, np.unique(predicted).tolist()))
    return len(labels) <= max(_FEW, n_rows // 2)


def is_whole(value: float) -> bool:
    """Whether a number is whole, and small enough for a float to hold the next one."""
    return math.isfinite(value) and value.is_integer() and abs(value) < _EXACT_IN_A_FLOAT


def t_quantile(probability: float, freedom: float) -> float:
    """Return the quantile of Student's t distribution, to .02 from 3 degrees of freedom on.

    By Cornish and Fisher's series (Abramowitz and Stegun, 26.7.5).
    """
    z = NormalDist().inv_cdf(probability)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
