"""What the review tests share: rankings written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnabla_influence.dataset import open_dataset
from nnabla_influence.ranking import Orders, Ranking, Scores
from tests.dataset.common import save_image, write_csv

RESULTS = ("influence", "datasource_index", "times_seen", "loss", "predicted", "orders:recorded")


def write_ranking(
    path: Path,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    results: Sequence[str] = ("influence", "datasource_index"),
    **form: str,
) -> Path:
    """Write a ranking whose rows begin with their own cells; influence rises by 1/8 from -1/4."""
    made = {
        "influence": lambda k: -0.25 + k / 8,
        "datasource_index": lambda k: (7 * k + 3) % len(rows) if len(rows) % 7 else k,
        "times_seen": lambda k: k % 3,
        "loss": lambda k: 10.0 / (k + 1),
    }
    lines = []
    for k, row in enumerate(rows):
        given = [made[name](k) for name in results if name in made]
        lines.append([*row[: len(header)], *given, *row[len(header) :]])
    return write_csv(path, [*header, *results], lines, **form)


def write_trainings(folder: Path) -> Path:
    """A ranking of five trainings: six rows of the classes 0, 1, 2, which the file has as 1.0.

    The most harmful row is row 0; the suggestions of the first four rows are better labels.
    """
    train = write_csv(folder / "train.csv", ["x", "y"], [[k / 8, f"{k % 3}.0"] for k in range(6)])
    scores = Scores(
        np.arange(6) - 3.0,
        influence_se=np.full(6, 0.125),
        harmful_in=[4, 5, 3, 0, 1, 0],
        predicted=[0, 0, 2, 0, 4, 2],
        suggested_label=[2, 0, 1, 3, 0, 0],
        relabel_gain=[0.5, 0.25, 0.125, 0.125, -0.5, 0],
    )
    orders = Orders("5 trainings influence-function", 5)
    Ranking(open_dataset(train, []), scores, orders=orders).write(folder / "ranking.csv")
    return folder / "ranking.csv"


def write_pictures(folder: Path, n: int = 5) -> Path:
    """A ranking of pictures, with every result column."""
    rows = []
    for k in range(n):
        save_image(folder / "画像" / f"{k}.png", np.full((4, 4), 40 * k, np.uint8))
        rows.append([f"画像/{k}.png", k % 2, f"note {k}", (k + 1) % 2 if k < 2 else k % 2, 1])
    header = ["x:image", "y:label;cat;dog", "#note"]
    return write_ranking(folder / "ranking.csv", header, rows, RESULTS, encoding="utf-8-sig")
