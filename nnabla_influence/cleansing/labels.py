"""The label column of a dataset CSV and its classes, found without a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nnabla_influence.cleansing.rows import TrainingRows
from nnabla_influence.cleansing.table import SPREADSHEET_DIGITS
from nnabla_influence.dataset import Dataset
from nnabla_influence.dataset.header import Column
from nnabla_influence.errors import DatasetError
from nnabla_influence.ranking.scores import are_classes
from nnabla_influence.text import listed, with_option

DEFAULT_COLUMN = "y"


@dataclass(frozen=True)
class LabelColumn:
    """The label of every row.

    Attributes:
        column: The column that holds them.
        values: As numbers, in the order of the rows; NaN for one that is not a finite number.
        classes: Where all are whole numbers, how the CSV writes each class, ascending; else None.
    """

    column: Column
    values: Sequence[float]
    classes: dict[float, str] | None

    def new_label(self, text: str, row: int) -> str:
        """Return the label that a reviewer gave to a row, as the CSV writes it.

        Raises:
            ValueError: The column cannot hold it; a predicate that says why.
        """
        value = number(text)
        if self.classes is not None:
            if value not in self.classes:
                raise ValueError(
                    f"is not a class of the column {self.column.cell!r}, which holds"
                    f" {listed(self.classes.values())}; give one of them"
                )
            text = self.classes[value]
        elif any(map(math.isnan, self.values)):
            raise ValueError(
                f"cannot be a label, since the column {self.column.cell!r} holds files or text;"
                f" name the column of the labels {with_option('--label-column', 'label-column')}"
            )
        elif math.isnan(value) or not text.isascii():
            raise ValueError("is not a finite number; correct it")
        if value == self.values[row]:
            raise ValueError("is the row's label already; write keep, or another label")
        return text

    def is_other(self, text: str, row: int) -> bool:
        """Whether a text is known not to be the row's label; spreadsheets round numbers."""
        known = self.values[row]
        is_same = math.isclose(number(text), known, rel_tol=SPREADSHEET_DIGITS)
        return not (math.isnan(known) or is_same)


def read_labels(rows: TrainingRows, name: str | None) -> LabelColumn | None:
    """Read the labels.

    Returns:
        None where no name was given and there is no single column ``y``.

    Raises:
        DatasetError: There is no such column, or more than one.
    """
    column = find_label(rows.dataset, rows.columns, name)
    if column is None:
        return None
    texts = rows.column(column)
    known = {text: number(text) for text in dict.fromkeys(texts)}
    classes: dict[float, str] | None = None
    if are_classes(set(known.values()), len(rows), rows.ranking.scores.predicted):
        written = {value: text for text, value in reversed(known.items())}  # the first one counts
        classes = dict(sorted(written.items()))
    return LabelColumn(column, [known[text] for text in texts], classes)


def find_label(dataset: Dataset, columns: Sequence[Column], name: str | None) -> Column | None:
    """Return the label column.

    Args:
        dataset: The CSV.
        columns: Those of its columns among which it is.
        name: Its variable (``y``) or header cell (``y:label``); None for ``y``.

    Returns:
        None where no name was given and there is no single column ``y``.

    Raises:
        DatasetError: There is no such column, or more than one.
    """
    wanted = DEFAULT_COLUMN if name is None else name
    own = [column for column in columns if not column.is_comment]
    found = [c for c in own if c.cell == wanted] or [c for c in own if c.name == wanted]
    if len(found) == 1 and (found[0].index is None or found[0].cell == wanted):
        return found[0]
    if name is None:
        return None
    problem = f"has {len(found)} columns {name!r}" if found else f"has no column {name!r}"
    if any(c.is_comment and wanted in (c.cell, c.name) for c in columns):
        problem = f"the column {name!r} is a comment and holds no labels"
    raise DatasetError(
        f"{dataset.path}: {problem}; name one of {listed(repr(c.cell) for c in own)}"
        f" {with_option('--label-column', 'label-column')}"
    )


def number(text: str) -> float:
    """Return the finite number that a cell holds, or NaN."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) and "_" not in text else math.nan
