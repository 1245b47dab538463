"""Fashion-MNIST (MIT), as Debian's package dataset-fashion-mnist installs it."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from nnabla_influence.commands.digits import (
    Labels,
    SampleData,
    flip_labels,
    make_folder,
    split_rows,
    write_images,
)
from nnabla_influence.errors import DatasetError

N_CLASSES = 10
SOURCE = Path("/usr/share/datasets/fashion-mnist")
_UNSIGNED_BYTES = 8


def load_fashion_mnist(
    part: str, source: str | os.PathLike[str] = SOURCE
) -> tuple[np.ndarray, np.ndarray]:
    """Return images, uint8 (n, 28, 28), and labels, int64 (n,).

    Args:
        part: ``train`` (60,000 images) or ``t10k`` (10,000).
        source: Folder of the four idx.gz files.

    Raises:
        DatasetError: A file is missing or damaged.
    """
    images = _read_idx(Path(source) / f"{part}-images-idx3-ubyte.gz")
    labels = _read_idx(Path(source) / f"{part}-labels-idx1-ubyte.gz")
    return images, labels.astype(np.int64)


def _read_idx(path: Path) -> np.ndarray:
    """Read an idx file: two zeros, the kind of number, the number of axes, their lengths, data."""
    try:
        with gzip.open(path) as file:
            content = file.read()
        _, kind, n_axes = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{n_axes}I", content[4 : 4 + 4 * n_axes])
        if kind != _UNSIGNED_BYTES:
            raise ValueError(f"its numbers are of kind {kind}, not unsigned bytes")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape)
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path}: there is no such file; install it with: apt install dataset-fashion-mnist"
        ) from error
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise DatasetError(
            f"{path}: is damaged ({error}); reinstall Debian's dataset-fashion-mnist"
        ) from error


def write_fashion_mnist(
    folder: str | os.PathLike[str],
    *,
    n_training: int = 60_000,
    n_validation: int = 10_000,
    n_test: int = 0,
    flipped: float = 0.0,
    seed: int = 0,
    source: str | os.PathLike[str] = SOURCE,
) -> SampleData:
    """Write Fashion-MNIST as PNG files and dataset CSVs.

    The same arguments write the same files. All 70,000 images take 280 MB of a disk with blocks
    of 4 KB.

    Args:
        folder: Where to; made if it is missing.
        n_training: Rows of ``training.csv``, from the 60,000 of ``train``.
        n_validation: Rows of ``validation.csv``, from the 10,000 of ``t10k``.
        n_test: Rows of ``test.csv``, from those of the 10,000 that are left; none is written for 0.
        flipped: Fraction of the training rows that get a wrong label, at random.
        seed: Of the choice, the order and the flips.
        source: Folder of the four idx.gz files.

    Raises:
        DatasetError: The source is missing, the parts are larger than it, or the fraction is not
            between 0 and 1.
        OutputError: The folder cannot be written.
    """
    images, labels = load_fashion_mnist("train", source)
    more_images, more_labels = load_fashion_mnist("t10k", source)
    rng = np.random.RandomState(seed)
    (training,) = split_rows(labels, [n_training], rng)
    validation, test = split_rows(more_labels, [n_validation, n_test], rng)
    training_labels = flip_labels(labels[training], flipped, N_CLASSES, rng)
    path = make_folder(folder)

    def write_right(part: str, rows: np.ndarray) -> Path:
        right = Labels.right(more_labels[rows])
        return write_images(path, part, more_images[rows], right, rows)

    return SampleData(
        training_csv=write_images(path, "training", images[training], training_labels, training),
        validation_csv=write_right("validation", validation),
        test_csv=write_right("test", test) if n_test else None,
        n_training=n_training,
        n_validation=n_validation,
        flipped=training_labels.flipped,
    )
