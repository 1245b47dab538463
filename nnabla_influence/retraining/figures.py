"""The figures of removal curves, in the form of Suzuki et al.'s figures 2, 4 and 5."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnabla_influence.retraining.panels import beside, draw, legend, log_counts, save, sheet, style
from nnabla_influence.retraining.plan import NONE
from nnabla_influence.retraining.report import (
    ACCURACY,
    LOSS,
    PROTOCOL_WORDS,
    Unit,
    count_words,
    unit_of,
)
from nnabla_influence.retraining.styles import LOOKS
from nnabla_influence.retraining.tables import ORDER

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def write_figures(
    folder: Path,
    summary: pd.DataFrame,
    detection: pd.DataFrame | None = None,
    title: str = "Removal curves",
) -> list[Path]:
    """Draw every figure of an experiment, each as PNG and SVG.

    ``accuracy_all``, ``accuracy_difference_all`` and so on for each protocol (``loss_...`` where
    the network predicts no class), and ``detection`` where flips are known.

    Args:
        folder: An existing folder.
        summary: Of `summarize`.
        detection: Of `detection_frame`, or None.
        title: What stands over each figure.

    Returns:
        The files, in the order in which they were drawn.
    """
    paths = []
    with style():
        unit = unit_of(summary)
        for protocol in dict.fromkeys(summary["protocol"]):
            of_protocol = summary[summary["protocol"] == protocol]
            if set(of_protocol["ranking"]) <= {NONE}:
                continue
            heading = f"{title}: {PROTOCOL_WORDS[protocol]}"
            figure = levels(of_protocol, unit, heading)
            paths += save(figure, folder, f"{unit.metric}_{protocol}")
            figure = differences(of_protocol, unit, heading)
            paths += save(figure, folder, f"{unit.metric}_difference_{protocol}")
        if detection is not None and len(detection):
            from nnabla_influence.retraining.detection_figure import detected

            paths += save(detected(detection, title), folder, "detection")
    return paths


def levels(summary: pd.DataFrame, unit: Unit, title: str) -> Figure:
    """Draw mean and standard deviation over the number of removed rows, a panel a batch size."""
    seeds = count_words(summary["seeds"])
    if summary[f"{unit.metric}_std"].isna().all():
        caption = f"On the test data, {seeds}; black: no removal"
    else:
        caption = (
            f"Mean and standard deviation over {seeds}, on the test data; black: no removal.\n"
            "Much of the spread is the seeds' own: compare by the paired differences"
        )
    figure, panels = sheet(title, summary["batch_size"].nunique())
    for axes, of_size in _panels(panels, summary):
        _draw_no_removal(axes, of_size[of_size["ranking"] == NONE], unit)
        for ranking, x, lines in _rankings(of_size):
            std = lines[f"{unit.metric}_std"].to_numpy() * unit.scale
            y = lines[f"{unit.metric}_mean"].to_numpy() * unit.scale
            draw(axes, ranking, x, y, None if np.isnan(std).all() else std)
        axes.set_ylabel("test accuracy (%)" if unit is ACCURACY else LOSS.name)
    legend(figure, panels, caption)
    return figure


def differences(summary: pd.DataFrame, unit: Unit, title: str) -> Figure:
    """Draw the mean paired difference to no removal with its interval, a panel a batch size."""
    column = f"{unit.metric}_minus_{NONE}"
    pairs = count_words(summary.loc[summary["ranking"] != NONE, f"pairs_{NONE}"])
    if summary[f"{column}_low"].isna().all():
        caption = f"Difference to no removal, {pairs}; an interval takes two seeds or more"
    else:
        better = "above" if unit is ACCURACY else "below"
        caption = (
            f"Difference to no removal of the same seed: mean over {pairs} and its 95 % interval"
            f" (Student t).\nRemoval helped where the interval lies wholly {better} 0"
        )
    figure, panels = sheet(title, summary["batch_size"].nunique(), share_y=True)
    for place, (axes, of_size) in enumerate(_panels(panels, summary)):
        axes.axhline(0, color=LOOKS[NONE].color, linewidth=1.2, label=LOOKS[NONE].name)
        for ranking, x, lines in _rankings(of_size):
            y, low, high = (
                lines[name].to_numpy() * unit.scale
                for name in (column, f"{column}_low", f"{column}_high")
            )
            errors = None if np.isnan(low).all() else np.stack([y - low, high - y])
            draw(axes, ranking, x, y, errors)
        if place % 2 == 0:
            axes.set_ylabel(
                "difference in accuracy\n(percentage points)"
                if unit is ACCURACY
                else "difference in mean test loss"
            )
    legend(figure, panels, caption)
    return figure


def _panels(panels: Sequence[Axes], summary: pd.DataFrame) -> Iterator[tuple[Axes, pd.DataFrame]]:
    """Yield each panel with the lines of its batch size; its x axis and title are made."""
    sizes = sorted(set(summary["batch_size"]))
    columns = min(len(sizes), 2)
    for place, (axes, batch_size) in enumerate(zip(panels, sizes)):
        of_size = summary[summary["batch_size"] == batch_size]
        yield axes, of_size
        axes.set_title(f"batch size {batch_size:,}", loc="left")
        counts = [n for n in of_size["n"] if n]
        if counts:
            log_counts(axes, counts)
        if place + columns >= len(sizes):
            axes.set_xlabel("removed rows (logarithmic)")


def _rankings(of_size: pd.DataFrame) -> Iterator[tuple[str, np.ndarray, pd.DataFrame]]:
    """Yield each ranking with the places of its points on the x axis and its lines."""
    there = [name for name in ORDER if name != NONE and (of_size["ranking"] == name).any()]
    all_counts = [n for n in of_size["n"] if n]
    for place, ranking in enumerate(there):
        lines = of_size[of_size["ranking"] == ranking]
        counts = lines["n"].tolist()
        yield ranking, beside(counts, place, len(there), all_counts), lines


def _draw_no_removal(axes: Axes, line: pd.DataFrame, unit: Unit) -> None:
    if len(line) == 0:
        return
    look = LOOKS[NONE]
    mean = float(line[f"{unit.metric}_mean"].iloc[0]) * unit.scale
    std = float(line[f"{unit.metric}_std"].iloc[0]) * unit.scale
    axes.axhline(mean, color=look.color, linewidth=1.2, label=look.name)
    if np.isfinite(std):
        axes.axhspan(mean - std, mean + std, color=look.color, alpha=0.07, linewidth=0)
