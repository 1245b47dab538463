"""A table that a spreadsheet saved: a CSV of any dialect, or a workbook."""

from __future__ import annotations

import codecs
import csv
import datetime
import itertools
import math
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from nnabla_influence.errors import DatasetError
from nnabla_influence.file_safety import open_archive
from nnabla_influence.files import check_regular
from nnabla_influence.text import cause_text

if TYPE_CHECKING:
    from openpyxl import Workbook

SPREADSHEET_DIGITS = 1e-5
"""The relative error of a number in scientific notation, as spreadsheets round it at the most."""

_SEPARATORS = ",;\t"
_SEPARATOR_LINE = re.compile(r"sep=[,;\t|]?", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_ZIP, _OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


@dataclass(frozen=True)
class Line:
    """One record of the table.

    Attributes:
        number: Number of its first line in the file, from 1.
        cells: Its cells; those at the end may be missing.
    """

    number: int
    cells: Sequence[str]

    def cell(self, position: int) -> str:
        """Return a cell; an empty one where it is missing."""
        return self.cells[position] if position < len(self.cells) else ""


def read_table(path: Path, wanted: Sequence[str]) -> tuple[list[str], Iterator[Line]]:
    """Open the table of a CSV or a workbook (.xlsx), whatever the file's name is.

    CSV: the separator is the one with which the header has the wanted columns; a line such as
    ``sep=;`` before it, which Excel understands, is skipped. UTF-16 is known by its byte-order
    mark. Text that is not UTF-8 is read as Windows' Shift-JIS, or else as Latin-1: the cells that
    count are ASCII or full-width.

    Workbook: one sheet must have the columns. Numbers and the results of formulas become text.

    Args:
        path: The file.
        wanted: Names that must be in the header, in lower case.

    Returns:
        The header's names, stripped and in lower case, and its lines that are not blank.

    Raises:
        DatasetError: It cannot be read, or lacks a column; also while the lines are read.
    """
    lines = (_workbook_lines if _is_workbook(path) else _csv_lines)(path, wanted)
    return list(next(lines).cells), lines


def is_near(shown: str, value: float) -> bool | None:
    """Whether a cell may be a number as a spreadsheet rounds it; None for text and empty cells."""
    text = "".join(unicodedata.normalize("NFKC", shown).split()).replace("\u2212", "-")
    if not _NUMBER.fullmatch(text):
        return None
    mantissa, _, exponent = text.lower().replace(",", ".").partition("e")
    decimals = len(mantissa.partition(".")[2])
    half = float(f"0.5000000001e{int(exponent or 0) - decimals}")
    difference = abs(float(f"{mantissa}e{exponent or 0}") - value)
    is_rounded = difference <= max(half, SPREADSHEET_DIGITS * abs(value))
    return math.isfinite(difference) and is_rounded


def normal(cell: str) -> str:
    """Return a name or a word without what users and spreadsheets add to it."""
    return unicodedata.normalize("NFKC", cell).strip().lower()


def open_file(path: Path) -> BinaryIO:
    """Open a file of a reviewer's.

    Raises:
        DatasetError: It cannot be read.
    """
    try:
        check_regular(path)
        return open(path, "rb")
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read ({error.strerror or error}); check the file and its"
            " permissions"
        ) from error


def _is_workbook(path: Path) -> bool:
    with open_file(path) as file:
        return file.read(4) in (_ZIP, _OLD_EXCEL)


# ------------------------------------------------------------------------------- CSV


def _csv_lines(path: Path, wanted: Sequence[str]) -> Iterator[Line]:
    try:
        with closing(_open_text(path)) as file:
            reader = csv.reader(file, delimiter=_separator(path, file, wanted))
            yield Line(1, _names(_header(reader)))
            number = reader.line_num + 1
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield Line(number, cells)
                number = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(
            f"{path}: cannot be read as CSV ({error}); save it as 'CSV UTF-8'"
        ) from error
    except UnicodeError as error:
        raise DatasetError(f"{path}: is not valid UTF-16; save it as 'CSV UTF-8'") from error


def _open_text(path: Path) -> TextIO:
    with open(path, "rb") as file:
        begin = file.read(2)
    if begin in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return open(path, encoding="utf-16", newline="")
    # Every byte is text in Latin-1.
    encodings = ("utf-8-sig", "cp932", "latin-1")
    found = next(encoding for encoding in encodings if _is_text(path, encoding))
    return open(path, encoding=found, newline="")


def _is_text(path: Path, encoding: str) -> bool:
    try:
        with open(path, encoding=encoding, newline="") as file:
            while file.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return False
    return True


def _separator(path: Path, file: TextIO, wanted: Sequence[str]) -> str:
    names: list[str] = []
    for separator in _SEPARATORS:
        file.seek(0)
        found = _names(_header(csv.reader(file, delimiter=separator)))
        if all(name in found for name in wanted):
            file.seek(0)
            return separator
        names = max(names, found, key=len)
    raise _lacking(path, names, wanted)


def _header(records: Iterator[list[str]]) -> list[str]:
    """Return the first record that is not blank, after a line that names the separator."""
    filled = (cells for cells in records if any(cell.strip() for cell in cells))
    first = next(filled, [])
    return next(filled, []) if _SEPARATOR_LINE.fullmatch("".join(first).strip(" ")) else first


def _names(cells: Sequence[str]) -> list[str]:
    return [normal(cell) for cell in cells]


def _lacking(path: Path, names: Sequence[str], wanted: Sequence[str]) -> DatasetError:
    missing = " and ".join(repr(name) for name in wanted if name not in names)
    shown = ", ".join(map(repr, names[:8])) or "nothing"
    return DatasetError(f"{path}: no column {missing} in the header, which has {shown}; add it")


# -------------------------------------------------------------------------- workbook


def _workbook_lines(path: Path, wanted: Sequence[str]) -> Iterator[Line]:
    try:
        with open(path, "rb") as file:
            yield from _sheet_lines(path, _open_workbook(path, file), wanted)
    except (DatasetError, GeneratorExit):
        raise
    except Exception as error:  # the library raises whatever a damaged file leads to
        raise DatasetError(
            f"{path}: cannot be read as a workbook ({cause_text(error)}); save it as an Excel"
            " workbook (.xlsx) without a password, or as 'CSV UTF-8'"
        ) from error


def _open_workbook(path: Path, file: BinaryIO) -> Workbook:
    try:
        import openpyxl
    except ImportError as error:
        raise DatasetError(
            f"{path}: is a workbook, which this Python cannot read without the package openpyxl;"
            " save the sheet as 'CSV UTF-8'"
        ) from error
    # It does not know all of a spreadsheet's formats, which do not matter here.
    warnings.filterwarnings("ignore", category=UserWarning, module="openpyxl")
    with open_archive(path):
        pass  # It does not unpack to far more than its size.
    return openpyxl.load_workbook(file, read_only=True, data_only=True)


def _sheet_lines(path: Path, book: Workbook, wanted: Sequence[str]) -> Iterator[Line]:
    headers = {}
    for sheet in book.worksheets:
        if hasattr(sheet, "reset_dimensions"):
            sheet.reset_dimensions()  # which not every program writes correctly
        header = next(_filled(sheet), None)
        headers[sheet.title] = _names(header.cells) if header else []
    found = [title for title, names in headers.items() if all(name in names for name in wanted)]
    if not found:
        raise _lacking(path, max(headers.values(), key=len, default=[]), wanted)
    if len(found) > 1:
        raise DatasetError(
            f"{path}: the sheets {' and '.join(map(repr, found))} both have the columns"
            f" {' and '.join(map(repr, wanted))}; delete one of them"
        )
    yield Line(1, headers[found[0]])
    yield from itertools.islice(_filled(book[found[0]]), 1, None)


def _filled(sheet: Any) -> Iterator[Line]:
    for number, values in enumerate(sheet.iter_rows(values_only=True), 1):
        cells = [_text(value) for value in values]
        if any(cell.strip() for cell in cells):
            yield Line(number, cells)


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
