"""Influence summed over groups of rows: by class, folder, annotator, date or any other column."""

from __future__ import annotations

import math
import posixpath
from dataclasses import dataclass

import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.dataset.harmless import restored
from nnabla_influence.dataset.header import Column
from nnabla_influence.dataset.values import EXTENSIONS, extension_of, is_number
from nnabla_influence.errors import DatasetError
from nnabla_influence.ranking.ranking_csv import RESULT_COLUMNS
from nnabla_influence.ranking.scores import Scores, t_quantile
from nnabla_influence.text import listed, with_option

MOST_GROUPS = 100
FEWEST_ROWS = 4
"""A group of fewer has no interval."""


@dataclass(frozen=True)
class Group:
    """The rows that have one value in a column.

    Attributes:
        value: Their cell without spaces around it; for a column of files the folder.
        rows: How many they are.
        harmful: How many of them are harmful.
        sum: The sum of their influence.
        mean: Its mean over the rows that were judged; None where none was.
        margin: Half the width of the mean's 95 % interval, t s / sqrt(n): n rows with the standard
            deviation s, and Student's t with n - 1 degrees of freedom. None below `FEWEST_ROWS`.
    """

    value: str
    rows: int
    harmful: int
    sum: float
    mean: float | None
    margin: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean over the rows; None where they are too few."""
        if self.mean is None or self.margin is None:
            return None
        return self.mean - self.margin, self.mean + self.margin


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of a column.

    Attributes:
        name: The column's header cell, or ``folder of`` it.
        groups: The one of the lowest sum first.
        of_rows: For each of the dataset's rows the place of its group, (N,) int64.
    """

    name: str
    groups: tuple[Group, ...]
    of_rows: np.ndarray


def group_rows(dataset: Dataset, scores: Scores, column: str) -> Groups:
    """Sum the influence of a dataset's rows by a column; see `values_of`."""
    name, values = values_of(dataset, column)
    distinct, of_rows = np.unique(np.array(values, object), return_inverse=True)
    influence, n_groups = scores.influence, len(distinct)

    def summed(amounts: np.ndarray) -> np.ndarray:
        return np.bincount(of_rows, amounts, n_groups)

    judged = np.ones(len(values)) if scores.times_seen is None else scores.times_seen > 0
    rows, n, sums = summed(np.ones(len(values))), summed(judged), summed(influence)
    harmful = summed(influence < 0)
    means = sums / np.maximum(n, 1)
    squares = summed(judged * (influence - means[of_rows]) ** 2)
    groups = [
        Group(
            value=distinct[k],
            rows=int(rows[k]),
            harmful=int(harmful[k]),
            sum=float(sums[k]),
            mean=float(means[k]) if n[k] else None,
            margin=_margin(float(squares[k]), int(n[k])),
        )
        for k in range(n_groups)
    ]
    order = sorted(range(n_groups), key=lambda k: groups[k].sum)
    place = np.argsort(order)
    return Groups(name, tuple(groups[k] for k in order), place[of_rows])


def values_of(dataset: Dataset, column: str) -> tuple[str, list[str]]:
    """Return what a column's groups are called, and the group of each row.

    Args:
        dataset: The rows.
        column: The column's header cell, or its variable; the ``#`` of a comment may be left out.

    Raises:
        DatasetError: There is no such column or more than one, or its values are no groups: they
            are measured numbers, or more than `MOST_GROUPS`.
    """
    found = _found(dataset, column)
    cells = [cells[found.position] for cells in dataset.iter_cells()]
    values = {cell: restored(found, cell).strip() for cell in dict.fromkeys(cells)}
    name = found.cell
    if not found.is_comment and all(extension_of(value) in EXTENSIONS for value in values.values()):
        values = {cell: _folder(value) for cell, value in values.items()}
        name = f"folder of {name}"
    distinct = set(values.values())
    problem = None
    if _are_measured(distinct, len(cells)):
        problem = "measured numbers"
    elif len(distinct) > MOST_GROUPS:
        problem = f"{len(distinct):,} different values, more than {MOST_GROUPS}"
    if problem is not None:
        raise DatasetError(
            f"{dataset.path}, column {found.cell!r}: holds {problem}, so its rows make no groups;"
            f" name another {with_option('--group-by')}, or add a comment column such as '#group'"
            " with fewer values"
        )
    return name, [values[cell] for cell in cells]


def _found(dataset: Dataset, name: str) -> Column:
    own = [c for c in dataset.columns if c.name not in RESULT_COLUMNS]
    spellings = (
        lambda c: c.cell,
        lambda c: c.name,
        lambda c: c.cell.removeprefix("#"),
        lambda c: c.name.removeprefix("#"),
    )
    for spelling in spellings:
        found = [c for c in own if spelling(c) == name]
        if len(found) == 1:
            return found[0]
        if found:
            break
    problem = f"has {len(found)} columns {name!r}" if found else f"has no column {name!r}"
    raise DatasetError(
        f"{dataset.path}: {problem}; name one of {listed(repr(c.cell) for c in found or own)}"
        f" {with_option('--group-by')}"
    )


def _folder(file: str) -> str:
    return posixpath.normpath(posixpath.dirname(file.replace("\\", "/")))


def _are_measured(values: set[str], n_rows: int) -> bool:
    """Whether values are numbers with decimals, few of which occur again."""
    numbers = [float(value) for value in values if is_number(value)]
    if len(numbers) < len(values) or all(map(float.is_integer, numbers)):
        return False
    return len(values) > n_rows / 2


def _margin(squares: float, n: int) -> float | None:
    if n < FEWEST_ROWS:
        return None
    return t_quantile(0.975, n - 1) * math.sqrt(squares / (n - 1) / n)
