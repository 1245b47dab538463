"""Hashes of the files that a dataset CSV names, one for each row."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnabla_influence.dataset.header import read_header
from nnabla_influence.dataset.records import RecordReader
from nnabla_influence.dataset.values import CellError, as_number, file_of
from nnabla_influence.errors import DatasetError

Contents = Mapping[str, Sequence[str]]
"""By variable that has files, a hash for each row; "" where its cells are numbers."""


def hash_contents(path: Path, names: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Read every file of a CSV's variables ``names`` (all by default) once; return their hashes.

    Raises:
        DatasetError: The CSV, or a file, cannot be read.
    """
    records = iter(RecordReader(path))
    columns = read_header(path, records, names)[1]
    places = {name: [c.position for c in found] for name, found in columns.items()}
    folder = str(path.absolute().parent)
    hashes: dict[str, list[str]] = {name: [] for name in places}
    for record in records:
        if not record.cells:
            continue
        for name, positions in places.items():
            try:
                hashes[name].append(_hash_files([record.cells[p] for p in positions], folder))
            except (OSError, CellError, IndexError, ValueError) as error:
                raise DatasetError(f"{path}, line {record.line}: {error}") from error
    return {name: each for name, each in hashes.items() if any(each)}


def write_contents(path: Path, contents: Contents) -> None:
    """Write hashes into a JSON file."""
    path.write_text(json.dumps(contents, ensure_ascii=False) + "\n", encoding="utf-8")


def read_contents(path: Path) -> dict[str, list[str]]:
    """Read what `write_contents` wrote.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not such a file.
    """
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict) or not all(
        isinstance(each, list) and all(isinstance(item, str) for item in each)
        for each in values.values()
    ):
        raise ValueError(f"{path}: holds no file hashes")
    return values


def first_difference(one: Contents, other: Contents) -> tuple[int, str] | None:
    """Return row and variable of the first difference, among the variables that both have."""
    differing = [
        (next((i for i, (a, b) in enumerate(zip(one[name], other[name])) if a != b), 0), name)
        for name in one
        if name in other and list(one[name]) != list(other[name])
    ]
    return min(differing, default=None)


def _hash_files(cells: Sequence[str], folder: str) -> str:
    try:
        list(map(float, cells))
        return ""
    except ValueError:
        digest = hashlib.blake2b(digest_size=8)
    for cell in cells:
        if as_number(cell) is None:
            path = file_of(cell, folder)
            if not os.path.isfile(path):  # Reading a pipe would never end.
                raise CellError("is not a file", cell=cell)
            with open(path, "rb") as file:
                for block in iter(lambda: file.read(2**20), b""):
                    digest.update(block)
    return digest.hexdigest()
