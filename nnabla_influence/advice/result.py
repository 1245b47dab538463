"""What an advice consists of, and what it says in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from nnabla_influence.advice.choice import Gain
from nnabla_influence.advice.comparison import Comparison
from nnabla_influence.ranking import Ranking
from nnabla_influence.text import seconds_text

REMOVE, RELABEL = "remove", "relabel"

WELL, PARTLY = 0.5, 0.25
"""Agreements from which the ranking foresees retraining well, or in part."""


@dataclass(frozen=True)
class Change:
    """A kind of change to the n most harmful rows.

    Attributes:
        n: How many.
        action: ``remove`` them, or ``relabel`` those whose suggested label is firm and remove the
            others.
    """

    n: int
    action: str = REMOVE

    def __str__(self) -> str:
        action = "relabel or remove" if self.action == RELABEL else self.action
        return f"{action} {self.n} row{'' if self.n == 1 else 's'}"


@dataclass(frozen=True)
class Cost:
    """What an advice took: trainings, and seconds of this machine in all."""

    trainings: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Advice:
    """What to do about a training CSV.

    Attributes:
        ranking: Of its rows, by their mean influence over the trainings.
        removed: Rows to remove, the most harmful first.
        relabelled: By row the class to give it instead.
        confirmed: The changes that were confirmed or not, and what each gains on validation rows
            that the ranking did not see; empty where nothing looked better than no change.
        tried: The mean gain of removing each number of rows that was tried first.
        agreement: The correlation over the validation rows of how the ranking says that the
            confirmed removal moves them, and how retraining did; None where none was confirmed.
        comparison: Of the two CSVs.
        is_accuracy: Whether gains are of the accuracy; else they are falls of the loss.
        label_column: The CSV's column of the classes; None where the network predicts none.
        cost: What it took.
    """

    ranking: Ranking
    removed: np.ndarray
    relabelled: Mapping[int, int]
    confirmed: Mapping[Change, Gain]
    tried: Mapping[int, float]
    agreement: float | None
    comparison: Comparison
    is_accuracy: bool
    label_column: str | None
    cost: Cost

    @property
    def order(self) -> np.ndarray:
        """All rows, the most harmful first, (N,)."""
        return self.ranking.order

    @property
    def is_none(self) -> bool:
        """Whether the advice is to change nothing."""
        return not len(self.removed) and not self.relabelled

    @property
    def best(self) -> Change | None:
        """The change that gained most when it was confirmed; None where none was."""
        return max(self.confirmed, key=lambda c: self.confirmed[c].mean, default=None)

    @property
    def gain(self) -> Gain | None:
        """What that change gains."""
        return None if self.best is None else self.confirmed[self.best]

    def lines(self) -> Iterator[str]:
        """Yield the advice in plain words."""
        n_rows, best, gain = len(self.ranking), self.best, self.gain
        if self.is_none:
            yield f"Nothing here is worth changing: keep all {n_rows} rows."
        else:
            parts = []
            if len(self.removed):
                parts.append(f"remove {len(self.removed)}")
            if self.relabelled:
                parts.append(f"relabel {len(self.relabelled)}")
            yield f"Of {n_rows} rows, {' and '.join(parts)}: they are harmful on average."
        if not self.tried:
            yield "Too few rows are harmful on average to try it without them."
        elif best is None or gain is None:
            yield (
                "Trained without the most harmful rows, the network was no better on validation"
                f" rows that the ranking had not seen ({self._tried()})."
            )
        else:
            verdict = "" if gain.is_sure else ", which may be chance"
            yield (
                f"Trained again from new starts, the change ({best}) moves the {self.measure} by"
                f" {self.amount(gain.mean)} (95 %: {self.interval(gain)}){verdict}, on validation"
                " rows that the ranking had not seen."
            )
            for other, of_other in self.confirmed.items():
                if other != best:
                    yield f"The alternative ({other}) moves it by {self.amount(of_other.mean)}."
        if self.agreement is not None:
            yield (
                f"The ranking foresaw the effect on each validation row {_word(self.agreement)}"
                f" (correlation {self.agreement:.2f})."
            )
        for line in self.comparison.lines():
            yield f"Note: {line}."
        yield f"This took {self.cost.trainings} trainings, {seconds_text(self.cost.seconds)}."

    @property
    def measure(self) -> str:
        """What gains are of."""
        return "accuracy" if self.is_accuracy else "loss"

    def interval(self, gain: Gain) -> str:
        """Return the limits of a gain for a reader, the lower one first."""
        limits = gain.interval()
        low, high = limits if self.is_accuracy else reversed(limits)
        return f"{self.number(low)} to {self.number(high)}"

    def _tried(self) -> str:
        return "; ".join(f"{n} rows: {self.amount(g)}" for n, g in self.tried.items())

    def amount(self, gain: float) -> str:
        """Return a gain for a reader: points of accuracy, or the loss's change."""
        return f"{self.number(gain)} points" if self.is_accuracy else self.number(gain)

    def number(self, gain: float) -> str:
        """Return the same without its unit."""
        return f"{100 * gain:+.2f}" if self.is_accuracy else f"{-gain:+.4g}"


def _word(agreement: float) -> str:
    return "well" if agreement >= WELL else "in part" if agreement >= PARTLY else "badly"
