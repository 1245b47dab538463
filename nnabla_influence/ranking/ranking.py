"""A dataset's rows in the order of their influence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.dataset.harmless import restored_row
from nnabla_influence.ranking.scores import Orders, Scores
from nnabla_influence.ranking.verdict import Verdict
from nnabla_influence.ranking.writing import write_ranking


@dataclass(frozen=True)
class RankedRow:
    """One row of a ranking.

    Attributes:
        row: Its number in ``Ranking.dataset``, as ``Dataset.cells`` takes it.
        datasource_index: Its number in the CSV that was trained with.
        influence: As in `Scores`, and so on.
    """

    row: int
    datasource_index: int
    influence: float
    influence_std: float | None
    times_seen: int | None
    loss: float | None
    predicted: float | None


@dataclass(frozen=True, eq=False)
class Ranking:
    """A dataset's rows with their scores; iterating gives the most harmful row first.

    Attributes:
        dataset: The rows: the training CSV, or a ranking CSV that was read.
        scores: Their scores, in the order of the dataset's rows.
        indices: The datasource_index of each of the dataset's rows, (N,); by default its number.
        orders: The orders of mini-batches that the scores are for; None where it is not known.

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

        Rows of equal influence follow in the order of their datasource_index.
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
        """How far it can be trusted; None where it is not known."""
        return None if self.orders is None else self.orders.verdict

    @property
    def _indices(self) -> np.ndarray:
        return np.arange(len(self)) if self.indices is None else self.indices

    def __iter__(self) -> Iterator[RankedRow]:
        """Yield the rows, the most harmful first."""
        scores, indices = self.scores, self._indices
        for row in map(int, self.rows):
            yield RankedRow(
                row=row,
                datasource_index=int(indices[row]),
                influence=float(scores.influence[row]),
                influence_std=_at(scores.influence_std, row, float),
                times_seen=_at(scores.times_seen, row, int),
                loss=_at(scores.loss, row, float),
                predicted=_at(scores.predicted, row, float),
            )

    def cells(self, row: int) -> list[str]:
        """Return the cells of a row of the dataset, as the CSV that was trained with has them.

        What was put in front of one of them for spreadsheets is taken away again; a relative path
        stays relative to where the dataset lies.

        Raises:
            DatasetError: The dataset has changed since it was opened.
        """
        return self.own_cells(self.dataset.cells(row))

    def own_cells(self, cells: list[str]) -> list[str]:
        """Return the cells that the CSV that was trained with has, of those that were read."""
        if self.indices is None:  # which is that CSV
            return cells
        return restored_row(self.dataset.columns, cells)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the ranking CSV, whole or not at all.

        Args:
            path: The CSV. An earlier ranking is replaced.

        Raises:
            OutputError: It cannot be written, or it is the dataset itself.
            DatasetError: The dataset has changed meanwhile, or see `check_columns`.
        """
        columns = {
            "influence": self.scores.influence,
            "influence_std": self.scores.influence_std,
            "datasource_index": self._indices,
            "times_seen": self.scores.times_seen,
            "loss": self.scores.loss,
            "predicted": self.scores.predicted,
        }
        if self.orders is not None:
            columns[f"orders:{self.orders.label}"] = np.full(len(self), self.orders.count)
        write_ranking(path, self.dataset, self.rows, columns, self.own_cells)


def _at(values: np.ndarray | None, row: int, kind: Callable[[Any], Any]) -> Any:
    return None if values is None else kind(values[row])
