"""Read a CSV that a spreadsheet may have saved: its own separators, encodings and blank lines."""

from __future__ import annotations

import codecs
import csv
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from nnabla_influence.errors import DatasetError

_SEPARATORS = ",;\t"


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

    The separator is the one that makes the wanted columns of the header. Only ASCII cells are
    asked for, so every encoding that contains ASCII will do (UTF-8, Windows', Shift-JIS): what
    cannot be decoded is escaped. UTF-16 is known by its byte-order mark.

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
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _separator(path: Path, file: TextIO, wanted: Sequence[str]) -> str:
    names: list[str] = []
    for separator in _SEPARATORS:
        file.seek(0)
        found = _names(_header(csv.reader(file, delimiter=separator)))
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
    """Return the first record that is not blank."""
    return next((cells for cells in records if any(cell.strip() for cell in cells)), [])


def _names(cells: Sequence[str]) -> list[str]:
    return [unicodedata.normalize("NFKC", cell).strip().lower() for cell in cells]
