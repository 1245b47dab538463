"""Read HDF5 files from somebody else: from that file only, within limits that its size sets."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from nnabla_influence.file_safety import ADVICE, most_bytes
from nnabla_influence.files import check_regular

_DEEPEST = 100


def read_arrays(source: Path | bytes) -> dict[str, np.ndarray]:
    """Return every array of a file, or of its content, by its path, such as ``affine/W``.

    Raises:
        OSError: It cannot be read.
        ValueError: It names another file, or would grow far beyond its own size.
        KeyError, RuntimeError, TypeError: It is damaged.
    """
    with open_checked(source) as arrays:
        return {name: np.asarray(item[()]) for name, item in arrays.items()}


@contextmanager
def open_checked(source: Path | bytes) -> Iterator[dict[str, h5py.Dataset]]:
    """Yield a file's arrays, checked by what they declare but not read; see `read_arrays`."""
    if isinstance(source, Path):
        check_regular(source)
    held = len(source) if isinstance(source, bytes) else os.stat(source).st_size
    with h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r") as content:
        arrays = dict(_datasets(content))
        declared = sum(_checked_bytes(name, item) for name, item in arrays.items())
        if declared > most_bytes(held):
            raise ValueError(f"declares {declared:,} bytes in a file of {held:,}; {ADVICE}")
        yield arrays


def _datasets(content: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield each array once, as ``visititems`` does, which crashes on deeply nested groups."""
    seen: set[int] = set()
    stack = [("", iter(content), content)]
    while stack:
        prefix, names, group = stack[-1]
        name = next(names, None)
        if name is None:
            stack.pop()
            continue
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise ValueError(f"{prefix}{name} is a link to another file")
        if isinstance(link, h5py.SoftLink):
            continue
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            continue
        seen.add(address)
        if isinstance(item, h5py.Dataset):
            yield f"{prefix}{name}", item
        elif isinstance(item, h5py.Group):
            if len(stack) > _DEEPEST:
                raise ValueError(f"its groups are nested more than {_DEEPEST} deep")
            stack.append((f"{prefix}{name}/", iter(item), item))


def _checked_bytes(name: str, item: h5py.Dataset) -> int:
    """Return the bytes that reading an array takes: its values as floats, or one of its chunks."""
    plan = item.id.get_create_plist()
    layout = plan.get_layout()
    if layout == h5py.h5d.VIRTUAL or plan.get_external_count():
        raise ValueError(f"{name} is stored in another file")
    chunk = plan.get_chunk() if layout == h5py.h5d.CHUNKED else ()
    n_values = max(math.prod(item.shape or ()), math.prod(chunk))
    return n_values * max(item.dtype.itemsize, 4)
