"""Cells that a spreadsheet shows and does not run.

A spreadsheet treats a cell that begins with one of a few signs as a formula, which may fetch data
from elsewhere. A prefix makes the cell text there, while nnabla still reads the same: `./` before a
file's path, a space before a number, an apostrophe before a comment, which nnabla never reads. The
prefix can be removed from any cell: if there was one already, there are two.

A name in the header is not changed, since nnabla identifies the column by it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from nnabla_influence.dataset.header import Column
from nnabla_influence.dataset.values import is_number

# The signs, also in the widths of Asian scripts and as the minus of mathematics.
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212"
_BEGIN = rf"""[\s"']*[{_SIGNS}\t\r\n]"""
# Where decimal commas are used, a spreadsheet splits at semicolons, also within a cell.
_WITHIN = rf"""["']*[{_SIGNS}]"""

_PLAIN_NUMBER = re.compile(r" *[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *")
_FILE = re.compile(rf"(?:\./)*{_BEGIN}")
_PREFIXED_FILE = re.compile(rf"\./(?:\./)*{_BEGIN}")
_COMMENT = re.compile(rf"(?:\A(?={_BEGIN})|(?<=[;\t\r\n])(?={_WITHIN}))")
_PREFIXED_COMMENT = re.compile(rf"(?:\A'(?={_BEGIN})|(?<=[;\t\r\n])'(?={_WITHIN}))")
_SAFE_BEGIN = frozenset("0123456789" + string.ascii_letters)


def harmless(column: Column, cell: str) -> str:
    """Return a cell for a CSV that users open in a spreadsheet; nnabla reads the same from it."""
    if column.is_comment:
        return cell if _PLAIN_NUMBER.fullmatch(cell) else _COMMENT.sub("'", cell)
    if not _FILE.match(cell) or _PLAIN_NUMBER.fullmatch(cell):
        return cell
    return (" " if is_number(cell) else "./") + cell


def restored(column: Column, cell: str) -> str:
    """Undo `harmless`; any other cell is returned unchanged."""
    if column.is_comment:
        return cell if _PLAIN_NUMBER.fullmatch(cell) else _PREFIXED_COMMENT.sub("", cell)
    if cell[:1] == " " and _FILE.match(cell, 1):
        return cell if _PLAIN_NUMBER.fullmatch(cell) or not is_number(cell) else cell[1:]
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
