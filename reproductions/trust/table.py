"""What the verdict, as the code has it, makes of the results."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnabla_influence.errors import ScoreError
from nnabla_influence.scoring.verdict import Signs, judge
from reproductions.trust.trainings import AFTERWARDS, FRESH

FIELDS = (
    *("training", "seed", "window", "method", "spearman", "lds"),
    *("spread", "growth", "lowest", "problem"),
)
NONE = "none"
PARTS = ("chosen on", "held out", "fresh", "afterwards")
WORDS = ("reliable", "rough", NONE)


@dataclass(frozen=True)
class Line:
    """One ranking: figures, and what the code says of it."""

    training: str
    part: str
    window: str
    method: str
    spearman: float
    lds: float
    signs: Signs | None

    @property
    def word(self) -> str:
        """``reliable``, ``rough`` or none."""
        if self.signs is None:
            return NONE
        try:
            return judge(self.signs, "").word
        except ScoreError:
            return NONE


def read_lines(results: Path) -> list[Line]:
    """Return the lines, in the order of the trainings."""
    with results.open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["seed"]))
    return [
        Line(
            training=row["training"],
            part=_part(int(row["seed"])),
            window=row["window"],
            method=row["method"],
            spearman=float(row["spearman"]),
            lds=float(row["lds"]),
            signs=None
            if row["problem"]
            else Signs(
                exact=row["method"] == "exact",
                spread=float(row["spread"]),
                growth=float(row["growth"]),
                chosen=False,
                lowest=float(row["lowest"]),
                never_negative=True,
            ),
        )
        for row in rows
    ]


def write_table(results: Path, path: Path) -> None:
    """Write the tables: error rates, and every ranking."""
    lines = read_lines(results)
    text = [
        "Final against exact: rankings by their Spearman to exact scores (counts).",
        "",
        "| trainings | method, window | word | >= .95 | .8 to .95 | .5 to .8 | < .5 or no scores |",
        "|---|---|---|---|---|---|---|",
    ]
    for part in PARTS:
        for method in ("final, batch", "final, running"):
            for window in ("last", "all"):
                some = [
                    line
                    for line in lines
                    if (line.part, line.method, line.window) == (part, method, window)
                ]
                text += _counts(f"| {part} | {method}, {window}", some, "spearman")
    text += [
        "",
        "Against retraining without tenths of the rows: rankings by their LDS (counts).",
        "",
        "| method, window | word | >= .95 | .8 to .95 | .5 to .8 | < .5, or no scores |",
        "|---|---|---|---|---|---|",
    ]
    retrained = {(line.training, line.window) for line in lines if math.isfinite(line.lds)}
    for method in ("exact", "final, batch", "final, running"):
        for window in ("last", "all"):
            some = [
                line
                for line in lines
                if (line.method, line.window) == (method, window)
                and (line.training, line.window) in retrained
            ]
            text += _counts(f"| {method}, {window}", some, "lds")
    text += [
        "",
        "| training | window | method | Spearman to exact | LDS | s | growth | lowest / V | word |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        signs = line.signs
        figures: tuple[str, ...] = ("-",) * 3
        if signs is not None:
            numbers = (signs.spread, signs.growth, signs.lowest)
            figures = tuple(f"{number:.3g}" for number in numbers)
        text.append(
            f"| {line.training} | {line.window} | {line.method} | {_number(line.spearman)} |"
            f" {_number(line.lds)} | {' | '.join(figures)} | {line.word} |"
        )
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


def _part(seed: int) -> str:
    if seed >= AFTERWARDS:
        return "afterwards"
    if seed >= FRESH:
        return "fresh"
    return "chosen on" if seed % 2 == 0 else "held out"


def _counts(start: str, lines: Sequence[Line], figure: str) -> list[str]:
    counts = Counter((line.word, _bin(getattr(line, figure))) for line in lines)
    return [
        f"{start} | {word} | {' | '.join(str(counts[word, i]) for i in range(4))} |"
        for word in WORDS
        if any(counts[word, i] for i in range(4))
    ]


def _bin(value: float) -> int:
    return next((i for i, limit in enumerate((0.95, 0.8, 0.5)) if value >= limit), 3)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
