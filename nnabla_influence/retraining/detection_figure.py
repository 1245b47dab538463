"""The figure of label-flip detection: what share of the top k is flipped, what share was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnabla_influence.retraining.flips import Flips, flips_of
from nnabla_influence.retraining.panels import draw, legend, log_counts, sheet
from nnabla_influence.retraining.tables import ORDER

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WHAT = {"precision": "flipped among the k (%)", "recall": "found of the flipped (%)"}


def detected(detection: pd.DataFrame, title: str) -> Figure:
    """Draw precision and recall at k for each ranking, a line of two panels a batch size."""
    sizes = sorted(set(detection["batch_size"]))
    seeds = detection["seed"].nunique()
    over = f"mean and standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    caption = f"The k most harmful rows of each ranking; {over}"
    figure, panels = sheet(f"{title}: flipped labels found", 2 * len(sizes))
    for line, batch_size in enumerate(sizes):
        of_size = detection[detection["batch_size"] == batch_size]
        counts = _common_counts(of_size)
        flips = flips_of(of_size)
        for axes, what in zip(panels[2 * line : 2 * line + 2], _WHAT):
            _draw_chance(axes, what, counts, flips)
            there = [name for name in ORDER if (of_size["ranking"] == name).any()]
            for ranking in there:
                lines = of_size[(of_size["ranking"] == ranking) & of_size["k"].isin(counts)]
                by_count = lines.groupby("k")[what]
                mean, std = by_count.mean().to_numpy(), by_count.std().to_numpy()
                k = np.array(sorted(set(lines["k"])), dtype=np.float64)
                draw(axes, ranking, k, 100 * mean, None if seeds == 1 else 100 * std)
            log_counts(axes, counts)
            axes.set_ylim(-3, 103)
            axes.set_ylabel(_WHAT[what])
            axes.set_title(f"batch size {batch_size:,}", loc="left")
            if line == len(sizes) - 1:
                axes.set_xlabel("k (logarithmic)")
    legend(figure, panels, caption)
    return figure


def _common_counts(detection: pd.DataFrame) -> list[int]:
    """Return the k that every seed has: where flips are drawn, their number may differ."""
    seeds = detection.groupby("k")["seed"].nunique()
    return sorted(int(k) for k in seeds.index[seeds == seeds.max()])


def _draw_chance(axes: Axes, what: str, counts: list[int], flips: Flips) -> None:
    """Draw what a blind choice finds on average, and what none can exceed; means over the seeds."""
    k = np.geomspace(counts[0], counts[-1], 100)
    flipped, rows = flips.flipped[:, None], flips.rows[:, None]
    if what == "precision":
        chances, bests = np.tile(flipped / rows, len(k)), np.minimum(1, flipped / k)
    else:
        chances, bests = k / rows, np.minimum(1, k / flipped)
    chance, best = chances.mean(axis=0), bests.mean(axis=0)
    axes.plot(k, 100 * chance, "--", color="0.3", linewidth=1.1, label="chance")
    axes.plot(k, 100 * best, "-", color="0.8", linewidth=2.5, label="best possible", zorder=1)
