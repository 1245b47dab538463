"""What a removal curve shows its reader, in the terminal and as Markdown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from nnabla_influence.options import RANDOM
from nnabla_influence.retraining.plan import NONE
from nnabla_influence.retraining.tables import ORDER, found_at_flipped

NAMES = {
    NONE: "no removal",
    "final": "final parameters (Suzuki et al.)",
    "exact-last": "exact, last epoch (Hara et al.)",
    "exact": "exact, all epochs (Hara et al.)",
    "influence-functions": "influence functions (Koh and Liang)",
    "loss": "training loss",
    RANDOM: "random",
}
PROTOCOL_NAMES = {"all": "trained again from the start", "last": "last epoch retrained"}

_FEW = 3
_NO_WIDTH = 1e-12

Line = dict[str, Any]
"""A line of `nnabla_influence.retraining.tables.summarize`."""


@dataclass(frozen=True)
class Metric:
    """How the numbers of accuracy or loss are written.

    ``scale`` is the factor for display, ``better`` the sign of an improvement, ``points`` the unit
    of a difference.
    """

    column: str
    name: str
    scale: int
    better: int
    points: str
    digits: int

    def number(self, value: float) -> str:
        """Write a mean or a spread."""
        return f"{value * self.scale:.{self.digits}f}"

    def difference(self, value: float) -> str:
        """Write a difference, with its sign."""
        return f"{value * self.scale:+.{self.digits}f}"

    def interval(self, line: Line) -> tuple[float, float, float]:
        """Return a line's mean difference to no removal, with the ends of its interval."""
        name = f"{self.column}_minus_{NONE}"
        return line[name], line[f"{name}_low"], line[f"{name}_high"]

    def mark(self, line: Line) -> str:
        """Return ``+`` or ``-`` where the interval lies wholly above or below 0, else nothing."""
        _, low, high = self.interval(line)
        return "+" if low > 0 else "-" if high < 0 else ""


ACCURACY = Metric("accuracy", "test accuracy", 100, 1, " percentage points", 2)
LOSS = Metric("loss", "mean test loss", 1, -1, "", 4)


def metric_of(summary: pd.DataFrame) -> Metric:
    """Return what can be shown: the accuracy, or the loss where no class is predicted."""
    if bool(summary["accuracy_mean"].notna().any()):
        return ACCURACY
    # A loss has any size: three digits of the largest difference, or else of the loss itself.
    for name in (f"loss_minus_{NONE}", "loss_mean"):
        sizes = np.abs(summary[name].to_numpy())
        sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
        if len(sizes):
            digits = 2 - math.floor(math.log10(sizes.max()))
            return dataclasses.replace(LOSS, digits=min(max(digits, 0), 15))
    return LOSS


def seeds_text(counts: pd.Series) -> str:
    """Return how many seeds a mean is over, also where that differs."""
    if counts.max() == 1:
        return "one seed"
    return f"{_range(counts)} seeds"


@dataclass(frozen=True)
class Section:
    """The summary of one protocol and batch size.

    ``plain`` is the line without removal; ``lines`` are the others, by ranking and number of rows;
    ``flipped`` is how many labels are flipped, where that is known and the same for all seeds.
    """

    title: str
    metric: Metric
    plain: Line | None
    lines: dict[tuple[str, int], Line]
    flipped: int | None = None

    @property
    def rankings(self) -> list[str]:
        """The rankings that it has, in the order of `ORDER`."""
        return [ranking for ranking in ORDER if any(ranking == name for name, _ in self.lines)]

    @property
    def counts(self) -> list[int]:
        """The numbers of removed rows, ascending."""
        return sorted({n for _, n in self.lines})

    def table(self, write: Callable[[Line | None, Metric], str]) -> list[list[str]]:
        """Return a line for each number of rows, and in it what ``write`` makes of each ranking."""
        return [
            [f"{n:,}", *(write(self.lines.get((name, n)), self.metric) for name in self.rankings)]
            for n in self.counts
        ]


def sections(summary: pd.DataFrame, detection: pd.DataFrame | None = None) -> Iterator[Section]:
    """Yield the summary of each protocol and batch size, in the summary's order."""
    metric = metric_of(summary)
    flips = set() if detection is None else set(detection["flipped"])
    flipped = flips.pop() if len(flips) == 1 else None
    for key, part in summary.groupby(["protocol", "batch_size"], sort=False):
        protocol, size = cast("tuple[str, int]", key)
        records = cast("list[Line]", part.to_dict("records"))
        lines = {(line["ranking"], line["n"]): line for line in records}
        plain = lines.pop((NONE, 0), None)
        title = f"{PROTOCOL_NAMES[protocol]}, batch size {size:,}, {seeds_text(part['seeds'])}"
        yield Section(_capital(title), metric, plain, lines, flipped)


def summary_lines(summary: pd.DataFrame, detection: pd.DataFrame | None = None) -> list[str]:
    """Return what the terminal shows at the end: tables and sentences."""
    lines: list[str] = []
    for part in _parts(summary, detection, {name: name for name in ORDER}, "between **"):
        if isinstance(part, str):
            lines.append(part.replace("### ", ""))
        elif isinstance(part, TextTable):
            lines += part.aligned()
        else:
            lines += part
    return [line.replace("±", "+-") for line in lines]


def summary_markdown(summary: pd.DataFrame, detection: pd.DataFrame | None = None) -> str:
    """Return the same as Markdown."""
    parts = []
    for part in _parts(summary, detection, NAMES, "bold"):
        if isinstance(part, list):
            part = " ".join(part)
        parts.append(part if isinstance(part, str) else part.markdown())
    return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class TextTable:
    """A header and lines of text."""

    header: list[str]
    lines: list[list[str]]

    def markdown(self) -> str:
        """Return it in Markdown."""
        rule = ["---"] + ["---:"] * (len(self.header) - 1)
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (self.header, rule, *self.lines))

    def aligned(self) -> Iterator[str]:
        """Yield its lines for a terminal, each cell below its column's name."""
        table = [
            [cell.replace("±", "+-") for cell in cells] for cells in (self.header, *self.lines)
        ]
        widths = [max(map(len, column)) for column in zip(*table)]
        for cells in table:
            rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
            yield "  ".join([cells[0].ljust(widths[0]), *rest])


def _parts(
    summary: pd.DataFrame, detection: pd.DataFrame | None, names: Mapping[str, str], bold: str
) -> Iterator[str | TextTable | list[str]]:
    """Yield headings, captions, tables and lists of sentences."""
    for section in sections(summary, detection):
        metric, rankings = section.metric, [names[name] for name in section.rankings]
        header = ["removed rows", *rankings]
        percent = " (%)" if metric is ACCURACY else ""
        points = f", in{metric.points}" if metric.points else ""
        yield f"### {section.title}"
        yield f"{_capital(metric.name)}{percent}, mean ± standard deviation over the seeds:"
        plain = ["0", *[_level(section.plain, metric)] * len(rankings)]
        yield TextTable(header, [*([plain] if section.plain else []), *section.table(_level)])
        yield (
            f"Difference to no removal of the same seed{points}, mean [95 % interval]; {bold} where"
            " the interval lies wholly on one side of 0:"
        )
        yield TextTable(header, section.table(_difference))
        sentences = [f"{sentence}." for sentence in verdict(section)]
        if sentences:
            yield sentences
    if detection is not None:
        yield from _detection_parts(detection, names)


def _detection_parts(
    detection: pd.DataFrame, names: Mapping[str, str]
) -> Iterator[str | TextTable | list[str]]:
    found = found_at_flipped(detection)
    for size, part in detection.groupby("batch_size"):
        seeds = part.drop_duplicates("seed")
        flipped, rows = _range(seeds["flipped"]), _range(seeds["rows"])
        differ = seeds["flipped"].nunique() > 1
        each = ", differing from seed to seed" if differ else ""
        first = "as many first rows" if differ else f"the first {flipped}"
        chance = 100 * float(np.mean(seeds["flipped"] / seeds["rows"]))
        yield f"### Flipped labels found, batch size {size:,}"
        yield (
            f"Of {rows} rows {flipped} are flipped{each}; found: the share of them among {first} of"
            f" a ranking, by chance {chance:.1f} %."
        )
        lines = []
        for line in found[found["batch_size"] == size].to_dict("records"):
            share = f"{100 * line['precision']:.1f}{_spread(100 * line['precision_std'], 1)}"
            auc = "" if math.isnan(line["roc_auc"]) else f"{line['roc_auc']:.3f}"
            lines.append([names[line["ranking"]], share, auc + _spread(line["roc_auc_std"], 3)])
        yield TextTable(["ranking", "found (%)", "ROC AUC"], lines)


def verdict(section: Section) -> Iterator[str]:
    """Yield sentences: whether removal helped, by how much, and how reliable that is."""
    metric = section.metric
    ranked = {place: line for place, line in section.lines.items() if place[0] != RANDOM}
    known = {p: line for p, line in ranked.items() if not math.isnan(metric.interval(line)[1])}
    raised, lowered = ("raised", "lowered") if metric.better > 0 else ("lowered", "raised")
    good, bad = ("+", "-") if metric.better > 0 else ("-", "+")
    if ranked and not known:
        yield (
            "An interval needs at least two seeds, so whether removal helped cannot be"
            " distinguished from chance; run more seeds"
        )
    elif known:
        yield from _flipped_sentence(section, good)
        helped = [place for place, line in known.items() if metric.mark(line) == good]
        harmed = sum(metric.mark(line) == bad for line in known.values())
        if helped:
            best = max(helped, key=lambda p: metric.better * metric.interval(known[p])[0])
            yield _best_sentence(section, best, raised)
        else:
            side = "above" if metric.better > 0 else "below"
            yield (
                f"Removal by a ranking did not help: of {len(known)} intervals none lies wholly"
                f" {side} 0" + (f", and {harmed} on the other side" if harmed else "")
            )
        if helped and len(known) > 1:
            yield (
                f"That is the best of {len(known)} differences: {len(helped)} {raised} the"
                f" {metric.name} with the whole interval, {harmed} {lowered} it; the best of many,"
                " chosen by the test data themselves, is too optimistic"
            )
    yield from _cautions(section)


def _cautions(section: Section) -> Iterator[str]:
    """Yield where intervals look firmer than they are, and whether trainings diverged."""
    metric = section.metric
    lines = [x for x in section.lines.values() if math.isfinite(metric.interval(x)[1])]
    if min((int(line[f"pairs_{NONE}"]) for line in lines), default=_FEW) < _FEW:
        yield (
            "The intervals of two seeds mean little, since two differences are often close by"
            " chance; use at least five seeds"
        )
    ends = [metric.interval(line)[1:] for line in lines]
    # Differences that are equal on paper differ in the last bits.
    narrow = sum(high - low <= _NO_WIDTH for low, high in ends)
    if narrow:
        yield (
            f"{narrow} of {len(lines)} intervals {'has' if narrow == 1 else 'have'} no width: the"
            " seeds agree by chance; use more seeds, or more test rows"
        )
    levels = [*section.lines.values(), *([section.plain] if section.plain else [])]
    lost = sum(not math.isfinite(line["loss_mean"]) for line in levels)
    if lost:
        yield (
            f"Trainings diverged: {lost} of {len(levels)} mean test losses"
            f" {'is not a finite number' if lost == 1 else 'are not finite numbers'}"
        )


def _flipped_sentence(section: Section, good: str) -> Iterator[str]:
    """Yield what removing as many rows as are flipped did: a number not chosen by its result."""
    n = section.flipped or 0
    names = [name for name in section.rankings if (name, n) in section.lines]
    if not names:
        return
    helped = [name for name in names if section.metric.mark(section.lines[name, n]) == good]
    others = [name for name in names if name not in helped]
    if helped:
        words = f"helped by {', '.join(helped)}" + (f"; not by {', '.join(others)}" * bool(others))
    else:
        words = f"did not help by {', '.join(others)}"
    yield f"Removing as many rows as labels are flipped ({n:,}) {words}"


def _best_sentence(section: Section, best: tuple[str, int], raised: str) -> str:
    metric, line = section.metric, section.lines[best]
    ranking, n = best
    mean, *ends = (metric.better * value for value in metric.interval(line))
    sentence = (
        f"Removing the {n:,} most harmful rows by {ranking} {raised} the {metric.name} over"
        f" {line[f'pairs_{NONE}']} seeds by {metric.number(mean)}{metric.points} (95 % interval"
        f" {metric.number(min(ends))} to {metric.number(max(ends))})"
    )
    if (RANDOM, n) not in section.lines:
        return sentence
    mean, low, high = metric.interval(section.lines[RANDOM, n])
    shown = "" if math.isnan(low) else f" ({metric.difference(low)} to {metric.difference(high)})"
    return f"{sentence}; as many random rows: {metric.difference(mean)}{shown}"


def _difference(line: Line | None, metric: Metric) -> str:
    if line is None or math.isnan(metric.interval(line)[0]):
        return ""
    mean, low, high = (metric.difference(value) for value in metric.interval(line))
    if math.isnan(metric.interval(line)[1]):
        return mean
    bold = "**" if metric.mark(line) else ""
    return f"{bold}{mean} [{low}, {high}]{bold}"


def _level(line: Line | None, metric: Metric) -> str:
    if line is None or math.isnan(line[f"{metric.column}_mean"]):
        return ""
    mean, std = line[f"{metric.column}_mean"], line[f"{metric.column}_std"]
    return metric.number(mean) + _spread(std * metric.scale, metric.digits)


def _spread(std: float, digits: int) -> str:
    return "" if math.isnan(std) else f" ± {std:.{digits}f}"


def _range(numbers: pd.Series) -> str:
    """Return a number, or from which to which it goes: ``7``, ``5 to 9``."""
    low, high = numbers.min(), numbers.max()
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
