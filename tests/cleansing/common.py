"""What the cleansing tests share: a training CSV with every kind of column, and its ranking."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from nnabla_influence.dataset import open_dataset
from nnabla_influence.ranking import Ranking, Scores
from tests.dataset.common import noise, save_image, write_csv

N = 12
# By hand: three rows are harmful; the order of harm is 7, 2, 9, then the useful ones.
INFLUENCE = np.array([0.5, 0.1, -0.25, 3, 0, 0.125, 1 / 3, -1e-5, 2, -1.5e-7, 1, 0.75])
INFLUENCE[7] = -0.75
ORDER = [7, 2, 9, 4, 1, 5, 6, 0, 11, 10, 8, 3]
# Of the classes 0 to 3, class 3 has the rows 7 and 9 only.
LABELS = [0, 1, 2, 0, 1, 2, 0, 3, 1, 3, 2, 0]


def read_cells(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def write_training_csv(folder: Path, **form: str) -> Path:
    """A CSV with images and arrays beside it, quoted cells, comments and line ends in cells."""
    rows = []
    for k in range(N):
        save_image(folder / "画像" / f"{k}.png", noise(4, 4, seed=k))
        np.save(folder / f"{k}.npy", np.arange(3.0) + k)
        rows.append(
            [f"画像\\{k}.png", f'note "{k}",\r\nmore', LABELS[k], f"{k}e-1", f"{k}.0", f"./{k}.npy"]
        )
    header = ["x:image", "#note", "y:label;猫", "v__0:a", "v__1", "z"]
    return write_csv(folder / "train.csv", header, rows, **form)


def write_table(path: Path, labels: list[object] | None = None) -> Path:
    """A plain CSV of numbers."""
    labels = list(LABELS) if labels is None else labels
    return write_csv(path, ["x", "y"], [[k / 8, label] for k, label in enumerate(labels)])


def write_ranking(train: Path, path: Path, influence: np.ndarray = INFLUENCE) -> Path:
    dataset = open_dataset(train, [])
    Ranking(dataset, Scores(influence, times_seen=[1] * len(dataset))).write(path)
    return path
