"""What each column of a ranking is to a reader: a label, a picture, a feature or a comment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nnabla_influence.cleansing.labels import find_label
from nnabla_influence.dataset import Dataset
from nnabla_influence.dataset.header import Column
from nnabla_influence.ranking import RESULT_COLUMNS
from nnabla_influence.review.thumbnails import shows_a_picture

_EXAMPLES = 8


@dataclass(frozen=True)
class Columns:
    """The columns of a ranking, without those that scoring added.

    Attributes:
        label: The one that holds the given label; None where there is no single one.
        images: Those that name pictures.
        features: The other ones that were trained on.
        comments: Those that nnabla does not read, and those that a reviewer added at the end.
    """

    label: Column | None
    images: tuple[Column, ...]
    features: tuple[Column, ...]
    comments: tuple[Column, ...]


def sort_columns(dataset: Dataset, rows: Sequence[int], label_column: str | None) -> Columns:
    """Find out what each column is.

    Raises:
        DatasetError: There is no such label column, or more than one.
    """
    end = max(c.position for c in dataset.columns if c.name in RESULT_COLUMNS and c.index is None)
    others = [c for c in dataset.columns if c.name not in RESULT_COLUMNS]
    # A reviewer adds columns after the results, unless the results were moved to the front.
    own = [c for c in others if c.position < end] or others
    own = [c for c in own if not c.is_comment]
    examples = list(dataset.iter_cells(rows[:_EXAMPLES]))
    images = [c for c in own if _names_pictures(dataset, c.position, examples)]
    label = find_label(dataset, own, label_column)
    if label in images:
        if label_column is None:
            label = None  # a target picture, which is shown as such
        else:
            images.remove(label)
    return Columns(
        label=label,
        images=tuple(images),
        features=tuple(c for c in own if c is not label and c not in images),
        comments=tuple(c for c in others if c not in own),
    )


def short_name(column: Column) -> str:
    """Return a column's variable, with its index."""
    return column.cell.partition(":")[0]


def unique_name(column: Column, dataset: Dataset) -> str:
    """Return a column's variable, or its header cell where several columns have that variable."""
    same = [c for c in dataset.columns if not c.is_comment and c.name == column.name]
    return column.name if same == [column] and column.index is None else column.cell


def readable_names(columns: Sequence[Column]) -> tuple[str, ...]:
    """Return readable names of the columns: ``sepal length`` for ``x__0:sepal length``.

    Columns that share a label are called by their variables.
    """
    labels = Counter(c.label for c in columns)
    return tuple(
        c.label.strip() if c.label and c.label.strip() and labels[c.label] == 1 else short_name(c)
        for c in columns
    )


def _names_pictures(dataset: Dataset, position: int, rows: Iterable[Sequence[str]]) -> bool:
    return any(
        "\0" not in cells[position] and shows_a_picture(dataset.file_of(cells[position]))
        for cells in rows
    )
