"""One variable's values on disk: written once row by row, then gathered by row number."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from nnabla_influence.dataset.values import CellError, Raster
from nnabla_influence.errors import OutputError

_WRITE_BYTES = 4 << 20
# Pages of a mapped file count as this process's memory until they are handed back.
_RESIDENT_BYTES = 64 << 20


@dataclass(frozen=True)
class ColumnSpec:
    """What the network wants of one dataset variable.

    Attributes:
        name: The variable's name in the CSV's header.
        shape: Shape of one example, without the batch axis.
        n_classes: Where the values are labels: their number; else None.
    """

    name: str
    shape: tuple[int, ...]
    n_classes: int | None = None


def normalized(pixels: np.ndarray) -> np.ndarray:
    """Scale uint8 or uint16 pixels to 0..1 as nnabla's image loader does, then to float32."""
    scaled: np.ndarray = pixels * (1.0 / (255.0 if pixels.dtype == np.uint8 else 65535.0))
    return scaled.astype(np.float32)


class VariableWriter:
    """Writes the values of one variable into an .npy file, in the order of the rows.

    Pixels are kept as the image file holds them (a quarter of the space); the same look-up that
    turns them into floats when they are read again gives the loader's own values, bit for bit.
    """

    def __init__(self, path: Path, spec: ColumnSpec, n_rows: int):
        self._path = path
        self._spec = spec
        self._n_rows = n_rows
        self._shape: tuple[int, ...] | None = None
        self._dtype = np.dtype(np.float32)
        self._pending: list[np.ndarray] = []
        self._pending_bytes = 0

    def append(self, value: np.ndarray | Raster) -> None:
        """Take the next row's value.

        Raises:
            CellError: Its shape does not fit the network or the rows before, or it is no label.
            NotUniformError: An image after other values, or the other way round.
        """
        array = value.pixels if isinstance(value, Raster) else value
        if self._shape is None:
            self._begin(array)
        if array.shape != self._shape:
            raise CellError(
                f"the value has shape {shown_shape(array.shape)}, those of the rows before have"
                f" {shown_shape(self._shape or ())}; give all rows the same shape"
            )
        if array.dtype != self._dtype:
            raise NotUniformError(self._spec.name)
        if self._spec.n_classes is not None:
            _check_labels(array, self._spec.n_classes)
        self._pending.append(array)
        self._pending_bytes += array.nbytes
        if self._pending_bytes >= _WRITE_BYTES:
            self.flush()

    def _begin(self, array: np.ndarray) -> None:
        check_shape(array.shape, self._spec.shape)
        self._shape, self._dtype = array.shape, array.dtype
        header = {
            "descr": npy.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._n_rows, *self._shape),
        }
        with _writing(self._path), open(self._path, "wb") as file:
            npy.write_array_header_1_0(file, header)

    def flush(self) -> None:
        """Write what was taken so far.

        Raises:
            OutputError: The disk is full, or otherwise refuses.
        """
        if self._pending:
            block = np.stack(self._pending)
            self._pending, self._pending_bytes = [], 0
            # Written, not mapped: a full disk is then an error, where a mapping is a crash.
            with _writing(self._path), open(self._path, "ab") as file:
                file.write(memoryview(block).cast("B"))


class NotUniformError(Exception):
    """A variable mixes images with other values, or 8 with 16 bits; names the variable."""


class _writing:  # noqa: N801 (a context manager)
    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise OutputError(
                f"{self._path.parent}: cannot be written ({error.strerror or error}); make room,"
                " or name another cache folder in NNABLA_INFLUENCE_CACHE"
            ) from error


class StoredVariable:
    """The values of one variable, read from disk as they are asked for."""

    def __init__(self, path: Path, spec: ColumnSpec, n_rows: int, *, normalize: bool):
        """Open a file that ``VariableWriter`` wrote.

        Raises:
            ValueError, OSError: The file is missing, cut off, or of another shape.
        """
        with open(path, "rb") as file:
            if npy.read_magic(file) != (1, 0):
                raise ValueError(f"{path}: not written here")
            shape, fortran_order, dtype = npy.read_array_header_1_0(file)
            offset = file.tell()
            n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            if (
                fortran_order
                or shape[0] != n_rows
                or os.fstat(file.fileno()).st_size != (offset + n_bytes)
            ):
                raise ValueError(f"{path}: cut off")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        check_shape(shape[1:], spec.shape)
        self._values = np.frombuffer(self._map, dtype, offset=offset).reshape(shape)
        self._spec = spec
        self._table = None
        if normalize and dtype != np.float32:
            self._table = normalized(np.arange(np.iinfo(dtype).max + 1).astype(dtype))
        self._touched = 0

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the values of ``rows``, shape (len(rows), *spec.shape), float32."""
        values = self._values.take(rows, axis=0)
        self._release(values.nbytes)
        if self._table is not None:
            values = self._table.take(values)
        shape = (len(rows), *self._spec.shape)
        if values.shape != shape:
            values = np.broadcast_to(values, shape)
        return np.ascontiguousarray(values, dtype=np.float32)

    def _release(self, n_bytes: int) -> None:
        self._touched += max(n_bytes, mmap.PAGESIZE)
        if self._touched > _RESIDENT_BYTES and hasattr(self._map, "madvise"):
            self._touched = 0
            self._map.madvise(mmap.MADV_DONTNEED)


def check_shape(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Check that nnabla takes values of ``shape`` for an input of shape ``wanted``.

    nnabla assigns a mini-batch to a variable by NumPy's rules: axes of length 1 are repeated, and
    no axis is added, since the batch axis comes first.

    Raises:
        CellError: It does not; says both shapes.
    """
    fits = len(shape) == len(wanted) and all(a in (1, b) for a, b in zip(shape, wanted))
    if not fits:
        raise CellError(
            f"the value has shape {shown_shape(shape)}, the network's input has"
            f" {shown_shape(wanted)}; convert the data, or take the network that fits it"
        )


def _check_labels(values: np.ndarray, n_classes: int) -> None:
    wrong = (values < 0) | (values >= n_classes) | (values != np.floor(values))
    if wrong.any():
        label = float(values[wrong].flat[0])
        raise CellError(
            f"{label:g} is not a label: the network takes whole numbers from 0 to {n_classes - 1};"
            " correct it, or remove the row"
        )


def shown_shape(shape: tuple[int, ...]) -> str:
    """Return a shape as people write it, such as ``1x28x28``."""
    return "x".join(map(str, shape)) if shape else "no axes"
