"""Unsafe inputs of nnabla_cli: datasets and caches that would run code or reach the web.

nnabla unpickles arrays, which runs code that somebody may have put there, and downloads addresses.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from nnabla_influence.dataset.header import read_header
from nnabla_influence.dataset.records import RecordReader
from nnabla_influence.dataset.scan import located
from nnabla_influence.dataset.values import CellError, extension_of, file_of, is_number
from nnabla_influence.definition import Definition
from nnabla_influence.errors import DatasetError
from nnabla_influence.file_safety import check_array, check_content
from nnabla_influence.files import check_regular
from nnabla_influence.hdf5 import open_checked
from nnabla_influence.text import cause_text

_KINDS = (".npy", ".h5")
_HDF5 = b"\x89HDF\r\n\x1a\n"


def check_datasets(definition: Definition) -> None:
    """Refuse datasets that would run code, reach the web or block when nnabla_cli reads them.

    Raises:
        DatasetError: A dataset is unsafe; names the file, and row and column of a CSV.
    """
    beside = definition.path.parent
    for dataset in definition.proto.dataset:
        for name in (dataset.uri, dataset.cache_dir):
            if "://" in name:
                raise DatasetError(
                    f"{definition.path}: the dataset {dataset.name!r} is at a web address, {name};"
                    " download it and give the path of the copy"
                )
        # As train finds it, and as nnabla_cli does; they report what is missing.
        for path in {Path(os.path.abspath(folder / dataset.uri)) for folder in (beside, Path())}:
            if path.exists() and not path.is_dir():
                check_files(path)
        if dataset.cache_dir:
            for folder in (beside / dataset.cache_dir, Path(dataset.cache_dir)):
                check_cache(folder)


def check_files(path: Path, n_rows: int | None = None) -> None:
    """Refuse unsafe files in every column of the first ``n_rows``: nnabla reads all of them.

    Missing files are left to nnabla.

    Raises:
        DatasetError: There is such a file, at this row and column; or the CSV cannot be read.
    """
    records = iter(RecordReader(path))
    columns = [c for c in read_header(path, records, [])[0] if not c.is_comment]
    folder = os.path.dirname(str(path).replace("\\", "/"))
    checked: set[str] = set()
    for row, record in enumerate(islice(records, n_rows)):
        for column in columns:
            cell = record.cells[column.position] if column.position < len(record.cells) else ""
            if not cell or is_number(cell) or cell in checked:
                continue
            try:
                _check_cell(cell, folder)
            except CellError as error:
                raise located(path, record.line, row, column, cell, error) from error
            checked.add(cell)


def _check_cell(cell: str, folder: str) -> None:
    # As nnabla finds it: its reading of the CSV turns line ends within a cell into LF.
    text = cell.replace("\r\n", "\n").replace("\r", "\n")
    name = os.path.abspath(file_of(text, folder))
    if os.path.isdir(name) or not os.path.exists(name):
        return
    try:
        check_regular(name)
        with open(name, "rb") as file:
            check_content(file, extension_of(text))
    except Exception as error:  # the libraries raise whatever a damaged file leads to
        raise CellError(
            f"cannot be used ({cause_text(error)}); restore the file, or remove the row"
        ) from error


def check_cache(folder: Path) -> None:
    """Refuse a cache of nnabla that holds anything but numbers.

    Raises:
        DatasetError: A file of it does; names the file.
    """
    indexed = set(_indexed(folder))
    entries = folder.iterdir() if folder.is_dir() else ()
    for path in sorted({*entries, *indexed}):
        try:
            check_regular(path)
            if (path in indexed or path.suffix.lower() in _KINDS) and path.is_file():
                _check_cache_file(path)
        except FileNotFoundError:
            continue
        except Exception as error:  # the libraries raise whatever a damaged file leads to
            raise DatasetError(
                f"{path}: is not a safe cache file ({cause_text(error)}); remove the cache, nnabla"
                " will make it again"
            ) from error


def _check_cache_file(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_HDF5)) != _HDF5:
            file.seek(0)
            while file.tell() < path.stat().st_size:  # one array behind the other
                check_array(file)
            return
    with open_checked(path):
        pass


def _indexed(folder: Path) -> Iterator[Path]:
    index = folder / "cache_index.csv"
    if not index.is_file():
        return
    try:
        with index.open(encoding="utf-8-sig") as file:
            yield from (folder / cells[0] for cells in csv.reader(file) if cells)
    except (ValueError, csv.Error):
        return  # nnabla cannot read it either
