"""Data sets x kinds of wrong labels x networks x draws, each written as a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from network_defs.samples import (
    Scheduler,
    Training,
    lenet,
    load_digits,
    load_fashion_mnist,
    mlp,
    write_definition,
)
from nnabla_influence.commands.digits import (
    N_CLASSES,
    Labels,
    flip_labels,
    split_rows,
    write_images,
)

DATA = ("digits", "fashion")
NOISES = ("flips", "pairs")
NETWORKS = {"MLP": mlp((1, 28, 28), N_CLASSES), "LeNet": lenet()}
N_TRAINING, N_TEST = 2000, 3000
WRONG = 0.15
"""Of the training rows' labels."""
EPOCHS, BATCH, RATE = 8, 32, 0.1


@dataclass(frozen=True)
class Case:
    """One training on one draw of rows and of wrong labels."""

    data: str
    noise: str
    network: str
    draw: int

    @property
    def name(self) -> str:
        """Unique."""
        return f"{self.data}-{self.noise}-{self.network}-{self.draw}"

    @property
    def seed(self) -> int:
        """Of everything that is drawn; both networks of a draw have the same rows and labels."""
        return 1000 * DATA.index(self.data) + 100 * NOISES.index(self.noise) + self.draw


@dataclass(frozen=True, eq=False)
class Written:
    """A case on disk.

    Attributes:
        model: The definition.
        training: The training CSV.
        test: The test CSV, all of whose labels are right.
        given: int64 (N,), the training rows' labels as they are written.
        wrong: bool (N,), whether they are wrong.
    """

    model: Path
    training: Path
    test: Path
    given: np.ndarray
    wrong: np.ndarray


def cases(
    draws: Sequence[int], data: Sequence[str] = DATA, networks: Sequence[str] = tuple(NETWORKS)
) -> Iterator[Case]:
    """Yield all, the first draw of each cell first."""
    for draw in draws:
        for network in networks:
            for name in data:
                for noise in NOISES:
                    yield Case(name, noise, network, draw)


def write_case(folder: Path, case: Case) -> Written:
    """Write the definition, pictures and CSVs of a case into ``folder``, which exists."""
    rng = np.random.RandomState(case.seed)
    if case.data == "digits":
        images, labels = load_digits()
        training, test = split_rows(labels, (N_TRAINING, N_TEST), rng)
    else:
        parts = [load_fashion_mnist(part) for part in ("train", "t10k")]
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts))
        n = len(parts[0][1])
        (training,) = split_rows(labels[:n], [N_TRAINING], rng)
        (test,) = split_rows(labels[n:], [N_TEST], rng)
        test += n
    spoilt = _spoil(labels[training], case.noise, rng)
    training_csv = write_images(folder, "training", images[training], spoilt, training)
    test_csv = write_images(folder, "test", images[test], Labels.right(labels[test]), test)
    model = folder / "net.nntxt"
    settings = Training(
        n_rows=N_TRAINING,
        training_csv=str(training_csv),
        validation_csv=str(test_csv),
        batch_size=BATCH,
        epochs=EPOCHS,
        learning_rate=RATE,
        scheduler=Scheduler("Cosine", {"max_iter": EPOCHS * (N_TRAINING // BATCH)}),
    )
    write_definition(model, NETWORKS[case.network], settings)
    return Written(model, training_csv, test_csv, spoilt.given, spoilt.given != spoilt.true)


def _spoil(true: np.ndarray, noise: str, rng: np.random.RandomState) -> Labels:
    if noise == "flips":
        return flip_labels(true, WRONG, N_CLASSES, rng)
    # A cycle through all classes: each has one other that it is taken for.
    order = rng.permutation(N_CLASSES)
    following = np.empty(N_CLASSES, np.int64)
    following[order] = np.roll(order, -1)
    rows = rng.permutation(len(true))[: round(WRONG * len(true))]
    given = true.copy()
    given[rows] = following[true[rows]]
    return Labels(given, true)
