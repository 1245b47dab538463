"""Unsafe inputs of nnabla_cli: datasets and caches that would run code or reach the web.

nnabla unpickles arrays, which runs code that somebody may have put there, and downloads addresses.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from nnabla_influence.dataset import check_files
from nnabla_influence.definition import Definition
from nnabla_influence.errors import DatasetError
from nnabla_influence.file_safety import check_array
from nnabla_influence.files import check_regular
from nnabla_influence.hdf5 import open_checked

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
            cause = " ".join(str(error).split())[:200] or type(error).__name__
            raise DatasetError(
                f"{path}: is not a safe cache file ({cause}); remove the cache, nnabla will make it"
                " again"
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
