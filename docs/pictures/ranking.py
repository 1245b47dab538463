"""A picture of the demo's ranking: how many of the wrong labels it finds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from looks import FOLDER, HELPFUL, mpl, plt


def draw_ranking(demo: Path) -> None:
    """Read the demo's ranking and draw the picture."""
    with (demo / "influence.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    _draw_found(np.array([row["y:label"] != row["#true_label"] for row in rows]))


def _draw_found(flipped: np.ndarray) -> None:
    """Draw how many of the wrong labels stand in the first rows of the ranking."""
    looked_at = np.arange(1, len(flipped) + 1)
    found = np.cumsum(flipped) / flipped.sum()
    figure, axis = plt.subplots(figsize=(5.5, 3.2))
    axis.plot(looked_at, found, color=HELPFUL, label="down the ranking")
    axis.plot(looked_at, looked_at / len(flipped), color="gray", ls="--", label="by chance")
    axis.set_xlabel("rows looked at")
    axis.set_ylabel("wrong labels found")
    axis.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1))
    axis.set_xlim(0, len(flipped))
    axis.set_ylim(0, 1.02)
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(FOLDER / "found.png", dpi=110)
