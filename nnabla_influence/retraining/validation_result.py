"""What a validation found, and its folder: result.json, truth.csv and subsets.csv."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnabla_influence.retraining.agreement import (
    EXTREMES,
    RowAgreement,
    SubsetAgreement,
    row_agreement,
    subset_agreement,
    subset_sums,
)
from nnabla_influence.retraining.report import TextTable

RETEST = "(retest)"
FILES = RESULT, TRUTH, SUBSETS, SCATTER = "result.json", "truth.csv", "subsets.csv", "scatter.png"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class RetrainedWindow:
    """The steps that are retrained.

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
        """What is done, for the reader."""
        if self.first_step == 0:
            return "retrain without it"
        if self.epochs == 1:
            return "retrain the last epoch without it"
        return f"retrain the last {self.epochs} epochs without it"


@dataclass(frozen=True)
class Base:
    """The retraining with every row, which every other one is compared with.

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
        """How reliable the retraining is, for the reader."""
        if self.difference == 0:
            return (
                "Retraining with every row gives the run's final parameters byte for byte: no noise"
                " from the machine"
            )
        return (
            "Retraining with every row does not give the run's final parameters: they differ by up"
            f" to {self.difference:.2g}, and the mean validation loss is {self.loss:.6g} instead of"
            f" {self.final_loss:.6g}; changes are from the retrained loss. Noise from the machine"
            f" (two such retrainings differ by): {self.noise:.2g}"
        )


@dataclass(frozen=True, eq=False)
class Validation:
    """True loss changes by retraining, and the scores that are compared with them.

    Attributes:
        window: What was retrained.
        base: What the changes are from.
        rows: Row numbers that were left out one at a time, ascending, ``(n,)``.
        row_changes: Change of the mean validation loss without each of them, ``(n,)``; negative:
            the loss falls, the row is harmful.
        subsets: Row numbers that were left out together.
        subset_changes: Change without each of the subsets, ``(m,)``.
        scores: By name, ``(N,)``: influence in the same sense.
        retest: The changes once more, ``(n + m,)``, from leaving nine tenths of the gradients out,
            over 0.9; None where that was not done.
        times_seen: How often the window used each row, ``(N,)``.
        settings: How it was computed, for the reader.
        notes: What the reader should know.
    """

    window: RetrainedWindow
    base: Base
    rows: np.ndarray
    row_changes: np.ndarray
    subsets: tuple[np.ndarray, ...]
    subset_changes: np.ndarray
    scores: Mapping[str, np.ndarray]
    retest: np.ndarray | None
    times_seen: np.ndarray
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @cached_property
    def row_agreements(self) -> Mapping[str, RowAgreement]:
        """By the scores' names, their agreement with leave-one-out; empty where none was done."""
        if not len(self.rows):
            return {}
        predicted = {name: values[self.rows] for name, values in self.scores.items()}
        return {k: row_agreement(v, self.row_changes) for k, v in predicted.items()}

    @cached_property
    def subset_agreements(self) -> Mapping[str, SubsetAgreement]:
        """By the scores' names, their agreement over the subsets; empty where there are none."""
        if not self.subsets:
            return {}
        predicted = {name: subset_sums(v, self.subsets) for name, v in self.scores.items()}
        return {k: subset_agreement(v, self.subset_changes) for k, v in predicted.items()}

    @cached_property
    def row_retest(self) -> RowAgreement | None:
        """How well leave-one-out agrees with itself."""
        if self.retest is None or not len(self.rows):
            return None
        return row_agreement(self.retest[: len(self.rows)], self.row_changes)

    @cached_property
    def subset_retest(self) -> SubsetAgreement | None:
        """How well leaving subsets out agrees with itself."""
        if self.retest is None or not self.subsets:
            return None
        return subset_agreement(self.retest[len(self.rows) :], self.subset_changes)

    def table(self) -> Iterator[str]:
        """Yield the lines for the terminal."""
        window = self.window
        yield (
            f'"{window.words}" ({window.n_steps} steps, {int((self.times_seen > 0).sum())} of'
            f" {len(self.times_seen)} rows used)"
        )
        yield self.base.words
        yield from self.notes
        names = [*self.scores, *([] if self.retest is None else [RETEST])]
        titles, lines = ["scores"], [[name] for name in names]
        if len(self.rows):
            n = min(len(self.rows) // 2, EXTREMES)
            yield (
                f"Leave-one-out: {len(self.rows)} rows; harmful, helpful: Jaccard of the {n} most"
                " harmful and helpful of them; slope: 1 is the right size"
            )
            titles += ["tau", "Spearman", "harmful", "helpful", "slope"]
            for line, a in zip(lines, [*self.row_agreements.values(), self.row_retest]):
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
                f"{RETEST}: the true changes against themselves, nine tenths left out; where that"
                " is far from 1, the training is chaotic and the true changes mostly noise"
            )
        yield from TextTable(titles, lines).aligned()


def write_numbers(folder: Path, validation: Validation) -> None:
    """Write the files of a validation, all but the scatter plot, into an existing folder."""
    text = json.dumps(_result(validation), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / RESULT).write_text(text + "\n", encoding="utf-8")
    rows, subsets, scores = validation.rows, validation.subsets, validation.scores
    if len(rows):
        table = {"datasource_index": rows, "times_seen": validation.times_seen[rows]}
        table["loss_change"] = validation.row_changes
        if validation.retest is not None:
            table["retest"] = validation.retest[: len(rows)]
        _write_csv(folder / TRUTH, table, {name: scores[name][rows] for name in scores})
    if subsets:
        table = {"subset": np.arange(len(subsets)), "loss_change": validation.subset_changes}
        if validation.retest is not None:
            table["retest"] = validation.retest[len(rows) :]
        predicted = {name: subset_sums(scores[name], subsets) for name in scores}
        members = np.array([" ".join(map(str, some.tolist())) for some in subsets])
        _write_csv(folder / SUBSETS, table, predicted, {"rows": members})


def _write_csv(path: Path, *parts: Mapping[str, np.ndarray]) -> None:
    # A score may have the name of another column.
    frame = pd.concat([pd.DataFrame(dict(part)) for part in parts], axis=1)
    frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def _result(validation: Validation) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "question": validation.window.words,
        "window": dataclasses.asdict(validation.window),
        "base": dataclasses.asdict(validation.base),
        "leave_one_out": {
            "rows": len(validation.rows),
            "agreement": {k: _jsonable(v) for k, v in validation.row_agreements.items()},
            "retest": _jsonable(validation.row_retest),
        },
        "leave_k_out": {
            "subsets": len(validation.subsets),
            "rows_of_a_subset": len(validation.subsets[0]) if validation.subsets else 0,
            "agreement": {k: _jsonable(v) for k, v in validation.subset_agreements.items()},
            "retest": _jsonable(validation.subset_retest),
        },
        "notes": list(validation.notes),
        "settings": dict(validation.settings),
    }


def _jsonable(agreement: Any) -> Any:
    if agreement is None:
        return None
    figures = dataclasses.asdict(agreement)
    return {k: v if math.isfinite(v) else None for k, v in figures.items()}


def _shown(figure: float) -> str:
    return f"{figure:.3f}" if np.isfinite(figure) else "-"
