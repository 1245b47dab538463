"""The first pass over a dataset CSV: its form, and every cell of the network's inputs."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.dataset.header import Column, read_header
from nnabla_influence.dataset.records import Record, RecordIndex, RecordReader
from nnabla_influence.dataset.store import ColumnSpec
from nnabla_influence.dataset.values import CellError, CellReader, as_number, file_of, is_number
from nnabla_influence.errors import DatasetError
from nnabla_influence.files import file_hash, is_foreign


@dataclass(frozen=True)
class Variable:
    """How one input of the network is made from columns.

    Attributes:
        spec: What the network expects.
        columns: The variable's columns, in their order.
    """

    spec: ColumnSpec
    columns: tuple[Column, ...]

    @property
    def is_vector(self) -> bool:
        """Whether the columns are elements of a vector."""
        return self.columns[0].index is not None

    def cells(self, record: Record) -> list[str]:
        """Return the variable's cells of a record."""
        return [record.cells[column.position] for column in self.columns]


@dataclass(frozen=True)
class Scan:
    """The result of the first pass.

    Attributes:
        path: The CSV, absolute.
        columns: Its columns.
        variables: The network's inputs.
        records: The places of the rows in the file.
        fingerprint: A hash of the CSV's content.
        files_fingerprint: A hash of size and times of every file that it names, including the
            time of its last status change, which programs cannot set. (On Windows: of its
            content.)
    """

    path: Path
    columns: tuple[Column, ...]
    variables: tuple[Variable, ...]
    records: RecordIndex
    fingerprint: str
    files_fingerprint: str

    def located(self, row: int, variable: Variable, error: CellError) -> DatasetError:
        """Return an error that names the place of a variable's value."""
        row = row if error.row is None else error.row
        cell = None
        if not variable.is_vector:
            cell = self.records.cells(row)[variable.columns[0].position]
        line = int(self.records.lines[row])
        return located(self.path, line, row, variable.columns[0], cell, error)


def scan_csv(path: Path, specs: Sequence[ColumnSpec], reader: CellReader) -> Scan:
    """Read a CSV once, without decoding the files that it names.

    Raises:
        DatasetError: The CSV is not a dataset, or a cell cannot be used.
    """
    status = path.stat()
    csv_reader = RecordReader(path)
    records = iter(csv_reader)
    columns, by_name = read_header(path, records, [spec.name for spec in specs])
    variables = tuple(Variable(spec, by_name[spec.name]) for spec in specs)
    starts, ends, lines = array("q"), array("q"), array("q")
    files = hashlib.blake2b(digest_size=16)
    blank: Record | None = None
    for record in records:
        if not record.cells:
            # After the last row it does no harm.
            blank = blank or record
            continue
        row = len(starts)
        _check_form(path, record, row, len(columns), blank)
        for variable in variables:
            if not _all_numbers(variable.cells(record)):
                for file, found in _files(path, record, row, variable, reader):
                    files.update(_stamp(file, found))
        starts.append(record.start)
        ends.append(record.end)
        lines.append(record.line)
    if not starts:
        raise DatasetError(f"{path}: has a header but no rows; add rows")
    index = RecordIndex(
        path=path,
        starts=np.frombuffer(starts, np.int64),
        ends=np.frombuffer(ends, np.int64),
        lines=np.frombuffer(lines, np.int64),
        size=status.st_size,
        modified=status.st_mtime_ns,
        is_ascii=csv_reader.is_ascii,
    )
    return Scan(path, columns, variables, index, csv_reader.fingerprint, files.hexdigest())


def _all_numbers(cells: Sequence[str]) -> bool:
    """Whether all cells are finite numbers; quickly, for large tables."""
    try:
        return math.isfinite(sum(map(float, cells)))
    except ValueError:
        return False


def _stamp(file: str, status: os.stat_result) -> bytes:
    if sys.platform == "win32":
        # There only the content reveals that a program set the time back.
        with contextlib.suppress(OSError):  # The decoder reports it.
            return b"%d %s\n" % (status.st_size, file_hash(file).encode())
    return b"%d %d %d\n" % (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _files(
    path: Path, record: Record, row: int, variable: Variable, reader: CellReader
) -> Iterator[tuple[str, os.stat_result]]:
    for column in variable.columns:
        cell = record.cells[column.position]
        try:
            if as_number(cell) is None:
                yield file_of(cell, str(path.parent)), reader.status(cell)
        except CellError as error:
            shown = _of_label(error, cell, variable.spec.n_classes)
            raise located(path, record.line, row, column, cell, shown) from error


def _of_label(error: CellError, cell: str, n_classes: int | None) -> CellError:
    """Return the error, or for a class's name one that says how to number classes."""
    if is_number(cell) or n_classes is None or not cell.strip() or "." in cell or "://" in cell:
        return error
    return CellError(
        f"is not a number; replace each class by a whole number from 0 to {n_classes - 1}, in every"
        " row of the column"
    )


def _check_form(path: Path, record: Record, row: int, width: int, blank: Record | None) -> None:
    if blank is not None:
        raise DatasetError(
            f"{path}, line {blank.line}: is empty, which nnabla reads as a row without cells;"
            " remove the line"
        )
    if len(record.cells) != width:
        raise DatasetError(
            f"{path}, line {record.line}, datasource_index {row}: has {len(record.cells)} cells,"
            f" the header has {width}; correct the row (a cell with a comma needs quotes)"
        )


def located(
    path: Path, line: int, row: int, column: Column, cell: str | None, error: CellError
) -> DatasetError:
    """Return an error that names the place; for a vector's, ``cell`` is None."""
    cell = cell if error.cell is None else error.cell
    subject = "the vector"
    if cell is not None:
        subject = "the cell" if not cell.strip() else _subject(cell, str(path.parent))
    return DatasetError(
        f"{path}, line {line}, datasource_index {row}, column {column.cell!r}: {subject} {error}"
    )


def _subject(cell: str, folder: str) -> str:
    if is_number(cell):
        return repr(cell[:60])
    if is_foreign(cell):
        return f"the file {cell} (a path of another machine)"
    is_path = "." in cell and "://" not in cell
    return f"the file {file_of(cell, folder)}" if is_path else repr(cell[:60])
