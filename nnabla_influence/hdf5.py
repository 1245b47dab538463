"""HDF5 files that somebody sent: read from the file alone, within its own size."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Union

import h5py
import numpy as np

from nnabla_influence.files import check_regular
from nnabla_influence.limits import ADVICE, most_bytes


def read_arrays(file: Union[Path, IO[bytes]], held: int | None = None) -> dict[str, np.ndarray]:
    """Return every array of a file by its path, such as ``affine/W``.

    Args:
        file: Its path, or an open file.
        held: Of an open file, how many bytes it holds.

    Raises:
        OSError: It cannot be read.
        ValueError: It names another file, or would grow far beyond its own size.
        KeyError, RuntimeError, TypeError: It is damaged.
    """
    with open_checked(file, held) as content:
        return {name: np.asarray(item[()]) for name, item in _datasets(content)}


@contextmanager
def open_checked(file: Union[Path, IO[bytes]], held: int | None = None) -> Iterator[h5py.File]:
    """Open a file and look at all that it declares before any of it is read; see `read_arrays`."""
    if isinstance(file, Path):
        check_regular(file)
        held = os.stat(file).st_size
    with h5py.File(file, "r") as content:
        elsewhere = content.id.links.visit(_named_elsewhere, info=True)
        if elsewhere is not None:
            raise ValueError(f"{elsewhere} is a link to another file")
        declared = sum(_checked_bytes(name, item) for name, item in _datasets(content))
        if declared > most_bytes(held or 0):
            raise ValueError(f"declares {declared:,} bytes in a file of {held:,}; {ADVICE}")
        yield content


def _datasets(content: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    found: list[tuple[str, h5py.Dataset]] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((name, item))

    content.visititems(visit)
    return found


def _named_elsewhere(name: bytes, info: Any) -> str | None:
    here = info.type in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT)
    return None if here else name.decode("utf-8", "replace")


def _checked_bytes(name: str, item: h5py.Dataset) -> int:
    """Return what reading an array takes, its values as floats, or one of its chunks."""
    if item.external or item.is_virtual:
        raise ValueError(f"{name} is kept in another file")
    n_values = max(math.prod(item.shape or ()), math.prod(item.chunks or ()))
    return n_values * max(item.dtype.itemsize, 4)
