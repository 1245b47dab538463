"""Rankings to review, written as `score` writes them, and read again without the package."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.dataset import open_dataset
from nnabla_influence.ranking import Ranking, Scores
from tests.dataset.common import noise, save_image, write_csv

N_ROWS = 32
CLASS_NAMES = ("cat", "猫 neko", "<b>dog</b>", "")
HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "\"quotes' & ampersands; {{ 7 * 7 }} ${7 * 7}",
    "<!-- <script> \u2028 line",
    "Plain Ünïcode 日本語",
)


@dataclass(frozen=True)
class Project:
    """A folder with a training CSV, its ranking and the page of it."""

    folder: Path

    @property
    def train(self) -> Path:
        return self.folder / "train.csv"

    @property
    def ranking(self) -> Path:
        return self.folder / "my influence.csv"

    @property
    def page(self) -> Path:
        return self.folder / "review.html"

    def rows(self) -> list[dict[str, str]]:
        """The ranking's rows by header cell, the most harmful first."""
        with open(self.ranking, encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))

    def training_cells(self) -> list[list[str]]:
        with open(self.train, encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file))


def write_images(folder: Path) -> Project:
    """Pictures of four classes, with comments that would like to be markup."""
    rng = np.random.default_rng(5)
    project = Project(folder)
    rows = []
    for k in range(N_ROWS):
        # One that a spreadsheet would run, which the ranking writes with ./ in front.
        file = f"{'=' if k == 2 else ''}絵 {k % 7}/{k}.png"
        save_image(folder / file, noise(8, 8, seed=k))
        rows.append([file, HOSTILE[k % len(HOSTILE)], k % 4])
    write_csv(project.train, ["x:image", "#note", "y:label"], rows, encoding="utf-8-sig")
    influence = rng.normal(0, 1e-2, N_ROWS)
    influence[[3, 20]] = 0.0
    influence[[4, 9]] = influence[11]  # equal ones follow in the order of the rows
    predicted = np.arange(N_ROWS) % 4
    predicted[::5] = (predicted[::5] + 1) % 4
    scores = Scores(
        influence,
        times_seen=[0 if k == 20 else 1 for k in range(N_ROWS)],
        loss=rng.exponential(1.0, N_ROWS),
        predicted=predicted,
    )
    Ranking(open_dataset(project.train, []), scores).write(project.ranking)
    return project


def write_table(folder: Path) -> Project:
    """A table of 40 features and two classes, which the dataset writes as 1.0 and 2.0.

    Its scores and losses are as small as those of a long training.
    """
    rng = np.random.default_rng(6)
    project = Project(folder)
    names = [f"x__{k}:length {k}" for k in range(40)]
    rows = [[*(f"{v:.3f}" for v in rng.normal(size=40)), f"{k % 2 + 1}.0"] for k in range(20)]
    write_csv(project.train, [*names, "y:label"], rows)
    scores = Scores(rng.normal(size=20) * 1e-4, loss=rng.random(20) ** 30, predicted=np.ones(20))
    Ranking(open_dataset(project.train, []), scores).write(project.ranking)
    return project


def write_regression(folder: Path) -> Project:
    """Labels that are real numbers."""
    rng = np.random.default_rng(7)
    project = Project(folder)
    labels = rng.normal(0, 3, 20)
    rows = [[f"{v:.3f}", repr(float(label))] for v, label in zip(rng.normal(size=20), labels)]
    write_csv(project.train, ["x", "y"], rows)
    scores = Scores(rng.normal(size=20), predicted=labels + rng.normal(size=20))
    Ranking(open_dataset(project.train, []), scores).write(project.ranking)
    return project
