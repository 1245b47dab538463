"""Draw the pictures of the README and of docs/meaning.md from the demo's result.

Run ``uv run nnabla-influence demo`` first, then ``uv run python docs/pictures.py [FOLDER]``.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image

mpl.use("Agg")

from matplotlib import pyplot as plt

HERE = Path(__file__).resolve().parent
COLUMNS, ROWS = 12, 2


def main(demo: Path) -> None:
    """Read the demo's ranking and write both pictures beside this file."""
    with (demo / "influence.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    draw_most_harmful(demo, rows[: COLUMNS * ROWS])
    draw_found(np.array([row["y:label"] != row["#true_label"] for row in rows]))


def draw_most_harmful(demo: Path, rows: list[dict[str, str]]) -> None:
    """Draw the head of the ranking: image, given and predicted label, influence."""
    figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(COLUMNS * 0.95, ROWS * 1.5))
    for axis, row in zip(axes.flat, rows):
        axis.imshow(np.asarray(Image.open(demo / row["x:image"])), cmap="gray_r")
        wrong = row["y:label"] != row["#true_label"]
        axis.set_title(
            f"given {row['y:label']}\nmodel {float(row['predicted']):g}",
            fontsize=8,
            color="#b2182b" if wrong else "black",
        )
        axis.set_xlabel(f"{float(row['influence']):.1e}", fontsize=7)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.suptitle(
        "The most harmful of 3,000 training rows (red: the given label had been flipped)",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(HERE / "most_harmful.png", dpi=110)


def draw_found(flipped: np.ndarray) -> None:
    """Draw how many of the flipped labels stand in the first rows of the ranking."""
    looked_at = np.arange(1, len(flipped) + 1)
    found = np.cumsum(flipped) / flipped.sum()
    figure, axis = plt.subplots(figsize=(5.5, 3.2))
    axis.plot(looked_at, found, color="#2166ac", label="down the ranking")
    axis.plot(looked_at, looked_at / len(flipped), color="gray", ls="--", label="by chance")
    axis.set_xlabel("rows looked at")
    axis.set_ylabel("flipped labels found")
    axis.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1))
    axis.set_xlim(0, len(flipped))
    axis.set_ylim(0, 1.02)
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(HERE / "found.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
