"""One variable's values on disk: written once in the order of the rows, read by row."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from nnabla_influence.dataset.values import PIXEL_TYPES, CellError, normalized, shown_shape
from nnabla_influence.errors import OutputError
from nnabla_influence.files import file_checksum

_WRITE_BYTES = 1 << 20


@dataclass(frozen=True)
class ColumnSpec:
    """What the network expects of one dataset variable.

    Attributes:
        name: The variable's name in the CSV's header.
        shape: Shape of one example, without the batch axis.
        n_classes: The number of classes if the values are labels; else None.
        ignores_negative: Whether the network accepts labels below 0 and ignores them.
    """

    name: str
    shape: tuple[int, ...]
    n_classes: int | None = None
    ignores_negative: bool = False


class NotPixelsError(Exception):
    """The values of a variable, which the message names, cannot all be kept as pixels."""


class VariableWriter:
    """Writes the values of one variable into an .npy file, in the order of the rows.

    Pixels are kept as the image file holds them, in a quarter of the space of floats. The file's
    checksum is beside it.
    """

    def __init__(self, path: Path, spec: ColumnSpec, n_rows: int):
        self._path = path
        self._spec = spec
        self._n_rows = n_rows
        self._shape: tuple[int, ...] = ()
        self._dtype: np.dtype | None = None
        self._row = 0
        self._pending: list[np.ndarray] = []
        self._pending_bytes = 0
        self._checksum = 0

    def append(self, value: np.ndarray) -> None:
        """Add the next row's value.

        Raises:
            CellError: This value, or one before, does not fit the network or the other rows.
            NotPixelsError: An image follows other values, or vice versa.
            OutputError: The disk is full.
        """
        dtype = value.dtype if value.dtype in PIXEL_TYPES else np.dtype(np.float32)
        if self._dtype is None:
            check_shape(value.shape, self._spec.shape)
            self._begin(value.shape, dtype)
        elif value.shape != self._shape:
            raise CellError(
                f"has shape {shown_shape(value.shape)}, the rows before have"
                f" {shown_shape(self._shape)}; give all rows the same shape"
            )
        elif dtype != self._dtype:
            raise NotPixelsError(self._spec.name)
        self._pending.append(value)
        self._pending_bytes += value.nbytes
        if self._pending_bytes >= _WRITE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the values added so far.

        Raises:
            CellError: One of these values does not fit.
            OutputError: The disk is full.
        """
        if not self._pending:
            return
        block = np.stack(self._pending)
        if self._dtype not in PIXEL_TYPES:
            block = _as_float32(block, self._row)
        if self._spec.n_classes is not None:
            _check_labels(block, self._spec, self._row)
        # Written, not mapped: a full disk is then an error, where a mapping is a crash.
        content = block.tobytes()
        self._checksum = zlib.crc32(content, self._checksum)
        with self._open("ab") as file:
            file.write(content)
        self._row += len(self._pending)
        self._pending, self._pending_bytes = [], 0

    def finish(self) -> None:
        """Write the remaining values and the checksum; raises as `flush` does."""
        self.flush()
        with self._open("w", _checksum_file(self._path)) as file:
            file.write(f"{self._checksum:08x}\n")

    def _begin(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._shape, self._dtype = shape, dtype
        descr = npy.dtype_to_descr(dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (self._n_rows, *shape)}
        with self._open("wb") as file:
            npy.write_array_header_1_0(file, header)
        self._checksum = file_checksum(self._path)

    @contextlib.contextmanager
    def _open(self, mode: str, path: Path | None = None) -> Iterator:
        try:
            with open(path or self._path, mode) as file:
                yield file
        except OSError as error:
            raise OutputError(
                f"{self._path.parent.parent}: cannot be written ({error.strerror or error}); make"
                " room, or name another cache folder in NNABLA_INFLUENCE_CACHE"
            ) from error


class StoredVariable:
    """The values of one variable, read from disk on demand."""

    def __init__(
        self, path: Path, spec: ColumnSpec, n_rows: int, *, normalize: bool, by_cache: bool
    ):
        """Open a file that ``VariableWriter`` wrote.

        Pixels are scaled by `normalized`, if at all.

        Raises:
            OSError: The file is missing.
            ValueError: It is damaged, or was written for something else.
        """
        # The whole file now: scoring reads every row anyway.
        if f"{file_checksum(path):08x}\n" != _checksum_file(path).read_text("ascii"):
            raise ValueError(f"{path}: damaged")
        with open(path, "rb") as file:
            npy.read_magic(file)
            shape, _, dtype = npy.read_array_header_1_0(file)
            offset = file.tell()
            n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            if shape[0] != n_rows or os.fstat(file.fileno()).st_size != offset + n_bytes:
                raise ValueError(f"{path}: cut off")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        check_shape(shape[1:], spec.shape)
        self._values = np.frombuffer(self._map, dtype, offset=offset).reshape(shape)
        if spec.n_classes is not None:  # A wrong label would crash nnabla.
            rows = max(_WRITE_BYTES * n_rows // max(self._values.nbytes, 1), 1)
            for start in range(0, n_rows, rows):
                _check_labels(self._values[start : start + rows], spec, start)
        self._spec = spec
        self._normalize = normalize and dtype in PIXEL_TYPES
        self._by_cache = by_cache

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the values of ``rows``, shape (len(rows), *spec.shape), float32."""
        values = self._values.take(rows, axis=0)
        if self._normalize:
            values = normalized(values, by_cache=self._by_cache)
        else:
            values = values.astype(np.float32, copy=False)
        shape = (len(rows), *self._spec.shape)
        if values.shape != shape:
            return np.ascontiguousarray(np.broadcast_to(values, shape))
        return values


def _checksum_file(path: Path) -> Path:
    return path.with_suffix(".crc32")


def check_shape(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Check that nnabla accepts values of ``shape`` for an input of shape ``wanted``.

    nnabla assigns a mini-batch to a variable by NumPy's rules: axes of length 1 are repeated, and
    no axis is added, since the batch axis is the first.

    Raises:
        CellError: It does not; it names both shapes.
    """
    if len(shape) != len(wanted) or any(a not in (1, b) for a, b in zip(shape, wanted)):
        raise CellError(
            f"has shape {shown_shape(shape)}, the network's input has {shown_shape(wanted)};"
            " convert the data, or use the network that fits it"
        )


def _as_float32(block: np.ndarray, first_row: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        converted = block.astype(np.float32)
    if not np.isfinite(converted).all():
        finite = np.isfinite(converted).reshape(len(block), -1).all(axis=1)
        raise CellError(
            "holds a value that is not a finite 32-bit number; correct it, or remove the row",
            row=first_row + int(np.argmin(finite)),
        )
    return converted


def _check_labels(block: np.ndarray, spec: ColumnSpec, first_row: int) -> None:
    n_classes = spec.n_classes
    assert n_classes is not None
    least = -math.inf if spec.ignores_negative else 0
    wrong = (block < least) | (block >= n_classes) | (block != np.floor(block))
    if wrong.any():
        row = int(np.argmax(wrong.reshape(len(block), -1).any(axis=1)))
        raise CellError(
            f"holds {block[row][wrong[row]].flat[0]:g}, but labels are whole numbers from 0 to"
            f" {n_classes - 1}; correct it, or remove the row",
            row=first_row + row,
        )
