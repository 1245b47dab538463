"""Removal curves in the terminal: compact tables, and what they come to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nnabla_influence.retraining.detection_table import found_at_flipped
from nnabla_influence.retraining.flips import flips_of, range_words
from nnabla_influence.retraining.report import (
    ACCURACY,
    Block,
    Unit,
    blocks,
    interval,
    mark,
    verdict,
)

if TYPE_CHECKING:
    import pandas as pd


def summary_lines(summary: pd.DataFrame, detection: pd.DataFrame | None = None) -> list[str]:
    """Return what the terminal shows at the end.

    Args:
        summary: Of `summarize`.
        detection: Of `detection_frame`, or None.
    """
    lines: list[str] = []
    for block in blocks(summary, detection):
        lines += _block_lines(block)
    if detection is not None and len(detection):
        lines += _detection_lines(detection)
    return lines


def _block_lines(block: Block) -> Iterator[str]:
    unit = block.unit
    percent = " %" if unit is ACCURACY else ""
    without = ""
    if block.plain is not None:
        mean, std = (block.plain[f"{unit.metric}_{what}"] for what in ("mean", "std"))
        spread = "" if math.isnan(std) else f" +- {unit.number(std)}"
        without = f"; {unit.name} without removal: {unit.number(mean)}{percent}{spread}"
    yield block.title + without
    if block.lines:
        points = f", in{unit.points}" if unit.points else ""
        explained = ""
        if any(not math.isnan(interval(line, unit)[1]) for line in block.lines.values()):
            explained = (
                ": mean +- half of the 95 % interval; + or - behind it: the interval lies wholly"
                " above or below 0"
            )
        yield f"Difference to no removal{points}{explained}"
        table = [["removed", *block.rankings]]
        for n in block.counts:
            cells = [_cell(block.lines.get((name, n)), unit) for name in block.rankings]
            table.append([f"{n:,}", *cells])
        yield from _aligned(table)
    for sentence in verdict(block):
        yield f"{sentence}."


def _cell(line: dict[str, Any] | None, unit: Unit) -> str:
    if line is None or math.isnan(interval(line, unit)[0]):
        return "?"
    mean, low, high = interval(line, unit)
    if math.isnan(low):
        return unit.difference(mean)
    # The mark has its own place, so that the numbers stand below each other.
    return f"{unit.difference(mean)} +- {unit.number((high - low) / 2)} {mark(line, unit) or ' '}"


def _detection_lines(detection: pd.DataFrame) -> Iterator[str]:
    found = found_at_flipped(detection)
    for batch_size in sorted(set(found["batch_size"])):
        of_size = found[found["batch_size"] == batch_size]
        flips = flips_of(detection[detection["batch_size"] == batch_size])
        flipped = range_words(flips.flipped)
        first = "as many first rows" if flips.differ else f"the first {flipped}"
        yield (
            f"Flipped labels found, batch size {batch_size:,}: the {flipped} flipped of"
            f" {range_words(flips.rows)} rows among {first} of a"
            f" ranking (chance: {100 * flips.chance:.1f} %)"
        )
        table = [["ranking", "found", "ROC AUC"]]
        for line in of_size.to_dict("records"):
            found_words = f"{100 * line['precision']:.1f} %{_spread(line, 'precision', 100, 1)}"
            auc = line["roc_auc"]
            auc_words = "?" if math.isnan(auc) else f"{auc:.3f}{_spread(line, 'roc_auc', 1, 3)}"
            table.append([line["ranking"], found_words, auc_words])
        yield from _aligned(table)


def _spread(line: dict[str, Any], name: str, scale: int, digits: int) -> str:
    std = line[f"{name}_std"]
    return "" if math.isnan(std) else f" +- {scale * std:.{digits}f}"


def _aligned(table: list[list[str]]) -> Iterator[str]:
    """Yield the lines of a table, each cell below its column's name."""
    widths = [max(map(len, column)) for column in zip(*table)]
    right = table[0][0] == "removed"
    for first, *rest in table:
        start = first.rjust(widths[0]) if right else first.ljust(widths[0])
        cells = [cell.ljust(width) for cell, width in zip(rest, widths[1:])]
        yield "   ".join(["  " + start, *cells]).rstrip()
