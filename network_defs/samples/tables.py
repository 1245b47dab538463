"""Two real tables that the package scikit-learn carries (BSD-3)."""

from __future__ import annotations

import importlib.util
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.commands.digits import (
    Labels,
    SampleData,
    flip_labels,
    make_folder,
    split_rows,
    write_csv,
)
from nnabla_influence.errors import DatasetError


@dataclass(frozen=True)
class Table:
    """A table with a category to predict.

    Attributes:
        columns: Name of each feature.
        features: float64 (n, columns).
        labels: int64 (n,), from 0.
    """

    columns: tuple[str, ...]
    features: np.ndarray
    labels: np.ndarray


def load_breast_cancer() -> Table:
    """Return the 569 breast tumours of Wisconsin: 30 measures; 0 is malignant, 1 benign.

    Raises:
        DatasetError: scikit-learn is not installed, or does not carry the table.
    """
    measures = (
        *("radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity"),
        *("concave points", "symmetry", "fractal dimension"),
    )
    columns = tuple(
        form.format(measure) for form in ("mean {}", "{} error", "worst {}") for measure in measures
    )
    return _load("breast_cancer.csv", columns, n_header_lines=1)


def load_small_digits() -> Table:
    """Return 1,797 handwritten digits of 8x8 pixels from 0 to 16, as 64 columns.

    Raises:
        DatasetError: scikit-learn is not installed, or does not carry the table.
    """
    columns = tuple(f"pixel {row} {column}" for row in range(8) for column in range(8))
    return _load("digits.csv.gz", columns, n_header_lines=0)


def _load(file_name: str, columns: tuple[str, ...], n_header_lines: int) -> Table:
    # Importing scikit-learn takes seconds; only its file is needed.
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DatasetError(
            "the table needs the package scikit-learn, which is not installed;"
            " run: pip install scikit-learn"
        )
    path = Path(spec.origin).parent / "datasets" / "data" / file_name
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=n_header_lines)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DatasetError(
            f"{path}: the table cannot be read ({error}); reinstall scikit-learn 1.7.2"
        ) from error
    return Table(columns, table[:, :-1], table[:, -1].astype(np.int64))


def write_table(
    folder: str | os.PathLike[str],
    table: Table,
    *,
    n_training: int,
    n_validation: int,
    flipped: float = 0.0,
    seed: int = 0,
) -> SampleData:
    """Write a table as dataset CSVs with standardised features (``x__0:NAME``, ...).

    Each feature has mean 0 and standard deviation 1 over the training rows; a constant one is 0.
    The same arguments write the same files.

    Args:
        folder: Where to; made if it is missing.
        table: What to write.
        n_training: Rows of ``training.csv``.
        n_validation: Rows of ``validation.csv``.
        flipped: Fraction of the training rows that get a wrong label, at random.
        seed: Of the split and of the flips.

    Raises:
        DatasetError: The parts are larger than the table, or the fraction is not between 0 and 1.
        OutputError: The folder cannot be written.
    """
    rng = np.random.RandomState(seed)
    training, validation = split_rows(table.labels, (n_training, n_validation), rng)
    n_classes = int(table.labels.max()) + 1
    training_labels = flip_labels(table.labels[training], flipped, n_classes, rng)
    mean = table.features[training].mean(axis=0)
    deviation = table.features[training].std(axis=0)
    features = (table.features - mean) / np.where(deviation > 0, deviation, 1.0)
    # A feature that is constant in training says nothing elsewhere either.
    features[:, deviation == 0] = 0.0
    header = [f"x__{index}:{column}" for index, column in enumerate(table.columns)]
    path = make_folder(folder)

    def write(part: str, rows: np.ndarray, labels: Labels) -> Path:
        cells = [[f"{value:.6g}" for value in row] for row in features[rows]]
        return write_csv(path / f"{part}.csv", header, cells, labels)

    return SampleData(
        training_csv=write("training", training, training_labels),
        validation_csv=write("validation", validation, Labels.right(table.labels[validation])),
        test_csv=None,
        n_training=n_training,
        n_validation=n_validation,
        flipped=training_labels.flipped,
    )
