"""The results as a tidy CSV and as Markdown tables."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnabla_influence.files import replacing_file
from reproductions.lds_small_cnn.cell import METHODS, RETEST

Cells = Mapping[tuple[str, int], Mapping[str, Any]]
"""By kind and seed, what `cell.compute` gives."""

FIGURES = ("lds", "low", "high", "lds_over_retest", "tau", "slope")
SCORES = (*METHODS, RETEST)


def write_results(path: Path, cells: Cells) -> None:
    """Write one line for each cell and score."""
    lines = []
    for (kind, seed), cell in cells.items():
        for score, figures in cell["agreement"].items():
            shown = [_exactly(figures[name]) for name in FIGURES]
            half = _exactly(cell["half"][score])
            lines.append([kind, seed, score, *shown, half, cell["accuracy"], cell["loss"]])
        lines += [[kind, seed, score, "fails", *[""] * 8] for score in cell["failed"]]
    header = ("training", "seed", "scores", *FIGURES, "lds_half", "accuracy", "validation_loss")
    with (
        replacing_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)


def write_table(path: Path, cells: Cells) -> None:
    """Write the Markdown tables."""
    kinds = list(dict.fromkeys(kind for kind, _ in cells))
    parts = [
        "Mean over the seeds, in brackets the least and the greatest. Written by `run.py`; every"
        " number is in `results.csv`.",
        "## LDS: subsets of a tenth of the rows left out of the last epoch",
        _markdown(
            ["training", "accuracy", *SCORES, "exact / retest", "final / retest"],
            [
                [
                    kind,
                    _mean_and_range([c["accuracy"] for c in _of(cells, kind)]),
                    *(_shown(cells, kind, score, "lds") for score in SCORES),
                    _shown(cells, kind, "exact", "lds_over_retest"),
                    _shown(cells, kind, "final", "lds_over_retest"),
                ]
                for kind in kinds
            ],
        ),
        "## LDS against half of the subsets' gradients left out",
        _markdown(
            ["training", *METHODS, "the whole left out"],
            [
                [
                    kind,
                    *(
                        _mean_and_range([c["half"].get(score) for c in _of(cells, kind)])
                        for score in SCORES
                    ),
                ]
                for kind in kinds
            ],
        ),
        "## Leave-one-out: Kendall tau",
        _markdown(
            ["training", *SCORES],
            [[k, *(_shown(cells, k, score, "tau") for score in SCORES)] for k in kinds],
        ),
        "## Each seed: LDS with its 95 % interval",
        _markdown(
            ["training", "seed", *SCORES],
            [
                [kind, str(seed), *(_with_interval(cell["agreement"].get(s)) for s in SCORES)]
                for (kind, seed), cell in cells.items()
            ],
        ),
    ]
    with replacing_file(path) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _of(cells: Cells, kind: str) -> list[Mapping[str, Any]]:
    return [cell for (of, _), cell in cells.items() if of == kind]


def _shown(cells: Cells, kind: str, score: str, figure: str) -> str:
    found = [cell["agreement"].get(score, {}).get(figure) for cell in _of(cells, kind)]
    text = _mean_and_range(found)
    failed = sum(score in cell["failed"] for cell in _of(cells, kind))
    return f"{text} ({failed} fail)" if failed else text


def _mean_and_range(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{np.mean(known):.3f} [{min(known):.3f}, {max(known):.3f}]"


def _with_interval(figures: Mapping[str, float | None] | None) -> str:
    if figures is None or figures["lds"] is None:
        return "-"
    return f"{figures['lds']:.3f} [{figures['low']:.3f}, {figures['high']:.3f}]"


def _exactly(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
