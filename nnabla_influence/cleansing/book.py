"""Read a table from a workbook, as Excel, LibreOffice and others save it."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nnabla_influence.cleansing.table import Line, column_names
from nnabla_influence.errors import DatasetError
from nnabla_influence.file_safety import open_archive

if TYPE_CHECKING:
    from openpyxl import Workbook

_Table = tuple[Any, list[str]]  # a sheet, and the names in its header

_ZIP, _OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


def is_book(path: Path) -> bool:
    """Tell by its first bytes whether a file is a workbook and no CSV."""
    if not path.is_file():  # A pipe would be waited for; who reads a table says so.
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4) in (_ZIP, _OLD_EXCEL)
    except OSError:  # which who reads it says
        return False


def read_book(path: Path, wanted: Sequence[str]) -> tuple[list[str], Iterator[Line]]:
    """Open the table of a workbook that has some columns.

    Where several have them, it is the one with something in the last of the columns.

    Args:
        path: The file, .xlsx.
        wanted: Names that must stand in the header, in lower case.

    Returns:
        The header's names, stripped and in lower case, and its rows that are not blank. Numbers
        and formulas' results are texts, as a CSV has them.

    Raises:
        DatasetError: It cannot be read, or no sheet has the columns, or
            several have something in the last of them; also while rows are taken.
    """
    lines = _lines(path, wanted)
    return list(next(lines).cells), lines


def _lines(path: Path, wanted: Sequence[str]) -> Iterator[Line]:
    try:
        with open(path, "rb") as file:
            yield from _found(path, _opened(path, file), wanted)
    except (DatasetError, GeneratorExit):
        raise
    except Exception as error:  # the library raises whatever a damaged file leads to
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        raise DatasetError(
            f"{path}: cannot be read as a workbook ({cause}); save it as an Excel workbook (.xlsx)"
            " or as 'CSV UTF-8'"
        ) from error


def _opened(path: Path, file: BinaryIO) -> Workbook:
    try:
        import openpyxl
    except ImportError as error:
        raise DatasetError(
            f"{path}: is a workbook, which this Python cannot read without the package openpyxl;"
            " save the sheet as 'CSV UTF-8'"
        ) from error
    if file.read(len(_OLD_EXCEL)) == _OLD_EXCEL:
        raise DatasetError(
            f"{path}: is a workbook of Excel 97-2003, or has a password; save it as an Excel"
            " workbook (.xlsx) without one, or as 'CSV UTF-8'"
        )
    with open_archive(path):
        pass  # It does not grow far beyond its size.
    return openpyxl.load_workbook(file, read_only=True, data_only=True)


def _found(path: Path, book: Workbook, wanted: Sequence[str]) -> Iterator[Line]:
    names: list[str] = []
    tables = []
    for sheet in book.worksheets:
        if hasattr(sheet, "reset_dimensions"):
            sheet.reset_dimensions()  # which not every program writes right
        header = next(_filled(sheet), None)
        found = [] if header is None else column_names(header.cells)
        if all(name in found for name in wanted):
            tables.append((sheet, found))
        names = names or found
    if not tables:
        missing = " and ".join(repr(name) for name in wanted if name not in names)
        shown = ", ".join(map(repr, names[:8])) or "nothing"
        raise DatasetError(
            f"{path}: no sheet has the columns {' and '.join(map(repr, wanted))} in its first row;"
            f" the first sheet has {shown}; add {missing or 'them'} to it"
        )
    sheet, found = _filled_in(path, tables, wanted[-1]) if len(tables) > 1 else tables[0]
    yield Line(1, found)
    rows = _filled(sheet)
    next(rows)
    yield from rows


def _filled_in(path: Path, tables: Sequence[_Table], column: str) -> _Table:
    """Return the one of several tables, as of a copied sheet, that has something in a column."""
    filled = []
    for sheet, found in tables:
        rows = _filled(sheet)
        next(rows)
        if any(row.cell(found.index(column)).strip() for row in rows):
            filled.append((sheet, found))
    if len(filled) > 1:
        sheets = " and ".join(repr(sheet.title) for sheet, _ in filled)
        raise DatasetError(
            f"{path}: the sheets {sheets} both have something in the column {column!r}; keep the"
            " decisions on one of them"
        )
    return filled[0] if filled else tables[0]


def _filled(sheet: Any) -> Iterator[Line]:
    for number, values in enumerate(_silently(sheet.iter_rows(values_only=True)), 1):
        cells = [_text(value) for value in values]
        if any(cell.strip() for cell in cells):
            yield Line(number, cells)


def _silently(rows: Iterator[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    """Yield rows without the library's warnings of looks that it does not know."""
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            row = next(rows, None)
        if row is None:
            return
        yield row


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return str(value)
