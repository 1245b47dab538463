"""From the cells of a CSV to the numbers that nnabla trains on.

A cell is a number if Python's ``float`` takes it, else the name of a file, relative to the CSV's
folder, which nnabla's own loaders decode. So size, mode and bit depth come out exactly as they do
in ``nnabla_cli train``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".dcm")
ARRAY_EXTENSIONS = (".npy", ".csv", ".wav")


class CellError(ValueError):
    """A cell that cannot be used; says what is wrong and what to do, but not where."""


@dataclass(frozen=True)
class Raster:
    """An image as its file holds it, before normalisation.

    Attributes:
        pixels: Shape (channels, height, width); uint8, or uint16 for 16 bits a channel.
    """

    pixels: np.ndarray


def as_number(cell: str) -> float | None:
    """Return a cell's number, or None where the cell names a file.

    Raises:
        CellError: The number is not finite, or the cell is empty.
    """
    try:
        number = float(cell)
    except ValueError:
        if not cell.strip():
            raise CellError("the cell is empty; fill it in, or remove the row") from None
        return None
    if not math.isfinite(number):
        raise CellError(f"{cell!r} is not a finite number; correct it, or remove the row")
    return number


def file_of(cell: str, folder: str) -> str:
    """Return the path that a cell names, as nnabla resolves it.

    Args:
        cell: The cell's text; backslashes separate folders on every system.
        folder: The absolute path of the CSV's folder.
    """
    return os.path.join(folder, cell.replace("\\", "/"))


def check_file(cell: str, folder: str) -> os.stat_result:
    """Return the status of the file that a cell names.

    Raises:
        CellError: The cell cannot be the name of a readable data file.
    """
    if "://" in cell:
        raise CellError(f"{cell!r} is a web address; download the file and name the local copy")
    try:
        status = os.stat(file_of(cell, folder))
    except (OSError, ValueError) as error:  # ValueError: a NUL character
        if _extension(cell) not in IMAGE_EXTENSIONS + ARRAY_EXTENSIONS:
            raise CellError(
                f"{_shown(cell)} is neither a number nor an existing file; correct it, or remove"
                " the row"
            ) from error
        raise CellError(
            f"the file {file_of(cell, folder)} does not exist; restore it, or remove the row"
        ) from error
    if os.path.isdir(file_of(cell, folder)):
        raise CellError(f"{_shown(cell)} is a folder; name a file, or remove the row")
    if _extension(cell) not in IMAGE_EXTENSIONS + ARRAY_EXTENSIONS and not _custom_loader(cell):
        raise CellError(
            f"files like {_shown(cell)} cannot be read; use one of"
            f" {' '.join(IMAGE_EXTENSIONS + ARRAY_EXTENSIONS)}"
        )
    return status


def load_raster(cell: str, folder: str) -> Raster | None:
    """Return an image undecided about normalisation, or None where the cell is no plain image.

    Raises:
        CellError: The file cannot be decoded.
    """
    if _extension(cell) not in IMAGE_EXTENSIONS or _custom_loader(cell):
        return None
    pixels = load_file(cell, folder, normalize=False)
    return Raster(pixels) if pixels.dtype in (np.uint8, np.uint16) else None


def load_file(cell: str, folder: str, *, normalize: bool) -> np.ndarray:
    """Return the array that nnabla reads from the file that a cell names.

    Raises:
        CellError: The file is gone, truncated, damaged or of another kind than its name says.
    """
    # Imported late: it takes half a second, which `--help` should not wait for.
    from nnabla.utils.data_source_loader import load

    path, extension = file_of(cell, folder), _extension(cell)
    try:
        with open(path, "rb") as file:
            if extension == ".npy":
                _refuse_objects(file)
            return np.asarray(load(extension)(file, normalize=normalize))
    except CellError:
        raise
    except Exception as error:  # the loaders raise whatever the libraries below them raise
        raise CellError(
            f"the file {path} cannot be decoded ({_cause(error)}); restore it, or remove the row"
        ) from error


def load_value(cells: Sequence[str], folder: str, *, vector: bool, normalize: bool) -> np.ndarray:
    """Return one example of one variable, float32, of the shape that nnabla gives it.

    Args:
        cells: The variable's cells of one row.
        folder: The absolute path of the CSV's folder.
        vector: Whether the cells are elements of a vector (``x__0``, ``x__1``, ...).
        normalize: Whether images are scaled to 0..1.

    Raises:
        CellError: A cell cannot be used.
    """
    elements = []
    for cell in cells:
        number = as_number(cell)
        if number is None:
            elements.append(load_file(cell, folder, normalize=normalize))
        else:
            elements.append(np.asarray(number))
    shapes = {element.shape for element in elements}
    if len(shapes) > 1:
        raise CellError(
            f"the elements of the vector have different shapes ({' and '.join(map(str, shapes))});"
            " give all of them the same"
        )
    value = np.stack(elements) if vector else elements[0]
    return as_float32(value.reshape(1) if value.ndim == 0 else value)


def as_float32(value: np.ndarray) -> np.ndarray:
    """Return an array as nnabla's functions take it.

    Raises:
        CellError: It holds something else than finite real numbers.
    """
    if value.dtype.kind not in "fiub":
        raise CellError(f"the values are of type {value.dtype}; they must be real numbers")
    with np.errstate(over="ignore"):
        converted = value.astype(np.float32)
    if converted.dtype.kind == "f" and not np.isfinite(converted).all():
        raise CellError(
            "there is a value that is not a finite 32-bit number; correct it, or remove the row"
        )
    return converted


def _refuse_objects(file: BinaryIO) -> None:
    """Keep pickled objects, which may run any code, from being read."""
    from numpy.lib import format as npy

    try:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        _, _, dtype = read_header(file)
    except ValueError as error:
        raise ValueError(f"not a NumPy file: {error}") from error
    if dtype.hasobject:
        raise CellError("the .npy file holds Python objects; save it as an array of numbers")
    file.seek(0)


def _custom_loader(cell: str) -> bool:
    """Tell whether a callback module replaces nnabla's loader for this kind of file."""
    from nnabla.utils import callback

    return callback.get_load_image_func(_extension(cell)) is not None


def _extension(cell: str) -> str:
    return os.path.splitext(cell)[1].lower()


def _cause(error: BaseException) -> str:
    """Return the reason for a failure; nnabla's image loader hides it behind its own."""
    if isinstance(error.__context__, OSError) and not isinstance(error, OSError):
        error = error.__context__
    return " ".join(str(error).split())[:200] or type(error).__name__


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else cell[:57] + "...")
