"""The dataset CSVs that Neural Network Console's samples make: MNIST and CIFAR10.

The Console's plugins "Download or Generate Dataset" write ``mnist_training.csv`` and
``mnist_test.csv`` (60,000 and 10,000 rows), ``cifar10_training.csv`` and ``cifar10_test.csv``
(50,000 and 10,000), with the images in folders beside them.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.dataset.header import parse_header
from nnabla_influence.dataset.values import file_of
from nnabla_influence.errors import DatasetError

FOLDERS = {"mnist": ("", "mnist", "MNIST"), "cifar10": ("", "cifar10", "CIFAR10")}
"""By data set, where below the folder that the user gives its CSVs may lie."""


@dataclass(frozen=True, eq=False)
class ConsolePool:
    """The rows of a training CSV of the Console.

    Attributes:
        header: Header cells of the image's and of the label's column.
        labels: int64 (n,), from 0.
        test: The Console's test CSV.
        files: Absolute paths of the images.
    """

    header: tuple[str, str]
    labels: np.ndarray
    test: Path
    files: tuple[str, ...]

    def cells(self, rows: np.ndarray, folder: Path) -> list[str]:
        """Return the images' absolute paths, which are right wherever the CSV lies."""
        return [self.files[row] for row in rows]


def console_pool(name: str, given: Path | None) -> ConsolePool:
    """Read the CSVs of a data set.

    Args:
        name: ``mnist`` or ``cifar10``.
        given: The folder where they lie, or its parent.

    Raises:
        DatasetError: They are not there, or not what the Console makes; names the file and line.
    """
    names = f"{name}_training.csv and {name}_test.csv"
    if given is None:
        raise DatasetError(
            f"{name}: needs the Console's {names}; give the folder where they lie with --data"
        )
    if not given.is_dir():
        raise DatasetError(f"{given}: there is no such folder; give that of the Console's {names}")
    for folder in (given / below for below in FOLDERS[name]):
        training, test = (folder / f"{name}_{part}.csv" for part in ("training", "test"))
        if training.is_file() and test.is_file():
            header, files, labels = _read(training)
            test_header, _, test_labels = _read(test)
            if [_variable(cell) for cell in test_header] != [_variable(cell) for cell in header]:
                raise DatasetError(
                    f"{test}: its columns are {', '.join(test_header)}, those of {training.name}"
                    f" {', '.join(header)}; give two CSVs of one data set"
                )
            if test_labels.max() > labels.max():
                raise DatasetError(
                    f"{test}: has label {test_labels.max()}, {training.name} none above"
                    f" {labels.max()}; give two CSVs of one data set"
                )
            return ConsolePool(header, labels, test.resolve(), files)
    raise DatasetError(
        f"{given}: has no {names}; make them with the Console's plugin Download or Generate"
        " Dataset, or give another folder"
    )


def _variable(cell: str) -> str:
    return cell.partition(":")[0]


def _read(path: Path) -> tuple[tuple[str, str], tuple[str, ...], np.ndarray]:
    """Return the header cells of x and y, the images' absolute paths, and the labels."""
    files, labels = [], []
    folder = str(path.parent.resolve())
    try:
        # nnabla and the Console write UTF-8, spreadsheets put a BOM before it.
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            x, y = _column(path, header, "x"), _column(path, header, "y")
            for line, row in _numbered(path, rows, len(header)):
                files.append(_image(path, line, row[x], folder))
                labels.append(_label(path, line, row[y]))
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is not UTF-8; save it as CSV UTF-8") from error
    except (OSError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); make it anew") from error
    if not files:
        raise DatasetError(f"{path}: has no rows; make it anew with the Console")
    return (header[x], header[y]), tuple(files), np.array(labels, np.int64)


def _numbered(path: Path, rows: Iterator[list[str]], width: int) -> Iterator[tuple[int, list[str]]]:
    for line, row in enumerate(rows, 2):  # no cell of the Console's has a line break
        if row and len(row) != width:
            raise DatasetError(
                f"{path}, line {line}: has {len(row)} cells, the header {width}; make the CSV anew"
            )
        if row:
            yield line, row


def _column(path: Path, header: Sequence[str], name: str) -> int:
    found = [c for c in parse_header(header) if c.name == name] if all(header) else []
    if len(found) != 1 or found[0].index is not None:
        raise DatasetError(
            f"{path}, line 1: there is no single column {name!r} in {','.join(header)[:80]!r};"
            " give the Console's CSV with x:image and the number of the class as y"
        )
    return found[0].position


def _image(path: Path, line: int, cell: str, folder: str) -> str:
    file = os.path.normpath(file_of(cell, folder))
    if not os.path.isfile(file):
        raise DatasetError(
            f"{path}, line {line}: there is no image {file}; keep the Console's folder together"
        )
    return file


def _label(path: Path, line: int, cell: str) -> int:
    try:
        label = int(cell)
    except ValueError:
        label = -1
    if label < 0:
        raise DatasetError(
            f"{path}, line {line}: the label {cell[:40]!r} is not the number of a class; give the"
            " CSV with classes from 0"
        )
    return label
