"""Reads a ranking CSV back."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nnabla_influence.dataset import Dataset, open_dataset
from nnabla_influence.errors import DatasetError
from nnabla_influence.files import check_regular
from nnabla_influence.ranking.ranking import Ranking
from nnabla_influence.ranking.scores import Scores, parsed_orders
from nnabla_influence.ranking.writing import RESULT_COLUMNS

# From which number on, and up to which, a column of whole numbers goes.
_WHOLE = {"datasource_index": 0, "times_seen": 0, "orders": 1}
_MOST = 2**31 - 1


def read_ranking(path: str | os.PathLike[str]) -> Ranking:
    """Read a ranking CSV back.

    Args:
        path: The CSV; it needs the columns ``influence`` and ``datasource_index``. Its rows may
            stand in any order, and some may be missing.

    Raises:
        DatasetError: It is no ranking, or a cell of a result column cannot be used.
        ScoreError: Every influence is zero.
    """
    try:
        return _read(path)
    except DatasetError as error:
        separator = _other_separator(Path(path))
        if separator is None:
            raise
        raise DatasetError(
            f"{path}: its columns are separated by {separator}, as some spreadsheets do it; save"
            " it with commas as 'CSV UTF-8', or give the ranking as `score` wrote it"
        ) from error


def _read(path: str | os.PathLike[str]) -> Ranking:
    dataset = open_dataset(path, [])
    found = {c.name: c for c in dataset.columns if c.name in RESULT_COLUMNS and c.index is None}
    positions = {name: column.position for name, column in found.items()}
    for name in ("influence", "datasource_index"):
        if name not in positions:
            raise DatasetError(
                f"{path}: is no ranking, since it has no column {name!r}; make one with"
                " nnabla-influence score"
            )
    columns = {name: np.empty(len(dataset)) for name in positions}
    for row, cells in enumerate(dataset.iter_cells()):
        for name, position in positions.items():
            columns[name][row] = _parsed(dataset, row, name, cells[position])
    indices = columns.pop("datasource_index").astype(np.int64)
    _check_unique(dataset, indices)
    orders = None
    if "orders" in found:
        orders = parsed_orders(found["orders"].label or "", int(columns.pop("orders")[0]))
    return Ranking(dataset, Scores(**columns), indices, orders)


def _other_separator(path: Path) -> str | None:
    try:
        check_regular(path)
        with open(path, "rb") as file:
            line = file.readline(1 << 20)
    except OSError:
        return None
    if b";influence;" in line:
        return "semicolons"
    return "tabs" if b"\tinfluence\t" in line else None


def _parsed(dataset: Dataset, row: int, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if name not in _WHOLE and not np.isfinite(value):
        raise DatasetError(
            f"{dataset.place(row, name)}: {cell[:60]!r} is not a finite number; correct it, or"
            " remove the row"
        )
    if name in _WHOLE and not (_WHOLE[name] <= value <= _MOST and value.is_integer()):
        raise DatasetError(
            f"{dataset.place(row, name)}: {cell[:60]!r} is not a whole number from {_WHOLE[name]}"
            f" to {_MOST}; correct it, or remove the row"
        )
    return value


def _check_unique(dataset: Dataset, indices: np.ndarray) -> None:
    order = np.argsort(indices, kind="stable")
    again = order[1:][np.diff(indices[order]) == 0]
    if len(again):
        row = int(again.min())
        raise DatasetError(
            f"{dataset.place(row, 'datasource_index')}: {indices[row]} stands there a second time;"
            " remove one of the rows"
        )
