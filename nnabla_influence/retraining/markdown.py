"""Removal curves as Markdown tables, to be committed beside an experiment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
from nnabla_influence.retraining.styles import LOOKS

if TYPE_CHECKING:
    import pandas as pd


def summary_markdown(summary: pd.DataFrame, detection: pd.DataFrame | None = None) -> str:
    """Return the tables: levels, paired differences, and what was found of flipped labels.

    Args:
        summary: Of `summarize`.
        detection: Of `detection_frame`, or None.
    """
    parts: list[str] = []
    for block in blocks(summary, detection):
        parts += _block_parts(block)
    if detection is not None and len(detection):
        parts += _detection_parts(detection)
    return "\n\n".join(parts) + "\n"


def _block_parts(block: Block) -> Iterator[str]:
    unit = block.unit
    percent = " (%)" if unit is ACCURACY else ""
    yield f"### {block.title}"
    yield f"{_capital(unit.name)}{percent}, mean ± standard deviation over the seeds:"
    header = ["removed rows", *(LOOKS[name].name for name in block.rankings)]
    lines = [["0", *([_level(block.plain, unit)] * len(block.rankings))]] if block.plain else []
    lines += [
        [f"{n:,}", *(_level(block.lines.get((name, n)), unit) for name in block.rankings)]
        for n in block.counts
    ]
    yield _table(header, lines)
    points = f", in{unit.points}" if unit.points else ""
    yield (
        f"Difference to no removal of the same seed{points}, mean [95 % interval]; bold where the"
        " interval lies wholly on one side of 0:"
    )
    yield _table(
        header,
        [
            [f"{n:,}", *(_difference(block.lines.get((name, n)), unit) for name in block.rankings)]
            for n in block.counts
        ],
    )
    sentences = " ".join(f"{sentence}." for sentence in verdict(block))
    if sentences:
        yield sentences


def _level(line: dict[str, Any] | None, unit: Unit) -> str:
    if line is None or math.isnan(line[f"{unit.metric}_mean"]):
        return ""
    mean, std = line[f"{unit.metric}_mean"], line[f"{unit.metric}_std"]
    return unit.number(mean) + ("" if math.isnan(std) else f" ± {unit.number(std)}")


def _difference(line: dict[str, Any] | None, unit: Unit) -> str:
    if line is None or math.isnan(interval(line, unit)[0]):
        return ""
    mean, low, high = interval(line, unit)
    if math.isnan(low):
        return unit.difference(mean)
    words = f"{unit.difference(mean)} [{unit.difference(low)}, {unit.difference(high)}]"
    return f"**{words}**" if mark(line, unit) else words


def _detection_parts(detection: pd.DataFrame) -> Iterator[str]:
    found = found_at_flipped(detection)
    for batch_size in sorted(set(found["batch_size"])):
        of_size = found[found["batch_size"] == batch_size]
        flips = flips_of(detection[detection["batch_size"] == batch_size])
        flipped = range_words(flips.flipped)
        first = "as many first rows" if flips.differ else f"the first {flipped}"
        each = ", differing from seed to seed" if flips.differ else ""
        yield f"### Flipped labels found, batch size {batch_size:,}"
        yield (
            f"Of {range_words(flips.rows)} rows {flipped} are flipped{each}; found: the share of"
            f" them among {first} of a ranking, by chance {100 * flips.chance:.1f} %."
        )
        lines = []
        for line in of_size.to_dict("records"):
            auc = "" if math.isnan(line["roc_auc"]) else f"{line['roc_auc']:.3f}"
            lines.append(
                [
                    LOOKS[line["ranking"]].name,
                    f"{100 * line['precision']:.1f}{_spread(100 * line['precision_std'], 1)}",
                    f"{auc}{_spread(line['roc_auc_std'], 3)}",
                ]
            )
        yield _table(["ranking", "found (%)", "ROC AUC"], lines)


def _spread(std: float, digits: int) -> str:
    return "" if math.isnan(std) else f" ± {std:.{digits}f}"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
