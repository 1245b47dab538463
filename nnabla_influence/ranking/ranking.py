"""A dataset's rows in the order of their influence, from scores or read back from a CSV."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nnabla_influence.dataset import Dataset, open_dataset
from nnabla_influence.dataset.harmless import restored_row
from nnabla_influence.errors import DatasetError
from nnabla_influence.files import PathLike, check_regular
from nnabla_influence.ranking.groups import Groups, group_rows
from nnabla_influence.ranking.ranking_csv import RESULT_COLUMNS, is_ranking, write_ranking
from nnabla_influence.ranking.scores import Orders, Scores, Verdict, parsed_orders

# The least value of each column of whole numbers, and the largest of all.
_WHOLE = {"datasource_index": 0, "times_seen": 0, "harmful_in": 0, "orders": 1}
_MOST = 2**31 - 1


@dataclass(frozen=True)
class RankedRow:
    """One row of a ranking.

    Attributes:
        row: Its number in ``Ranking.dataset``, for ``Dataset.cells``.
        datasource_index: Its number in the training CSV.
        influence: As in `Scores`, and so on.
    """

    row: int
    datasource_index: int
    influence: float
    influence_std: float | None
    influence_se: float | None
    harmful_in: int | None
    times_seen: int | None
    loss: float | None
    predicted: float | None
    suggested_label: float | None
    relabel_gain: float | None


@dataclass(frozen=True, eq=False)
class Ranking:
    """A dataset's rows with their scores; iterating gives the most harmful row first.

    Attributes:
        dataset: The rows: the training CSV, or a ranking CSV that was read.
        scores: Their scores, in the order of the dataset's rows.
        indices: The datasource_index of each of the dataset's rows, (N,); by default its number.
        orders: The orders of mini-batches that the scores are for; None if unknown.

    Raises:
        ValueError: There are not as many scores as rows.
    """

    dataset: Dataset
    scores: Scores
    indices: np.ndarray | None = None
    orders: Orders | None = None

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.dataset):
            raise ValueError(f"{len(self.scores)} scores for {len(self.dataset)} rows")

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.scores)

    @cached_property
    def rows(self) -> np.ndarray:
        """Numbers of the dataset's rows, the most harmful first, (N,) int64.

        Rows of equal influence are in the order of their datasource_index.
        """
        return np.lexsort((self._indices, self.scores.influence))

    @property
    def order(self) -> np.ndarray:
        """The datasource_index of the rows, the most harmful first, (N,) int64."""
        return self._indices[self.rows]

    @property
    def influence(self) -> np.ndarray:
        """The influence of the rows, the most harmful first, (N,) float64."""
        return self.scores.influence[self.rows]

    @property
    def verdict(self) -> Verdict | None:
        """How reliable it is; None if unknown."""
        return None if self.orders is None else self.orders.verdict

    @cached_property
    def _indices(self) -> np.ndarray:
        return np.arange(len(self)) if self.indices is None else self.indices

    def __iter__(self) -> Iterator[RankedRow]:
        """Yield the rows, the most harmful first."""
        scores, indices = self.scores, self._indices
        for row in map(int, self.rows):
            own: dict[str, Any] = {
                name: None if values is None else values[row].item()
                for name, values in vars(scores).items()
            }
            yield RankedRow(row, int(indices[row]), **own)

    def cells(self, row: int) -> list[str]:
        """Return the cells of a row of the dataset, as the training CSV has them.

        Prefixes for spreadsheets are removed; a relative path stays relative to the dataset.

        Raises:
            DatasetError: The dataset has changed since it was opened.
        """
        return self.own_cells(self.dataset.cells(row))

    def own_cells(self, cells: list[str]) -> list[str]:
        """Return the training CSV's cells for cells that were read; see `cells`."""
        if self.indices is None:  # The dataset is the training CSV.
            return cells
        return restored_row(self.dataset.columns, cells)

    def groups(self, column: str) -> Groups:
        """Sum the influence by a column of the CSV; see `Groups`.

        Args:
            column: Its header cell, or its variable; the ``#`` of a comment may be left out. For a
                column of files their folders are the groups.

        Raises:
            DatasetError: There is no such column, or its values make no groups.
        """
        return group_rows(self.dataset, self.scores, column)

    def write(self, path: PathLike) -> None:
        """Write the ranking CSV, whole or not at all; an earlier ranking is replaced.

        Raises:
            OutputError: It cannot be written, or it is the dataset itself.
            DatasetError: The dataset has changed meanwhile, or see `check_columns`.
        """
        results = {**vars(self.scores), "datasource_index": self._indices}
        columns = {name: results[name] for name in RESULT_COLUMNS if name in results}
        if self.orders is not None:
            columns[f"orders:{self.orders.label}"] = np.full(len(self), self.orders.count)
        write_ranking(path, self.dataset, self.rows, columns, self.own_cells)


def read_ranking(path: PathLike) -> Ranking:
    """Read a ranking CSV back; its rows may be in any order, and some may be missing.

    Raises:
        DatasetError: It is not a ranking, or a cell of a result column cannot be used.
        ScoreError: Every influence is zero.
    """
    with contextlib.suppress(OSError):  # Opening it reports what is wrong.
        check_regular(path)
        for separator, name in ((";", "semicolons"), ("\t", "tabs")):
            if is_ranking(path, separator):
                raise DatasetError(
                    f"{path}: its columns are separated by {name}; save it with commas as 'CSV"
                    " UTF-8', or give the ranking as `score` wrote it"
                )
    dataset = open_dataset(path, [])
    found = {c.name: c for c in dataset.columns if c.name in RESULT_COLUMNS and c.index is None}
    positions = {name: column.position for name, column in found.items()}
    for name in ("influence", "datasource_index"):
        if name not in positions:
            raise DatasetError(
                f"{path}: is not a ranking: it has no column {name!r}; make one with"
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


def _parsed(dataset: Dataset, row: int, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    least = _WHOLE.get(name)
    if least is None:
        fits, wanted = bool(np.isfinite(value)), "finite number"
        if name == "influence_se":
            fits, wanted = fits and value >= 0, "finite number from 0"
    else:
        fits = least <= value <= _MOST and value.is_integer()
        wanted = f"whole number from {least} to {_MOST}"
    if not fits:
        raise DatasetError(
            f"{dataset.place(row, name)}: {cell[:60]!r} is not a {wanted}; correct it, or remove"
            " the row"
        )
    return value


def _check_unique(dataset: Dataset, indices: np.ndarray) -> None:
    order = np.argsort(indices, kind="stable")
    again = order[1:][np.diff(indices[order]) == 0]
    if len(again):
        row = int(again.min())
        raise DatasetError(
            f"{dataset.place(row, 'datasource_index')}: {indices[row]} occurs a second time; remove"
            " one of the rows"
        )
