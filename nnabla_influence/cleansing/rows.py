"""The rows of a training CSV with their influence, from a ranking and from the CSV itself."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nnabla_influence.cleansing.table import SPREADSHEET_DIGITS
from nnabla_influence.dataset import Dataset, open_dataset
from nnabla_influence.dataset.header import Column
from nnabla_influence.errors import DatasetError
from nnabla_influence.files import PathLike
from nnabla_influence.ranking import RESULT_COLUMNS, Ranking, read_ranking
from nnabla_influence.text import with_option


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """The rows of a training CSV, in its order, with their influence.

    Attributes:
        dataset: Where the cells are read: the training CSV, or the ranking that holds all of them.
        columns: The columns of the training CSV among those of ``dataset``.
        ranking: The ranking.
    """

    dataset: Dataset
    columns: tuple[Column, ...]
    ranking: Ranking

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.ranking)

    @cached_property
    def influence(self) -> np.ndarray:
        """The influence of each row, (N,) float64."""
        return self.ranking.scores.influence[_ranked_rows(self.ranking)]

    def iter_cells(self) -> Iterator[list[str]]:
        """Yield the training CSV's cells of every row, in its order.

        Other columns of ``dataset`` are among them, so that a column's position counts.
        """
        if self.dataset is self.ranking.dataset:
            rows = self.dataset.iter_cells(_ranked_rows(self.ranking))
            yield from map(self.ranking.own_cells, rows)
        else:
            yield from self.dataset.iter_cells()

    def column(self, column: Column) -> list[str]:
        """Return a column's cells in CSV order."""
        return [cells[column.position] for cells in self.iter_cells()]


def open_rows(path: PathLike, train: PathLike | None) -> TrainingRows:
    """Read a ranking and, where it is given, the training CSV that it belongs to.

    Args:
        path: The ranking CSV; it must hold every row of the training CSV, in any order.
        train: The training CSV. Without it the cells are those of the ranking.

    Raises:
        DatasetError: One of them cannot be read, or they do not belong together.
    """
    ranking = read_ranking(path)
    if train is None:
        _check_whole(ranking)
        columns = _own_columns(ranking)
        _check_untouched(ranking)
        return TrainingRows(ranking.dataset, columns, ranking)
    dataset = open_dataset(train, [])
    _check_number(ranking, dataset)
    _check_cells(ranking, dataset, _matched_columns(ranking, dataset))
    return TrainingRows(dataset, dataset.columns, ranking)


def _ranked_rows(ranking: Ranking) -> np.ndarray:
    """Return the place of each row of the training CSV in the ranking, (N,)."""
    assert ranking.indices is not None
    return np.argsort(ranking.indices)


def _check_whole(ranking: Ranking) -> None:
    assert ranking.indices is not None
    missing = int(ranking.indices.max()) + 1 - len(ranking)
    if missing:
        first = int(np.argmax(np.sort(ranking.indices) != np.arange(len(ranking))))
        raise DatasetError(
            f"{ranking.dataset.path}: lacks {missing} rows of the training CSV, the first of them"
            f" datasource_index {first}; give the whole ranking, and choose the rows to remove by"
            " number or by decisions"
        )


def _own_columns(ranking: Ranking) -> tuple[Column, ...]:
    """Return the training CSV's columns, which are those before the result columns."""
    columns = ranking.dataset.columns[: _influence_position(ranking)]
    own = [c for c in columns if c.name not in RESULT_COLUMNS]
    for column in own:
        if column.cell.strip().lower() == "decision":
            raise DatasetError(
                f"{ranking.dataset.path}: the column {column.cell!r} is among those of the training"
                " CSV; move it to the end, or give the training CSV"
                f" {with_option('-t', 'input-train')}"
            )
    if not own:
        raise DatasetError(
            f"{ranking.dataset.path}: has no columns before 'influence'; give the training CSV"
            f" {with_option('-t', 'input-train')}"
        )
    return tuple(own)


def _influence_position(ranking: Ranking) -> int:
    columns = ranking.dataset.columns
    return [c.position for c in columns if c.name == "influence" and c.index is None][-1]


def _check_untouched(ranking: Ranking) -> None:
    """Check that the ranking's cells are as `score` wrote them, as far as can be seen."""
    dataset, influence = ranking.dataset, ranking.scores.influence
    position = _influence_position(ranking)
    for row, cells in enumerate(dataset.iter_cells()):
        value = float(influence[row])
        if cells[position] not in (repr(value), f"{value:.0f}"):
            raise DatasetError(
                f"{dataset.place(row, 'influence')}: {cells[position][:60]!r} is not as `score`"
                " writes it: another program saved the file and may have changed other cells, too;"
                f" give the training CSV {with_option('-t', 'input-train')}"
            )


def _check_number(ranking: Ranking, train: Dataset) -> None:
    assert ranking.indices is not None
    n_rows, last = len(ranking), int(ranking.indices.max())
    if n_rows != len(train) or last >= len(train):
        raise DatasetError(
            f"{ranking.dataset.path}: ranks {n_rows} rows up to datasource_index {last}, but"
            f" {train.path} has {len(train)}; give a whole ranking of the CSV that was trained on"
        )


def _matched_columns(ranking: Ranking, train: Dataset) -> list[tuple[Column, Column]]:
    """Return pairs of columns of ranking and training CSV; columns may have been added."""
    ranked = iter(c for c in ranking.dataset.columns if c.name not in RESULT_COLUMNS)
    pairs = []
    for column in train.columns:
        if column.name in RESULT_COLUMNS:
            continue  # which the ranking has replaced
        found = next((other for other in ranked if other.cell == column.cell), None)
        if found is None:
            raise DatasetError(
                f"{ranking.dataset.path}: does not belong to {train.path}: the column"
                f" {column.cell!r} is missing or in another place; give a ranking of the CSV that"
                " was trained on"
            )
        pairs.append((found, column))
    return pairs


def _check_cells(ranking: Ranking, train: Dataset, pairs: Sequence[tuple[Column, Column]]) -> None:
    # Comments are left out: spreadsheets rewrite dates and the like, and nothing depends on them.
    compared = [(one, other) for one, other in pairs if not other.is_comment]
    ranked_cells = picked([one for one, _ in compared])
    train_cells = picked([other for _, other in compared])
    rows = _ranked_rows(ranking).tolist()
    for index, original in enumerate(map(train_cells, train.iter_cells())):
        cells = ranked_cells(ranking.cells(rows[index]))
        if cells == original:
            continue
        for (column, _), cell, wanted in zip(compared, cells, original):
            if cell != wanted and not _same(ranking.dataset, cell, train, wanted):
                raise DatasetError(
                    f"{ranking.dataset.place(rows[index], column.cell)}: {cell[:60]!r} is not the"
                    f" {wanted[:60]!r} of datasource_index {index} in {train.path}; give a"
                    " ranking of the CSV that was trained on"
                )


def picked(columns: Sequence[Column]) -> Callable[[list[str]], list[str]]:
    """Return a function that picks the columns' cells out of a row; fast for rows of many cells."""
    positions = [column.position for column in columns]
    first = positions[0] if positions else 0
    if positions == list(range(first, first + len(positions))):
        return lambda cells: cells[first : first + len(positions)]
    return lambda cells: [cells[position] for position in positions]


def _same(one: Dataset, cell: str, other: Dataset, original: str) -> bool:
    """Whether cells that differ mean the same number or file."""
    try:
        return math.isclose(float(cell), float(original), rel_tol=SPREADSHEET_DIGITS)
    except ValueError:
        pass
    try:
        paths = one.file_of(cell), other.file_of(original)
        return paths[0] == paths[1] or os.path.samefile(*paths)
    except (OSError, ValueError):  # ValueError: a NUL character
        return False
