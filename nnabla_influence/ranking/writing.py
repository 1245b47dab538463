"""The ranking CSV: every column of the dataset, and behind them the result columns.

Its header keeps the Console's form, and paths are right from where it lies, so that it is itself
a dataset CSV. People open it in a spreadsheet, which must not run a cell.
"""

from __future__ import annotations

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
    "datasource_index",
    "times_seen",
    "loss",
    "predicted",
    "orders",
)
"""The columns that a ranking adds; such columns of the input, as a ranking has, are replaced."""

_SEPARATORS = ",;\t"  # as spreadsheets save a ranking as well


def write_ranking(
    path: PathLike,
    dataset: Dataset,
    rows: np.ndarray,
    results: Mapping[str, np.ndarray | None],
    own_cells: Callable[[list[str]], list[str]],
) -> None:
    """Write a ranking CSV, whole or not at all.

    Args:
        path: The CSV. An earlier ranking is replaced.
        dataset: The rows.
        rows: Their numbers in the order of the ranking, (N,).
        results: By header cell the result columns, in the order of the dataset's rows, (N,); None
            for one that is not there.
        own_cells: Makes of a row of the dataset the cells of the CSV that was trained with.

    Raises:
        OutputError: It cannot be written, it is the dataset itself, or another file than
            a ranking exists there.
        DatasetError: The dataset has changed meanwhile, or see `check_columns`.
    """
    path = Path(path)
    check_columns(dataset)
    dataset.cells(int(rows[0]))  # still there, and as it was
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
        # Spreadsheets take a CSV without BOM for the computer's old encoding; others need none.
        encoding = "utf-8" if is_ascii else "utf-8-sig"
        with open(temporary, "w", encoding=encoding, newline="") as file:
            file.write(line([*(column.cell for column in kept), *texts]))
            for row, cells in zip(map(int, rows), map(own_cells, dataset.iter_cells(rows))):
                own = [cells[column.position] for column in kept]
                if relocate.is_needed:
                    own = [relocate(column.position, cell) for column, cell in zip(kept, own)]
                own = harmless_row(kept, own)
                file.write(line([*own, *(text(row) for text in texts.values())]))


def is_ranking(path: PathLike) -> bool:
    """Whether a file is a ranking, also one that a spreadsheet saved with other separators.

    Raises:
        OSError: It cannot be read.
    """
    return any(_is_ranking(path, separator) for separator in _SEPARATORS)


def _is_ranking(path: PathLike, separator: str) -> bool:
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            header = next(csv.reader(file, delimiter=separator), [])
        except csv.Error:
            return False
    return {"influence", "datasource_index"} <= set(header)


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
