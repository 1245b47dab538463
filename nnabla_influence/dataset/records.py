"""The records of a CSV file, and the place of each, to read one alone."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nnabla_influence.errors import DatasetError
from nnabla_influence.files import check_regular

_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Record:
    """One record of a CSV file.

    Attributes:
        line: Number of its first line in the file, from 1.
        start: Byte offset of its first character.
        end: Byte offset after its line end.
        cells: Its cells; none for a blank line.
    """

    line: int
    start: int
    end: int
    cells: list[str]


class RecordReader:
    """Reads a CSV file from its beginning, record by record.

    The text is decoded as nnabla decodes it (UTF-8, with or without a BOM) and parsed by Python's
    ``csv`` module. Line ends may be LF, CRLF or CR; those within a quoted cell stay as they are.

    Attributes:
        fingerprint: A hash of the bytes read so far; of the whole file at the end.
        is_ascii: Whether the text read so far is ASCII.
    """

    def __init__(self, path: Path):
        self._path = path
        self._hash = hashlib.blake2b(digest_size=16)
        self._line = 0
        self._end = 0
        self.is_ascii = True

    @property
    def fingerprint(self) -> str:  # noqa: D102 (described above)
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[Record]:
        try:
            check_regular(self._path)
            with open(self._path, "rb") as file:
                reader = csv.reader(self._lines(file))
                while True:
                    line, start = self._line + 1, self._end
                    try:
                        cells = next(reader)
                    except StopIteration:
                        return
                    except csv.Error as error:
                        raise DatasetError(
                            f"{self._path}, line {line}: cannot be read as CSV ({error}); a cell"
                            " may have an opening quote without a closing one"
                        ) from error
                    yield Record(line, start, self._end, cells)
        except OSError as error:
            raise DatasetError(
                f"{self._path}: cannot be read ({error.strerror or error}); check the file and"
                " its permissions"
            ) from error

    def _lines(self, file: BinaryIO) -> Iterator[str]:
        """Yield the lines decoded, keeping count of lines and bytes handed out."""
        for line in _split_lines(self._hashed_blocks(file)):
            self._line += 1
            self._end += len(line)
            if self._line == 1 and line.startswith(_BOM):
                line = line[len(_BOM) :]
                if not line:
                    continue
            self.is_ascii = self.is_ascii and line.isascii()
            yield decode(line, self._path, self._line)

    def _hashed_blocks(self, file: BinaryIO) -> Iterator[bytes]:
        while block := file.read(_BLOCK):
            self._hash.update(block)
            yield block


def decode(text: bytes, path: Path, line: int) -> str:
    """Decode a piece of a CSV file.

    Raises:
        DatasetError: It is not UTF-8.
    """
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}, line {line}: is not UTF-8 text; save the file as 'CSV UTF-8'"
            " (Excel's plain 'CSV' is in the encoding of the computer, such as Shift-JIS)"
        ) from error


def _split_lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    pending = b""
    for block in blocks:
        # bytes.splitlines splits at LF, CRLF and CR only, as text files do. The last piece waits:
        # it may be incomplete, or end in the CR of a CRLF.
        *lines, pending = (pending + block).splitlines(keepends=True)
        yield from lines
    if pending:
        yield pending


@dataclass(frozen=True)
class RecordIndex:
    """The places of the records of a CSV file.

    Attributes:
        path: The file.
        starts: Byte offsets of the records, header excluded, shape (N,), int64.
        ends: Byte offsets after them, shape (N,), int64.
        lines: Numbers of their first lines, from 1, shape (N,), int64.
        size: Length of the file in bytes when it was read.
        modified: Its modification time in nanoseconds.
        is_ascii: Whether its text, header included, is ASCII.
    """

    path: Path
    starts: np.ndarray
    ends: np.ndarray
    lines: np.ndarray
    size: int
    modified: int
    is_ascii: bool

    def __len__(self) -> int:
        return len(self.starts)

    def cells(self, row: int) -> list[str]:
        """Return the cells of one record, untouched, read from the file.

        Raises:
            DatasetError: The file has changed since it was opened, or does not exist.
        """
        with self._reopened() as file:
            return self._read(file, row)

    def iter_cells(self, rows: Iterable[int] | None = None) -> Iterator[list[str]]:
        """Yield the cells of these records, of every one by default, untouched.

        Raises:
            DatasetError: The file has changed since it was opened, or does not exist.
        """
        with self._reopened() as file:
            for row in range(len(self)) if rows is None else rows:
                yield self._read(file, int(row))

    @contextlib.contextmanager
    def _reopened(self) -> Iterator[BinaryIO]:
        # Opened anew each time: an open file could not be replaced on Windows.
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                if (status.st_size, status.st_mtime_ns) != (self.size, self.modified):
                    raise DatasetError(
                        f"{self.path}: has changed since it was opened; run the command again"
                    )
                yield file
        except OSError as error:
            raise DatasetError(
                f"{self.path}: can no longer be read ({error.strerror or error})"
            ) from error

    def _read(self, file: BinaryIO, row: int) -> list[str]:
        start, end, line = int(self.starts[row]), int(self.ends[row]), int(self.lines[row])
        file.seek(start)
        parts = _split_lines(iter([file.read(end - start)]))
        return next(csv.reader(decode(part, self.path, line) for part in parts))
