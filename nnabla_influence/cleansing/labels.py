"""The label column of a training CSV and its classes, found without a network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nnabla_influence.cleansing.likeness import SPREADSHEET_DIGITS
from nnabla_influence.cleansing.source import Source
from nnabla_influence.dataset.header import Column
from nnabla_influence.errors import DatasetError
from nnabla_influence.ranking.classes import are_classes
from nnabla_influence.text import listed
from nnabla_influence.wording import with_option

DEFAULT_COLUMN = "y"
_LISTED = 8


@dataclass(frozen=True)
class Labels:
    """The label of every row.

    Attributes:
        column: The column that they stand in.
        values: As numbers, in the order of the rows; None for one that is no finite number.
        classes: Where all are whole numbers, how the CSV writes each class, ascending; else None.
    """

    column: Column
    values: Sequence[float | None]
    classes: dict[float, str] | None

    def new_label(self, text: str, row: int) -> str:
        """Return the label that a person gave to a row, as the CSV writes it.

        Raises:
            ValueError: The column cannot hold it; a predicate that says why.
        """
        value = number(text)
        if self.classes is not None:
            if value not in self.classes:
                raise ValueError(
                    f"is no class of the column {self.column.cell!r}, which holds"
                    f" {listed_classes(self.classes.values())}; give one of them"
                )
            text = self.classes[value]
        elif any(known is None for known in self.values):
            raise ValueError(
                f"cannot be a label, since the column {self.column.cell!r} holds files or text;"
                f" name the column of the labels {with_option('--label-column', 'label-column')}"
            )
        elif value is None or not text.isascii():
            raise ValueError("is not a finite number; correct it")
        if value == self.values[row]:
            raise ValueError("is the row's label already; write keep, or another label")
        return text

    def is_other(self, text: str, row: int) -> bool:
        """Tell whether a text is known not to be the row's label; spreadsheets round numbers."""
        value, known = number(text), self.values[row]
        if known is None:
            return False
        return value is None or not math.isclose(value, known, rel_tol=SPREADSHEET_DIGITS)


def read_labels(source: Source, name: str | None) -> Labels | None:
    """Read the labels.

    Args:
        source: The training CSV.
        name: The label column's variable (``y``) or header cell (``y:label``); None for ``y``.

    Returns:
        None where no name was given and there is no single column ``y``.

    Raises:
        DatasetError: There is no such column, or more than one.
    """
    column = _find(source, name)
    if column is None:
        return None
    texts = source.column(column)
    known: dict[str, float | None] = {text: number(text) for text in dict.fromkeys(texts)}
    classes: dict[float, str] = {}
    for text, value in known.items():
        if value is not None:
            classes.setdefault(value, text)
    values = {math.nan if value is None else value for value in known.values()}
    are_whole = are_classes(values, len(source), source.ranking.scores.predicted)
    return Labels(
        column,
        [known[text] for text in texts],
        dict(sorted(classes.items())) if are_whole else None,
    )


def number(text: str) -> float | None:
    """Return the finite number that a cell holds, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def listed_classes(texts: Iterable[str]) -> str:
    """Return classes as people list them: ``0 to 9``, or the first of them."""
    texts = list(texts)
    if len(texts) > 2 and texts == [str(int(texts[0]) + i) for i in range(len(texts))]:
        return f"{texts[0]} to {texts[-1]}"
    return listed(texts, _LISTED)


def _find(source: Source, name: str | None) -> Column | None:
    wanted = DEFAULT_COLUMN if name is None else name
    own = [column for column in source.columns if not column.is_comment]
    found = [c for c in own if c.cell == wanted] or [c for c in own if c.name == wanted]
    if len(found) == 1 and (found[0].index is None or found[0].cell == wanted):
        return found[0]
    if name is None:
        return None
    cells = listed((repr(column.cell) for column in own), _LISTED)
    if any(column.is_comment and wanted in (column.cell, column.name) for column in source.columns):
        raise DatasetError(
            f"{source.dataset.path}: the column {name!r} is a comment, which nnabla does not read,"
            f" and so holds no labels; name one of {cells}"
        )
    problem = f"has {len(found)} columns" if found else "has no column"
    raise DatasetError(
        f"{source.dataset.path}: {problem} {name!r} to take labels from; name one of {cells}"
    )
