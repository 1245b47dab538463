"""The header of a dataset CSV: ``NAME[__INDEX][:LABEL]`` a column.

The grammar is Neural Network Console's, read the way nnabla's ``CsvDataSource`` reads it: the
first ``:`` starts the label, and before it the first ``__`` starts the index. The elements of a
vector follow the order of the columns; the indices themselves are not looked at. A column that
starts with ``#`` is a comment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnabla_influence.dataset.records import Record
from nnabla_influence.errors import DatasetError
from nnabla_influence.text import listed


@dataclass(frozen=True)
class Column:
    """One column of a dataset CSV.

    Attributes:
        position: Number of the column, from 0.
        cell: The header cell, untouched.
        name: Name of the variable that the column belongs to.
        index: What follows ``__``, or None where the column is a variable of its own.
        label: What follows ``:``, or None.
        is_comment: Whether nnabla leaves the column out.
    """

    position: int
    cell: str
    name: str
    index: str | None
    label: str | None
    is_comment: bool


def parse_column(position: int, cell: str) -> Column:
    """Return the column that a header cell describes."""
    variable, colon, label = cell.partition(":")
    name, underscores, index = variable.partition("__")
    return Column(
        position=position,
        cell=cell,
        name=name,
        index=index if underscores else None,
        label=label if colon else None,
        is_comment=cell.startswith("#"),
    )


def parse_header(cells: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of a header.

    Raises:
        ValueError: A column has no name, which nnabla cannot read; its number is given.
    """
    for position, cell in enumerate(cells):
        if not cell:
            raise ValueError(f"column {position + 1} has no name; give it one, or remove it")
    return tuple(parse_column(position, cell) for position, cell in enumerate(cells))


def columns_of(columns: Sequence[Column], name: str) -> tuple[Column, ...]:
    """Return the columns that make up the variable ``name``, in their order.

    Raises:
        ValueError: There is none, or more than one that is not an element; it lists the columns.
    """
    found = tuple(c for c in columns if not c.is_comment and c.name == name)
    if not found:
        names = list(dict.fromkeys(c.name for c in columns if not c.is_comment))
        raise ValueError(
            f"the network's input {name!r} has no column; the file has"
            f" {listed(map(repr, names)) or 'comments only'}; rename a column, or give another CSV"
        )
    if len(found) > 1 and any(c.index is None for c in found):
        cells = listed(repr(c.cell) for c in found)
        raise ValueError(f"variable {name!r} occurs more than once ({cells}); keep one column")
    return found


def read_header(
    path: Path, records: Iterator[Record], names: Sequence[str] | None = None
) -> tuple[tuple[Column, ...], dict[str, tuple[Column, ...]]]:
    """Return all columns of a dataset CSV, and those of the variables ``names`` (all by default).

    Raises:
        DatasetError: There is no header, a column has no name, or a variable has no columns
            or ambiguous ones.
    """
    header = next(records, None)
    if header is None or not header.cells:
        raise DatasetError(f"{path}: is empty; it needs a header line and rows")
    try:
        columns = parse_header(header.cells)
        if names is None:
            names = list(dict.fromkeys(c.name for c in columns if not c.is_comment))
        return columns, {name: columns_of(columns, name) for name in names}
    except ValueError as error:
        reason = _other_separator(header.cells) or error
        raise DatasetError(f"{path}, line 1: {reason}") from error


def _other_separator(cells: Sequence[str]) -> str | None:
    """Return what is wrong with a header whose columns are not separated by commas."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if sum(cell.count(separator) for cell in cells) >= len(cells):
            return (
                f"its columns are separated by {name}, those of a dataset CSV by commas; save it"
                " with commas, and numbers with a decimal point"
            )
    return None
