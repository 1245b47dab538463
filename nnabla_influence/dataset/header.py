"""The header of a dataset CSV: ``NAME[__INDEX][:LABEL]`` a column.

The grammar is Neural Network Console's, read the way nnabla's ``CsvDataSource`` reads it: the
first ``:`` starts the label, and before it the first ``__`` starts the index. The elements of a
vector follow the order of the columns; the indices themselves are not looked at. A column that
starts with ``#`` is a comment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
        ValueError: A column has no name (nnabla cannot read such a file); says which one.
    """
    for position, cell in enumerate(cells):
        if not cell:
            raise ValueError(f"column {position + 1} has no name; give it one, or remove it")
    return tuple(parse_column(position, cell) for position, cell in enumerate(cells))


def other_separator(cells: Sequence[str]) -> str | None:
    """Return what to say of a header whose columns are not separated by commas, if it is one."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if sum(cell.count(separator) for cell in cells) >= len(cells):
            return (
                f"its columns are separated by {name}, and those of a dataset CSV by commas; save"
                " it with commas, and numbers with a decimal point"
            )
    return None


def columns_of(columns: Sequence[Column], name: str) -> tuple[Column, ...]:
    """Return the columns that make up the variable ``name``, in the order they stand in.

    Raises:
        ValueError: There is none, or several where one is meant; says what there is.
    """
    found = tuple(c for c in columns if not c.is_comment and c.name == name)
    if not found:
        for column in columns:
            if not column.is_comment and column.name.strip() == name:
                raise ValueError(
                    f"the network's input {name!r} has no column, since column"
                    f" {column.position + 1}, {column.cell!r}, has a space before or behind its"
                    " name; remove it there"
                )
        names = list(dict.fromkeys(c.name for c in columns if not c.is_comment))
        raise ValueError(
            f"the network's input {name!r} has no column; the file has {_listed(names)};"
            " rename a column, or give another CSV"
        )
    if len(found) > 1 and any(c.index is None for c in found):
        cells = [c.cell for c in found]
        raise ValueError(
            f"variable {name!r} stands there more than once ({_listed(cells)});"
            " keep one of these columns"
        )
    return found


def _listed(names: Sequence[str], limit: int = 8) -> str:
    if not names:
        return "no columns but comments"
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
