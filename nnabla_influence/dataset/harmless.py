"""Cells that a spreadsheet shows and does not run.

A spreadsheet takes a cell that begins with one of a few signs for a formula, which may fetch what
it likes from elsewhere. The same cell can be written so that it is text there and so that nnabla
still reads what it read: a file's path with `./` in front, a number with a space, and a comment,
which nnabla never reads, with an apostrophe. What was put in front can be taken away again, for any
cell: where there was such a beginning already, there are two of them then.

A name in the header cannot be changed, since it is what nnabla knows the column by.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from nnabla_influence.dataset.header import Column

# The signs, also in the widths of Asian scripts and as the minus of mathematics.
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212"
_BEGIN = rf"""[\s"']*[{_SIGNS}\t\r\n]"""
# A spreadsheet of a country with decimal commas splits at semicolons, also within a cell of ours.
_WITHIN = rf"""["']*[{_SIGNS}]"""

_PLAIN_NUMBER = re.compile(r" *[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *")
_FILE = re.compile(rf"(?:\./)*{_BEGIN}")
_PREFIXED_FILE = re.compile(rf"\./(?:\./)*{_BEGIN}")
_COMMENT = re.compile(rf"(?:\A(?={_BEGIN})|(?<=[;\t\r\n])(?={_WITHIN}))")
_PREFIXED_COMMENT = re.compile(rf"(?:\A'(?={_BEGIN})|(?<=[;\t\r\n])'(?={_WITHIN}))")
_SAFE_BEGIN = frozenset("0123456789" + string.ascii_letters)


def harmless(column: Column, cell: str) -> str:
    """Return what may stand for a cell in a CSV that people open in a spreadsheet.

    nnabla reads the same number or the same file from it.

    Args:
        column: The cell's column.
        cell: The cell.
    """
    if column.is_comment:
        return cell if _PLAIN_NUMBER.fullmatch(cell) else _COMMENT.sub("'", cell)
    if not _FILE.match(cell) or _PLAIN_NUMBER.fullmatch(cell):
        return cell
    return (" " if _is_number(cell) else "./") + cell


def restored(column: Column, cell: str) -> str:
    """Return the cell that `harmless` made this one of; any other cell as it is.

    Args:
        column: The cell's column.
        cell: The cell.
    """
    if column.is_comment:
        return cell if _PLAIN_NUMBER.fullmatch(cell) else _PREFIXED_COMMENT.sub("", cell)
    if cell[:1] == " " and _FILE.match(cell, 1):
        return cell if _PLAIN_NUMBER.fullmatch(cell) or not _is_number(cell) else cell[1:]
    return cell[2:] if cell[:1] == "." and _PREFIXED_FILE.match(cell) else cell


def harmless_row(columns: Sequence[Column], cells: Sequence[str]) -> list[str]:
    """Return the cells of a row as `harmless` makes them; quickly, for rows of many cells."""
    row = "".join(cells)
    if any(separator in row for separator in ";\t\r\n"):
        return list(map(harmless, columns, cells))
    return [
        cell if cell[:1] in _SAFE_BEGIN or _PLAIN_NUMBER.fullmatch(cell) else harmless(column, cell)
        for column, cell in zip(columns, cells)
    ]


def restored_row(columns: Sequence[Column], cells: Sequence[str]) -> list[str]:
    """Return the cells of a row as `restored` gives them; quickly, for rows of many cells."""
    row = "\0" + "\0".join(cells)
    if not ("\0./" in row or "\0 " in row or "'" in row):
        return list(cells)
    return list(map(restored, columns, cells))


def _is_number(cell: str) -> bool:
    """Tell whether nnabla reads a cell as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
