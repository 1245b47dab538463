"""The ranking CSV: every column of the dataset, followed by the result columns.

Its header keeps the Console's form and its relative paths are adapted to its folder, so that it is
itself a dataset CSV. Users open it in a spreadsheet, which must not run a cell.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.dataset.csv_output import Relocation, spreadsheet_line_writer
from nnabla_influence.dataset.harmless import harmless_row
from nnabla_influence.errors import DatasetError
from nnabla_influence.files import PathLike, check_output, replacing_file

RESULT_COLUMNS = (
    "influence",
    "influence_std",
    "influence_se",
    "harmful_in",
    "datasource_index",
    "times_seen",
    "loss",
    "predicted",
    "suggested_label",
    "relabel_gain",
    "orders",
)
"""The columns that a ranking adds; such columns of the input, itself a ranking, are replaced."""


def write_ranking(
    path: PathLike,
    dataset: Dataset,
    rows: np.ndarray,
    results: Mapping[str, np.ndarray | None],
    own_cells: Callable[[list[str]], list[str]],
) -> None:
    """Write a ranking CSV; see `Ranking.write`.

    Args:
        path: The CSV.
        dataset: The rows.
        rows: Their numbers in the order of the ranking, (N,).
        results: By header cell the result columns, in the order of the dataset's rows, (N,); None
            for one to leave out.
        own_cells: Turns a row of the dataset into the training CSV's cells.
    """
    path = Path(path)
    check_columns(dataset)
    dataset.cells(int(rows[0]))  # It must still be there, unchanged.
    check_output(path, [dataset.path], is_ranking, "a ranking")
    kept = [c for c in dataset.columns if c.name not in RESULT_COLUMNS]
    texts = {name: _texts(values) for name, values in results.items() if values is not None}
    line = spreadsheet_line_writer()
    with replacing_file(path) as temporary:
        relocate = Relocation(dataset, path)
        is_ascii = dataset.is_ascii and (
            relocate.is_ascii
            or not any(
                relocate(column.position, cells[column.position]) != cells[column.position]
                for cells in dataset.iter_cells()
                for column in kept
            )
        )
        # Spreadsheets read a CSV without a BOM in the computer's own encoding.
        encoding = "utf-8" if is_ascii else "utf-8-sig"
        with open(temporary, "w", encoding=encoding, newline="") as file:
            file.write(line([*(column.cell for column in kept), *texts]))
            for row, cells in zip(map(int, rows), map(own_cells, dataset.iter_cells(rows))):
                own = [cells[column.position] for column in kept]
                if relocate.is_needed:
                    own = [relocate(column.position, cell) for column, cell in zip(kept, own)]
                own = harmless_row(kept, own)
                file.write(line([*own, *(text(row) for text in texts.values())]))


def is_ranking(path: PathLike, separators: str = ",;\t") -> bool:
    """Whether a file is a ranking, as `score` or a spreadsheet separates its columns.

    Raises:
        OSError: It cannot be read.
    """
    for separator in separators:
        with (
            contextlib.suppress(csv.Error),
            open(path, encoding="utf-8-sig", errors="replace", newline="") as file,
        ):
            header = next(csv.reader(file, delimiter=separator), [])
            if {"influence", "datasource_index"} <= set(header):
                return True
    return False


def check_columns(dataset: Dataset) -> None:
    """Check that a ranking of the dataset can keep every input of the network.

    Raises:
        DatasetError: An input has the name of a column that the ranking adds.
    """
    for name in dataset.inputs:
        if name in RESULT_COLUMNS:
            raise DatasetError(
                f"{dataset.path}: the network's input {name!r} has the name of a column that the"
                " ranking adds; rename the input and its column"
            )


def _texts(values: np.ndarray) -> Callable[[int], str]:
    whole = values.dtype.kind == "i" or bool((values == np.trunc(values)).all())
    if whole and (abs(values) < 2**53).all():
        return lambda row: str(int(values[row]))
    return lambda row: repr(float(values[row]))
