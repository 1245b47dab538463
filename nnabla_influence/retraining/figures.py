"""Figures: removal curves, in the form of Suzuki et al.'s figures 2, 4 and 5; the scatter plot."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from nnabla_influence.retraining.agreement import subset_sums
from nnabla_influence.retraining.plan import NONE
from nnabla_influence.retraining.report import (
    ACCURACY,
    LOSS,
    NAMES,
    PROTOCOL_NAMES,
    Metric,
    metric_of,
    seeds_text,
)
from nnabla_influence.retraining.tables import ORDER
from nnabla_influence.retraining.validation_result import Validation

# Color, marker and line, each enough to recognise a ranking. The colors are Okabe and Ito's, which
# can be distinguished with any form of color blindness.
STYLES: Mapping[str, Mapping[str, Any]] = {
    name: {"color": color, "marker": marker, "linestyle": line}
    for name, color, marker, line in (
        ("none", "black", "", "-"),
        ("final", "#0072B2", "o", "-"),
        ("exact-last", "#D55E00", "s", (0, (6, 1.5))),
        ("exact", "#009E73", "^", (0, (5, 1.5, 1, 1.5))),
        ("influence-functions", "#CC79A7", "D", (0, (3, 1, 1, 1, 1, 1))),
        ("loss", "#E69F00", "v", (0, (3, 1.5))),
        ("random", "#6E6E6E", "X", (0, (1, 1.5))),
    )
}
# 8 inches of 120 dots are what a README shows, dot for dot.
_WIDTH, _DPI = 8.0, 120
_COLUMNS = 2
_SETTINGS = {
    "svg.hashsalt": "nnabla-influence",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.8,
}
# Of a panel's width: how far apart the labels of two numbers of rows must be, and how far the
# error bars of two rankings, which would hide each other.
_LABELS_APART, _BARS_APART, _MARGIN = 0.13, 0.011, 0.05
_DETECTED = {"precision": "flipped among the k (%)", "recall": "found of the flipped (%)"}
_SCATTER_INCHES, _SCATTER_NAME = 4.2, 30


def write_figures(
    folder: Path,
    summary: pd.DataFrame,
    detection: pd.DataFrame | None = None,
    title: str = "Removal curves",
) -> None:
    """Draw every figure of a removal curve as PNG and SVG into an existing folder.

    ``accuracy_all``, ``accuracy_difference_all`` and so on for each protocol (``loss_...`` where
    the network predicts no class), and ``detection`` where flips are known.
    """
    metric = metric_of(summary)
    # Whatever the user's own matplotlib settings are.
    with matplotlib.style.context(["default", _SETTINGS]):
        for protocol, part in summary.groupby("protocol", sort=False):
            if set(part["ranking"]) <= {NONE}:
                continue
            heading = f"{title}: {PROTOCOL_NAMES[str(protocol)]}"
            _save(levels(part, metric, heading), folder, f"{metric.column}_{protocol}")
            figure = differences(part, metric, heading)
            _save(figure, folder, f"{metric.column}_difference_{protocol}")
        if detection is not None:
            _save(detected(detection, title), folder, "detection")


def levels(summary: pd.DataFrame, metric: Metric, title: str) -> Figure:
    """Draw mean and standard deviation over the number of removed rows, a panel a batch size."""
    seeds = seeds_text(summary["seeds"])
    if summary[f"{metric.column}_std"].isna().all():
        caption = f"On the test data, {seeds}; black: no removal"
    else:
        caption = (
            f"Mean and standard deviation over {seeds}, on the test data; black: no removal.\n"
            "Much of the spread is the seeds' own: compare by the paired differences"
        )
    figure, panels = _sheet(title, summary["batch_size"].nunique())
    for axes, of_size in _panels(panels, summary):
        for line in of_size[of_size["ranking"] == NONE].to_dict("records"):
            plain, std = (line[f"{metric.column}_{end}"] * metric.scale for end in ("mean", "std"))
            color = STYLES[NONE]["color"]
            axes.axhline(plain, color=color, linewidth=1.2, label=NAMES[NONE])
            if np.isfinite(std):
                axes.axhspan(plain - std, plain + std, color=color, alpha=0.07, linewidth=0)
        for ranking, x, lines in _rankings(of_size):
            std = lines[f"{metric.column}_std"].to_numpy() * metric.scale
            y = lines[f"{metric.column}_mean"].to_numpy() * metric.scale
            _draw(axes, ranking, x, y, None if np.isnan(std).all() else std)
        axes.set_ylabel("test accuracy (%)" if metric is ACCURACY else LOSS.name)
    _legend(figure, panels, caption)
    return figure


def differences(summary: pd.DataFrame, metric: Metric, title: str) -> Figure:
    """Draw the mean paired difference to no removal with its interval, a panel a batch size."""
    column = f"{metric.column}_minus_{NONE}"
    pairs = seeds_text(summary.loc[summary["ranking"] != NONE, f"pairs_{NONE}"])
    if summary[f"{column}_low"].isna().all():
        caption = f"Difference to no removal, {pairs}; an interval needs two seeds or more"
    else:
        better = "above" if metric is ACCURACY else "below"
        caption = (
            f"Difference to no removal of the same seed: mean over {pairs} and its 95 % interval"
            f" (Student t).\nRemoval helped where the interval lies wholly {better} 0"
        )
    figure, panels = _sheet(title, summary["batch_size"].nunique(), share_y=True)
    for place, (axes, of_size) in enumerate(_panels(panels, summary)):
        axes.axhline(0, color=STYLES[NONE]["color"], linewidth=1.2, label=NAMES[NONE])
        for ranking, x, lines in _rankings(of_size):
            y, low, high = (
                lines[name].to_numpy() * metric.scale
                for name in (column, f"{column}_low", f"{column}_high")
            )
            errors = None if np.isnan(low).all() else np.stack([y - low, high - y])
            _draw(axes, ranking, x, y, errors)
        if place % 2 == 0:
            axes.set_ylabel(
                "difference in accuracy\n(percentage points)"
                if metric is ACCURACY
                else "difference in mean test loss"
            )
    _legend(figure, panels, caption)
    return figure


def detected(detection: pd.DataFrame, title: str) -> Figure:
    """Draw precision and recall at k for each ranking, a line of two panels a batch size."""
    sizes = sorted(set(detection["batch_size"]))
    n_seeds = detection["seed"].nunique()
    over = f"mean and standard deviation over {n_seeds} seeds" if n_seeds > 1 else "one seed"
    caption = f"The k most harmful rows of each ranking; {over}"
    figure, panels = _sheet(f"{title}: flipped labels found", 2 * len(sizes))
    for line, batch_size in enumerate(sizes):
        of_size = detection[detection["batch_size"] == batch_size]
        # The k that every seed has: where flips are drawn, their number may differ.
        seeds = of_size.groupby("k")["seed"].nunique()
        counts = sorted(int(k) for k in seeds.index[seeds == seeds.max()])
        for axes, what in zip(panels[2 * line : 2 * line + 2], _DETECTED):
            _draw_chance(axes, what, counts, of_size.drop_duplicates("seed"))
            for ranking, lines in of_size[of_size["k"].isin(counts)].groupby("ranking", sort=False):
                by_count = lines.groupby("k")[what]
                mean, std = by_count.mean(), by_count.std().to_numpy()
                k = mean.index.to_numpy(np.float64)
                errors = None if n_seeds == 1 else 100 * std
                _draw(axes, str(ranking), k, 100 * mean.to_numpy(), errors)
            _log_counts(axes, counts)
            axes.set_ylim(-3, 103)
            axes.set_ylabel(_DETECTED[what])
            axes.set_title(f"batch size {batch_size:,}", loc="left")
            if line == len(sizes) - 1:
                axes.set_xlabel("k (logarithmic)")
    _legend(figure, panels, caption)
    return figure


def write_scatter(path: Path, validation: Validation) -> None:
    """Draw a column for each of the scores: single rows above, subsets below."""
    rows, subsets, scores = validation.rows, validation.subsets, validation.scores
    # Of each line of panels: what is left out, the true changes, the label and name of the
    # predicted ones, and of each of the scores their agreement and these.
    lines: list[tuple[str, np.ndarray, str, list[tuple[str, np.ndarray]]]] = []
    if len(rows):
        found = [
            (f"tau {a.kendall_tau:.2f}, slope {a.slope:.2f}", scores[name][rows])
            for name, a in validation.row_agreements.items()
        ]
        lines.append(("the row", validation.row_changes, "influence (predicted change)", found))
    if subsets:
        found = [
            (f"LDS {a.lds:.2f} [{a.low:.2f}, {a.high:.2f}]", subset_sums(scores[name], subsets))
            for name, a in validation.subset_agreements.items()
        ]
        size = len(subsets[0])
        lines.append((f"{size} rows", validation.subset_changes, "sum of their influences", found))
    inches = (_SCATTER_INCHES * len(scores) + 0.6, _SCATTER_INCHES * len(lines) + 0.6)
    figure = Figure(figsize=inches, dpi=_DPI)
    FigureCanvasAgg(figure)
    title = f'"{validation.window.words}"\nline: the predicted change is the true one'
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(len(lines), len(scores), squeeze=False)
    for line, (left_out, truth, label, found) in zip(grid, lines):
        for axes, name, (words, predicted) in zip(line, scores, found):
            # A line of slope 1 through the origin, where the score has the right size too.
            axes.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
            axes.axhline(0, color="0.9", linewidth=0.8, zorder=0)
            axes.axvline(0, color="0.9", linewidth=0.8, zorder=0)
            axes.scatter(truth, predicted, s=14, alpha=0.7, linewidths=0)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(5))
                axis.set_major_formatter("{x:.3g}")
            axes.tick_params(labelsize=8)
            # A name is the user's: no $ in it begins a formula.
            shown = name[-_SCATTER_NAME:].replace("$", r"\$")
            axes.set_title(f"{shown}: {words}", fontsize=9)
            axes.set_xlabel(f"true change of the validation loss without {left_out}")
            axes.set_ylabel(label)
    with _without_glyph_warnings():
        figure.tight_layout()
        figure.savefig(path)


def _sheet(title: str, n_panels: int, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure with that many panels, two in a line, without pyplot's global state."""
    columns = min(n_panels, _COLUMNS)
    lines = math.ceil(n_panels / columns)
    height = 1.5 + (3.7 if columns == 1 else 2.65) * lines
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06, hspace=0.05, wspace=0.03)
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout=layout)
    FigureCanvasAgg(figure)
    # The title is the user's: no $ in it begins a formula.
    figure.suptitle(title, fontsize=12, fontweight="bold", parse_math=False)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=share_y)
    axes = list(grid.flat)
    for unused in axes[n_panels:]:
        unused.set_axis_off()
    return figure, axes[:n_panels]


def _panels(panels: Sequence[Axes], summary: pd.DataFrame) -> Iterator[tuple[Axes, pd.DataFrame]]:
    """Yield each panel with the lines of its batch size; then set its x axis and title."""
    sizes = sorted(set(summary["batch_size"]))
    columns = min(len(sizes), _COLUMNS)
    for place, (axes, batch_size) in enumerate(zip(panels, sizes)):
        of_size = summary[summary["batch_size"] == batch_size]
        yield axes, of_size
        axes.set_title(f"batch size {batch_size:,}", loc="left")
        counts = [n for n in of_size["n"] if n]
        if counts:
            _log_counts(axes, counts)
        if place + columns >= len(sizes):
            axes.set_xlabel("removed rows (logarithmic)")


def _rankings(of_size: pd.DataFrame) -> Iterator[tuple[str, np.ndarray, pd.DataFrame]]:
    """Yield each ranking with its x coordinates, a little apart from the others', and its lines."""
    names = [name for name in ORDER if name != NONE and (of_size["ranking"] == name).any()]
    span = _span([n for n in of_size["n"] if n])
    for place, ranking in enumerate(names):
        lines = of_size[of_size["ranking"] == ranking]
        offset = (place - (len(names) - 1) / 2) * _BARS_APART * span
        yield ranking, lines["n"].to_numpy(np.float64) * 10**offset, lines


def _draw(
    axes: Axes, ranking: str, x: np.ndarray, y: np.ndarray, errors: np.ndarray | None
) -> None:
    """Draw a ranking's line, with ``errors`` as `Axes.errorbar` takes them."""
    axes.errorbar(
        x,
        y,
        yerr=errors,
        label=NAMES[ranking],
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.4,
        linewidth=1.6,
        elinewidth=1.1,
        capsize=2.5,
        **STYLES[ranking],
    )


def _draw_chance(axes: Axes, what: str, counts: list[int], seeds: pd.DataFrame) -> None:
    """Draw what a blind choice finds on average, and the best possible; means over the seeds."""
    k = np.geomspace(counts[0], counts[-1], 100)
    flipped, rows = (seeds[name].to_numpy(np.float64)[:, None] for name in ("flipped", "rows"))
    if what == "precision":
        chances, bests = np.tile(flipped / rows, len(k)), np.minimum(1, flipped / k)
    else:
        chances, bests = k / rows, np.minimum(1, k / flipped)
    chance, best = chances.mean(axis=0), bests.mean(axis=0)
    axes.plot(k, 100 * chance, "--", color="0.3", linewidth=1.1, label="chance")
    axes.plot(k, 100 * best, "-", color="0.8", linewidth=2.5, label="best possible", zorder=1)


def _legend(figure: Figure, panels: Sequence[Axes], caption: str) -> None:
    """Put a caption and one legend, of all that the panels show, below them and their data."""
    shown: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            shown.setdefault(label, handle)
    below = figure.legend(
        list(shown.values()),
        list(shown),
        title=caption,
        loc="outside lower center",
        ncols=3 if len(shown) > 4 else 2,
        frameon=False,
    )
    below.get_title().set(color="0.3", multialignment="center", fontsize=9)


def _log_counts(axes: Axes, counts: Sequence[int]) -> None:
    """Make the x axis that of numbers of rows: logarithmic, labelled where there are data."""
    counts = sorted(set(counts))
    low, high = math.log10(counts[0]), math.log10(counts[-1])
    margin = _MARGIN * _span(counts) if high > low else 0.2
    axes.set_xscale("log")
    axes.set_xlim(10 ** (low - margin), 10 ** (high + margin))
    labelled: list[int] = []
    for count in reversed(counts):
        if not labelled or math.log10(labelled[-1] / count) > _LABELS_APART * _span(counts):
            labelled.append(count)
    axes.set_xticks(sorted(labelled), [f"{count:,}" for count in sorted(labelled)])
    others = [count for count in counts if count not in labelled]
    axes.set_xticks(others, [""] * len(others), minor=True)


def _span(counts: Sequence[int]) -> float:
    """Return the decades between the fewest and the most rows; one decade where they are equal."""
    return math.log10(max(counts) / min(counts)) or 1.0 if counts else 1.0


def _save(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as PNG and SVG: the same picture, the same bytes each time."""
    # No date and no version of matplotlib in the files.
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    with _without_glyph_warnings():
        for form, facts in metadata.items():
            figure.savefig(folder / f"{name}.{form}", metadata=facts)


@contextlib.contextmanager
def _without_glyph_warnings() -> Iterator[None]:
    """Characters that the font lacks are shown as boxes; the tables hold them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
