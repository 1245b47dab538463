"""What the numbers of removal curves come to, in plain words and marks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnabla_influence.retraining.plan import NONE
from nnabla_influence.retraining.summary import METRICS
from nnabla_influence.retraining.tables import ORDER, RANDOM

if TYPE_CHECKING:
    import pandas as pd

PROTOCOL_WORDS = {"all": "trained again from the start", "last": "last epoch redone"}


@dataclass(frozen=True)
class Unit:
    """How numbers of a metric are written.

    Attributes:
        metric: ``accuracy`` or ``loss``.
        name: Of the metric, for people.
        scale: What its numbers are multiplied by to be read.
        better: The sign of a difference that is an improvement.
        points: What follows a difference.
        digits: Behind the decimal point.
    """

    metric: str
    name: str
    scale: int
    better: int
    points: str
    digits: int

    def number(self, value: float) -> str:
        """Write a mean, a spread, or a difference whose sign the words tell."""
        return f"{value * self.scale:.{self.digits}f}"

    def difference(self, value: float) -> str:
        """Write a difference, with its sign."""
        return f"{value * self.scale:+.{self.digits}f}"


_FEW = 3
_NO_WIDTH = 1e-12

ACCURACY = Unit("accuracy", "test accuracy", 100, 1, " percentage points", 2)
LOSS = Unit("loss", "mean test loss", 1, -1, "", 4)


def unit_of(summary: pd.DataFrame) -> Unit:
    """Return what can be shown: the accuracy, or the loss where no class is predicted."""
    if bool(summary[f"{METRICS[0]}_mean"].notna().any()):
        return ACCURACY
    # A loss has any size: three digits of the largest difference, or else of the loss itself.
    for name in (f"loss_minus_{NONE}", "loss_mean"):
        sizes = np.abs(summary[name].to_numpy())
        sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
        if len(sizes):
            digits = 2 - math.floor(math.log10(sizes.max()))
            return dataclasses.replace(LOSS, digits=min(max(digits, 0), 15))
    return LOSS


def count_words(counts: pd.Series) -> str:
    """Say how many seeds a mean is over, also where that differs."""
    low, high = int(counts.min()), int(counts.max())
    if low != high:
        return f"{low} to {high} seeds"
    return "one seed" if low == 1 else f"{low} seeds"


@dataclass(frozen=True)
class Block:
    """The summary of one protocol and batch size.

    Attributes:
        title: Protocol, batch size and seeds, for people.
        unit: How its numbers are written.
        plain: The line without removal, if it is there.
        lines: The other lines, by ranking and number of rows.
        flipped: How many labels are flipped, where that is known and the same for all seeds.
    """

    title: str
    unit: Unit
    plain: dict[str, Any] | None
    lines: dict[tuple[str, int], dict[str, Any]]
    flipped: int | None = None

    @property
    def rankings(self) -> list[str]:
        """The rankings that are there."""
        there = {ranking for ranking, _ in self.lines}
        return [ranking for ranking in ORDER if ranking in there]

    @property
    def counts(self) -> list[int]:
        """The numbers of removed rows, ascending."""
        return sorted({n for _, n in self.lines})


def blocks(summary: pd.DataFrame, detection: pd.DataFrame | None = None) -> Iterator[Block]:
    """Yield the summary of each protocol and batch size, in the summary's order."""
    unit = unit_of(summary)
    flips = set() if detection is None else set(detection["flipped"])
    flipped = flips.pop() if len(flips) == 1 else None
    for protocol, batch_size in dict.fromkeys(zip(summary["protocol"], summary["batch_size"])):
        here = (summary["protocol"] == protocol) & (summary["batch_size"] == batch_size)
        words = PROTOCOL_WORDS[protocol]
        seeds = count_words(summary.loc[here, "seeds"])
        lines = {(line["ranking"], line["n"]): line for line in summary[here].to_dict("records")}
        plain = lines.pop((NONE, 0), None)
        title = f"{words[0].upper()}{words[1:]}, batch size {batch_size:,}, {seeds}"
        yield Block(title, unit, plain, lines, flipped)


def interval(line: dict[str, Any], unit: Unit, partner: str = NONE) -> tuple[float, float, float]:
    """Return a line's mean difference with the ends of its interval."""
    name = f"{unit.metric}_minus_{partner}"
    return line[name], line[f"{name}_low"], line[f"{name}_high"]


def mark(line: dict[str, Any], unit: Unit) -> str:
    """Return ``+`` or ``-`` where the interval lies wholly above or below 0, else nothing."""
    _, low, high = interval(line, unit)
    return "+" if low > 0 else "-" if high < 0 else ""


def verdict(block: Block) -> Iterator[str]:
    """Yield sentences: whether removal helped, by how much, and how far that can be believed."""
    unit = block.unit
    ranked = {place: line for place, line in block.lines.items() if place[0] != RANDOM}
    known = {p: line for p, line in ranked.items() if not math.isnan(interval(line, unit)[1])}
    raised, lowered = ("raised", "lowered") if unit.better > 0 else ("lowered", "raised")
    good, bad = ("+", "-") if unit.better > 0 else ("-", "+")
    if ranked and not known:
        yield (
            "There is no interval, which takes two seeds or more: whether removal helped cannot be"
            " told from chance; run more seeds"
        )
    elif known:
        yield from _flipped_words(block, good)
        helped = [place for place, line in known.items() if mark(line, unit) == good]
        harmed = sum(mark(line, unit) == bad for line in known.values())
        if helped:
            best = max(helped, key=lambda p: unit.better * interval(known[p], unit)[0])
            yield _best_words(block, best, raised)
        else:
            side = "above" if unit.better > 0 else "below"
            yield (
                f"Removal by a ranking did not help: of {len(known)} intervals none lies wholly"
                f" {side} 0" + (f", and {harmed} on the other side" if harmed else "")
            )
        if helped and len(known) > 1:
            yield (
                f"That is the best of {len(known)} cells: {len(helped)} {raised} the {unit.name}"
                f" with the whole interval, {harmed} {lowered} it; the best of many, chosen by the"
                " test data themselves, promises too much"
            )
    yield from _caution(block)
    levels = [*block.lines.values(), *([block.plain] if block.plain else [])]
    lost = sum(not math.isfinite(line["loss_mean"]) for line in levels)
    if lost:
        yield (
            f"Trainings diverged: {lost} of {len(levels)} mean test losses"
            f" {'is not a finite number' if lost == 1 else 'are not finite numbers'}"
        )


def _caution(block: Block) -> Iterator[str]:
    """Tell where intervals look firmer than they are: of few seeds, or without any width."""
    lines = [line for line in block.lines.values() if math.isfinite(interval(line, block.unit)[1])]
    pairs = min((int(line[f"pairs_{NONE}"]) for line in lines), default=_FEW)
    if pairs < _FEW:
        yield (
            "The intervals of two seeds mean little, since two differences are close to each other"
            " by chance often enough; use at least five seeds"
        )
    ends = [interval(line, block.unit)[1:] for line in lines]
    # Differences that are equal on paper differ in the last bits.
    narrow = sum(high - low <= _NO_WIDTH for low, high in ends)
    if narrow:
        yield (
            f"{narrow} of {len(lines)} intervals {'has' if narrow == 1 else 'have'} no width: the"
            " seeds happen to agree, which makes nothing certain; use more seeds, or more test rows"
        )


def _flipped_words(block: Block, good: str) -> Iterator[str]:
    """Tell of the one number of rows that is not chosen by its result: as many as are flipped."""
    n = block.flipped or 0
    there = [name for name in block.rankings if (name, n) in block.lines]
    if not there:
        return
    helped = [name for name in there if mark(block.lines[name, n], block.unit) == good]
    others = [name for name in there if name not in helped]
    if helped:
        words = f"helped by {', '.join(helped)}" + (f"; not by {', '.join(others)}" * bool(others))
    else:
        words = f"did not help by {', '.join(others)}"
    yield f"Removing as many rows as labels are flipped ({n:,}) {words}"


def _best_words(block: Block, best: tuple[str, int], raised: str) -> str:
    unit, line = block.unit, block.lines[best]
    ranking, n = best
    mean, low, high = (unit.better * value for value in interval(line, unit))
    low, high = min(low, high), max(low, high)
    words = (
        f"Removing the {n:,} most harmful rows by {ranking} {raised} the {unit.name} over"
        f" {line[f'pairs_{NONE}']} seeds by {unit.number(mean)}{unit.points} (95 % interval"
        f" {unit.number(low)} to {unit.number(high)})"
    )
    if (RANDOM, n) not in block.lines:
        return words
    mean, low, high = interval(block.lines[RANDOM, n], unit)
    shown = "" if math.isnan(low) else f" ({unit.difference(low)} to {unit.difference(high)})"
    return f"{words}; as many random rows: {unit.difference(mean)}{shown}"
