"""What a validation found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Optional

import numpy as np

from nnabla_influence.retraining.agreement import (
    EXTREMES,
    RowAgreement,
    SubsetAgreement,
    row_agreement,
    subset_agreement,
)
from nnabla_influence.retraining.sampling import subset_sums

RETEST = "(retest)"


@dataclass(frozen=True)
class Question:
    """What the retraining asks.

    Attributes:
        first_step: Of the window, counted within the whole training.
        n_steps: Of the window.
        epochs: That the window's steps belong to.
    """

    first_step: int
    n_steps: int
    epochs: int

    @property
    def words(self) -> str:
        """The question as one would say it."""
        if self.first_step == 0:
            return "retrain without it"
        if self.epochs == 1:
            return "redo the last epoch without it"
        return f"redo the last {self.epochs} epochs without it"


@dataclass(frozen=True)
class Base:
    """The retraining with nothing left out, which every other one is compared with.

    Attributes:
        loss: Mean validation loss that it ends with.
        final_loss: That of the run's final parameters.
        difference: Largest absolute difference of a parameter from the run's; 0.0 where the
            retraining reproduces the run byte for byte.
        noise: By how much the losses of two such retrainings differ; 0.0 where it reproduces.
    """

    loss: float
    final_loss: float
    difference: float
    noise: float

    @property
    def words(self) -> str:
        """How far the retraining can be relied on."""
        if self.difference == 0:
            return (
                "Retraining with nothing left out gives the run's final parameters byte for byte:"
                " no noise from the machine"
            )
        return (
            "Retraining with nothing left out does NOT give the run's final parameters: they differ"
            f" by up to {self.difference:.2g}, the mean validation loss is {self.loss:.6g} and not"
            f" {self.final_loss:.6g}; the redone training is compared with. Noise from the machine"
            f" (two of them differ by): {self.noise:.2g}"
        )


@dataclass(frozen=True, eq=False)
class Validation:
    """True loss changes by retraining, and the scores that are compared with them.

    Attributes:
        question: What was asked.
        base: What the changes are from.
        rows: Row numbers that were left out one at a time, ascending, ``(n,)``.
        row_changes: Change of the mean validation loss without each of them, ``(n,)``; negative:
            the loss falls, the row is harmful.
        subsets: Row numbers that were left out together.
        subset_changes: Change without each of the subsets, ``(m,)``.
        scores: By name, ``(N,)``: influence in the same sense.
        retest: The changes once more, ``(n + m,)``, from leaving nine tenths of the gradients out,
            over 0.9; None where that was not done.
        times_seen: How often the window saw each row, ``(N,)``.
        settings: How it was computed, for the reader.
        notes: What the reader should know.
    """

    question: Question
    base: Base
    rows: np.ndarray
    row_changes: np.ndarray
    subsets: tuple[np.ndarray, ...]
    subset_changes: np.ndarray
    scores: Mapping[str, np.ndarray]
    retest: Optional[np.ndarray]
    times_seen: np.ndarray
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @cached_property
    def row_agreements(self) -> Mapping[str, RowAgreement]:
        """By the scores' names, their agreement with leave-one-out; empty where none was done."""
        if not len(self.rows):
            return {}
        said = {name: values[self.rows] for name, values in self.scores.items()}
        return {k: row_agreement(v, self.row_changes) for k, v in said.items()}

    @cached_property
    def subset_agreements(self) -> Mapping[str, SubsetAgreement]:
        """By the scores' names, their agreement over the subsets; empty where there are none."""
        if not self.subsets:
            return {}
        said = {name: subset_sums(values, self.subsets) for name, values in self.scores.items()}
        return {k: subset_agreement(v, self.subset_changes) for k, v in said.items()}

    @cached_property
    def row_retest(self) -> Optional[RowAgreement]:
        """How well leave-one-out agrees with itself."""
        if self.retest is None or not len(self.rows):
            return None
        return row_agreement(self.retest[: len(self.rows)], self.row_changes)

    @cached_property
    def subset_retest(self) -> Optional[SubsetAgreement]:
        """How well leaving subsets out agrees with itself."""
        if self.retest is None or not self.subsets:
            return None
        return subset_agreement(self.retest[len(self.rows) :], self.subset_changes)

    def table(self) -> Iterator[str]:
        """Yield the lines that a person reads."""
        question = self.question
        yield (
            f'The question: "{question.words}" ({question.n_steps} steps,'
            f" {int((self.times_seen > 0).sum())} of {len(self.times_seen)} rows seen)"
        )
        yield self.base.words
        yield from self.notes
        names = [*self.scores, *([] if self.retest is None else [RETEST])]
        titles, lines = ["scores"], [[name] for name in names]
        if len(self.rows):
            by_row = [*self.row_agreements.values(), self.row_retest]
            n = min(len(self.rows) // 2, EXTREMES)
            yield (
                f"Leave-one-out: {len(self.rows)} rows; harmful, helpful: Jaccard of the {n} most"
                " harmful and helpful of them; slope: 1 is the right size"
            )
            titles += ["tau", "Spearman", "harmful", "helpful", "slope"]
            for line, a in zip(lines, by_row):
                assert a is not None
                sets = (a.jaccard_harmful, a.jaccard_helpful)
                line += map(_shown, (a.kendall_tau, a.spearman, *sets, a.slope))
        if self.subsets:
            yield (
                f"Subsets: {len(self.subsets)} of {len(self.subsets[0])} rows each; LDS with its"
                " 95 % confidence interval"
            )
            titles.append("LDS")
            for line, s in zip(lines, [*self.subset_agreements.values(), self.subset_retest]):
                assert s is not None
                line.append(f"{_shown(s.lds)} [{_shown(s.low)}, {_shown(s.high)}]")
        if self.retest is not None:
            yield (
                f"{RETEST}: the truth against itself, nine tenths left out; where that is far from"
                " 1, the training is chaotic and the truth mostly noise"
            )
        widths = [max(map(len, column)) for column in zip(titles, *lines)]
        for line in (titles, *lines):
            figures = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
            yield "  ".join([line[0].ljust(widths[0]), *figures])


def _shown(figure: float) -> str:
    return f"{figure:.3f}" if np.isfinite(figure) else "-"
