"""The pictures of the demo's ranking: its head, and how many of the flipped labels it finds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from looks import FOLDER, HARMFUL, HELPFUL, mpl, plt
from PIL import Image

COLUMNS, ROWS = 12, 2


def draw_ranking(demo: Path) -> None:
    """Read the demo's ranking and draw both pictures."""
    with (demo / "influence.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    _draw_most_harmful(demo, rows[: COLUMNS * ROWS])
    _draw_found(np.array([row["y:label"] != row["#true_label"] for row in rows]))


def _draw_most_harmful(demo: Path, rows: list[dict[str, str]]) -> None:
    """Draw the head of the ranking: image, given and predicted label, influence."""
    figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(COLUMNS * 0.95, ROWS * 1.5))
    for axis, row in zip(axes.flat, rows):
        axis.imshow(np.asarray(Image.open(demo / row["x:image"])), cmap="gray_r")
        wrong = row["y:label"] != row["#true_label"]
        axis.set_title(
            f"given {row['y:label']}\nmodel {float(row['predicted']):g}",
            fontsize=8,
            color=HARMFUL if wrong else "black",
        )
        axis.set_xlabel(f"{float(row['influence']):.1e}", fontsize=7)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.suptitle(
        "The most harmful of 3,000 training rows (red: the given label had been flipped)",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(FOLDER / "most_harmful.png", dpi=110)


def _draw_found(flipped: np.ndarray) -> None:
    """Draw how many of the flipped labels stand in the first rows of the ranking."""
    looked_at = np.arange(1, len(flipped) + 1)
    found = np.cumsum(flipped) / flipped.sum()
    figure, axis = plt.subplots(figsize=(5.5, 3.2))
    axis.plot(looked_at, found, color=HELPFUL, label="down the ranking")
    axis.plot(looked_at, looked_at / len(flipped), color="gray", ls="--", label="by chance")
    axis.set_xlabel("rows looked at")
    axis.set_ylabel("flipped labels found")
    axis.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1))
    axis.set_xlim(0, len(flipped))
    axis.set_ylim(0, 1.02)
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(FOLDER / "found.png", dpi=110)
