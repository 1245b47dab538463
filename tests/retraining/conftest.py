"""A project that was trained, recorded and scored, and its truth in float64 JAX."""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import pytest

from nnabla_influence import Options, ValidationOptions, score, train
from nnabla_influence.retraining.validation import validate
from tests.cases import CASES, write_csv
from tests.reference import Reference

CASE = {case.name: case for case in CASES}["mlp-softmax"]
N, BATCH, EPOCHS = 45, 8, 6
WEIGHT_DECAY = 0.01


@dataclass(frozen=True)
class Project:
    folder: Path

    @property
    def net(self) -> Path:
        return self.folder / "net.nntxt"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def validate(self, *, run=None, scores=None, output=None, **options):
        return validate(
            self.net,
            run=run or self.run,
            scores=scores or self.folder / "exact last.csv",
            output=output,
            options=ValidationOptions(**options),
        )

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        values = np.loadtxt(self.folder / f"{name}.csv", delimiter=",", skiprows=1)
        return {"x": values[:, :5], "y": values[:, 5:]}

    def true_loss(self, first_epoch: int, left_out: Collection[int] = ()) -> float:
        """The mean validation loss, retrained in float64 from the steps.csv alone."""
        theta = self._theta(first_epoch, left_out, 0)
        return float(self.reference.mean_loss(theta, self.arrays("validation")))

    def true_losses(self, left_out: Collection[int], weight: float) -> np.ndarray:
        """The loss of each validation row, with the rows left out at some weight."""
        theta, arrays = self._theta(0, left_out, weight), self.arrays("validation")
        each = ({k: v[[row]] for k, v in arrays.items()} for row in range(len(arrays["y"])))
        return np.array([float(self.reference.mean_loss(theta, row)) for row in each])

    def _theta(self, first_epoch: int, left_out: Collection[int], weight: float):
        train, reference = self.arrays("training"), self.reference
        with (self.run / "steps.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        theta = reference.theta
        for line in lines:
            rows = np.array([int(row) for row in line["rows"].split()])
            gone = left_out if int(line["epoch"]) >= first_epoch else ()
            weights = np.array([weight if row in gone else 1 for row in rows]) / len(rows)
            batch = {k: v[rows] for k, v in train.items()}
            rate = float(line["learning_rate"])
            theta = reference.update(theta, batch, weights, rate, WEIGHT_DECAY)
        return theta

    @cached_property
    def reference(self) -> Reference:
        values: dict[str, np.ndarray] = {}
        with h5py.File(self.folder / "net.h5") as file:
            file.visititems(
                lambda name, item: (
                    values.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
        return Reference(CASE.losses, values, CASE.trainable(values))


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Project:
    """Return a project that is made once, without the user's cache."""
    folder = tmp_path_factory.mktemp("検証 project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NNABLA_INFLUENCE_CACHE", str(folder / "cache"))
        return _made(folder)


def _made(folder: Path) -> Project:
    """Train by nnabla_cli from given parameters, 5 batches of 8 of the 45 rows an epoch.

    Every sixth of the 30 states is kept, so that most windows begin between two of them.
    """
    rng = np.random.default_rng(9)
    teacher = rng.normal(size=(5, 3))
    for part, n in (("training", N), ("validation", 30)):
        x = rng.normal(size=(n, 5)).astype(np.float32)
        y = (x @ teacher + rng.gumbel(size=(n, 3))).argmax(1)[:, None]
        write_csv(folder / f"{part}.csv", {"x": x, "y": y})
    CASE.save_definition(
        folder,
        batch_size=BATCH,
        weight_decay=WEIGHT_DECAY,
        iter_per_epoch=N // BATCH,
        max_epoch=EPOCHS,
    )
    start = folder / "net.h5"
    train(folder / "net.nntxt", folder / "run", parameters=start, window="all", keep="sqrt")
    for window in ("last", "all"):
        score(
            folder / "net.nntxt",
            run=folder / "run",
            output=folder / f"exact {window}.csv",
            options=Options(window=window, method="exact"),
        )
    return Project(folder)
