"""Read a CSV that a spreadsheet may have saved: its own separators, encodings and blank lines."""

from __future__ import annotations

import codecs
import csv
import locale
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from nnabla_influence.errors import DatasetError

_SEPARATORS = ",;\t"
_SEPARATOR_LINE = re.compile(r"sep=[,;\t|]?", re.IGNORECASE)
_FULL_WIDTH_ZERO = "\uff10"


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
    """Open a table.

    The separator is the one that makes the wanted columns of the header; a line such as ``sep=;``
    before it, which Excel understands, is skipped. UTF-16 is known by its byte-order mark; what is
    no UTF-8 is read as the computer's own encoding, if that has full-width letters, or as Windows'
    Shift-JIS. The cells that are asked for are ASCII, or full-width, so every other encoding that
    contains ASCII will do as well: what cannot be decoded is escaped.

    Args:
        path: The file.
        wanted: Names that must stand in the header, in lower case.

    Returns:
        The header's names, stripped and in lower case, and its lines that are not blank.

    Raises:
        DatasetError: It cannot be read, or lacks a column; also while the lines are taken.
    """
    lines = _lines(path, wanted)
    return list(next(lines).cells), lines


def _lines(path: Path, wanted: Sequence[str]) -> Iterator[Line]:
    try:
        with closing(_open(path)) as file:
            separator = _separator(path, file, wanted)
            reader = csv.reader(file, delimiter=separator)
            yield Line(1, column_names(_header(reader)))
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
        raise DatasetError(f"{path}: is broken UTF-16 text; save it as 'CSV UTF-8'") from error
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read ({error.strerror or error}); check the file and its"
            " permissions"
        ) from error


def _open(path: Path) -> TextIO:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DatasetError(f"{path}: is a pipe or a device, which is not read; give a file")
    with open(path, "rb") as file:
        begin = file.read(2)
    if begin in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return open(path, encoding="utf-16", newline="")
    for encoding in ("utf-8-sig", *_full_width_encodings()):
        if _is_text(path, encoding):
            return open(path, encoding=encoding, newline="")
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _full_width_encodings() -> Iterator[str]:
    own = locale.getpreferredencoding(False)
    try:
        # Others, such as Windows' western one, take any bytes for text and help nobody here.
        if _FULL_WIDTH_ZERO.encode(own) and codecs.lookup(own).name != "utf-8":
            yield own
    except (LookupError, UnicodeError):
        pass
    yield "cp932"


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
        found = column_names(_header(csv.reader(file, delimiter=separator)))
        if all(name in found for name in wanted):
            file.seek(0)
            return separator
        names = max(names, found, key=len)
    if not names:
        raise DatasetError(
            f"{path}: is empty; it needs a header line with {' and '.join(map(repr, wanted))}"
        )
    missing = " and ".join(repr(name) for name in wanted if name not in names)
    shown = ", ".join(map(repr, names[:8]))
    raise DatasetError(f"{path}: has no column {missing}; it has {shown}; add it to the header")


def _header(records: Iterator[list[str]]) -> list[str]:
    """Return the first record that is not blank, after a line that names the separator."""
    there = (cells for cells in records if any(cell.strip() for cell in cells))
    first = next(there, [])
    return next(there, []) if _SEPARATOR_LINE.fullmatch("".join(first).strip(" ")) else first


def column_names(cells: Sequence[str]) -> list[str]:
    """Return a header's names without what people and spreadsheets add to them."""
    return [unicodedata.normalize("NFKC", cell).strip().lower() for cell in cells]
