"""Small tables of digits, some of them with wrong labels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from network_defs.samples import Training, load_small_digits, mlp, write_definition
from nnabla_influence.commands.digits import Labels, write_csv
from nnabla_influence.retraining.inputs import Config, CurveInputs, open_inputs

N, V, BATCH, EPOCHS = 300, 160, 16, 12


@dataclass(frozen=True)
class Table:
    """A project on disk, and the rows whose labels are wrong."""

    folder: Path
    wrong: frozenset[int]

    @property
    def model(self) -> Path:
        return self.folder / "net.nntxt"

    @property
    def training(self) -> Path:
        return self.folder / "training.csv"

    @property
    def validation(self) -> Path:
        return self.folder / "validation.csv"

    @property
    def config(self) -> Config:
        csvs = map(str, (self.training, self.validation, self.validation))
        return Config(str(self.model), *csvs, device="cpu")

    @property
    def inputs(self) -> CurveInputs:
        return open_inputs(self.config)


@functools.lru_cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    table = load_small_digits()
    order = np.random.default_rng(0).permutation(len(table.labels))
    return table.features[order] / 16.0, table.labels[order]


def write_table(folder: Path, features: np.ndarray, labels: Labels, name: str) -> None:
    header = [f"x__{i}" for i in range(features.shape[1])]
    cells = [[repr(round(float(value), 4)) for value in row] for row in features]
    write_csv(folder / f"{name}.csv", header, cells, labels)


def write_project(
    folder: Path, given: np.ndarray | None = None, hidden: Sequence[int] = (16,), **settings
) -> Table:
    """Write digits to train on with the labels ``given`` (the right ones), and to validate on."""
    folder.mkdir(exist_ok=True)
    features, labels = digits()
    given = labels[:N] if given is None else given
    write_table(folder, features[:N], Labels(given, labels[:N]), "training")
    some = slice(N, N + V)
    write_table(folder, features[some], Labels.right(labels[some]), "validation")
    training = Training(
        n_rows=N,
        training_csv=str(folder / "training.csv"),
        validation_csv=str(folder / "validation.csv"),
        batch_size=BATCH,
        **{"epochs": EPOCHS, "solver": "Sgd", "learning_rate": 0.1, **settings},
    )
    write_definition(folder / "net.nntxt", mlp((features.shape[1],), 10, hidden=hidden), training)
    return Table(folder, frozenset(np.flatnonzero(given != labels[:N]).tolist()))


def write_mixed_up(folder: Path) -> Table:
    """Write digits of which half of the 3s are called 5 and half of the 4s 9."""
    _, labels = digits()
    given = labels[:N].copy()
    for label, other in ((3, 5), (4, 9)):
        rows = np.flatnonzero(given == label)
        given[rows[: len(rows) // 2]] = other
    return write_project(folder, given)


@pytest.fixture(scope="session")
def mixed_up(tmp_path_factory) -> Table:
    """Return the mixed-up digits."""
    return write_mixed_up(tmp_path_factory.mktemp("助言 advice"))


@pytest.fixture(scope="session")
def right(tmp_path_factory) -> Table:
    """Return digits with right labels."""
    return write_project(tmp_path_factory.mktemp("right"))
