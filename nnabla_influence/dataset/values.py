"""From the cells of a CSV to the numbers that nnabla trains on.

A cell is a number if Python's ``float`` reads it, else the name of a file, relative to the CSV's
folder, which nnabla's own loaders decode. So size, mode and bit depth are exactly those of
``nnabla_cli train`` without a prepared cache. (With one, nnabla multiplies pixels by a 32-bit
1/255, which differs in the last bit of about half of the 256 values.)
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnabla_influence.file_safety import IMAGE_EXTENSIONS, check_content
from nnabla_influence.text import cause_text

EXTENSIONS = (*IMAGE_EXTENSIONS, ".npy", ".csv", ".wav")

PIXEL_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16))
"""Types of images as their files hold them; a value of another kind never has one of these."""


class CellError(ValueError):
    """A cell that cannot be used.

    The message is a predicate ("is empty; fill it in"); the caller adds the place.

    Attributes:
        cell: The cell, if it is one of several.
        row: The row, if it is not the current one.
    """

    def __init__(self, predicate: str, *, cell: str | None = None, row: int | None = None):
        super().__init__(predicate)
        self.cell = cell
        self.row = row


def as_number(cell: str) -> float | None:
    """Return a cell's number, or None if the cell names a file.

    Raises:
        CellError: The number is not finite, or the cell is empty.
    """
    try:
        number = float(cell)
    except ValueError:
        if cell and not cell.isspace():
            return None
        raise CellError("is empty; fill it in, or remove the row") from None
    if not math.isfinite(number):
        raise CellError("is not a finite number; correct it, or remove the row", cell=cell)
    return number


def is_number(cell: str) -> bool:
    """Whether nnabla reads a cell as a number, be it not finite."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def file_of(cell: str, folder: str) -> str:
    """Return the path that a cell names; backslashes separate folders on every system."""
    return os.path.join(folder, cell.replace("\\", "/"))


def extension_of(cell: str) -> str:
    """Return the extension that chooses the loader, such as ``.png``."""
    return os.path.splitext(cell)[1].lower()


def normalized(pixels: np.ndarray, *, by_cache: bool = False) -> np.ndarray:
    """Return uint8 or uint16 pixels scaled to 0..1, float32.

    nnabla's loader multiplies by 1/255 (1/65535) in 64 bits, and its graph rounds to 32. One
    division in 32 bits gives the same floats for each of the values, in a third of the time.
    nnabla's prepared caches hold pixels and multiply in 32 bits (``by_cache``), which is one bit
    off for half of the values.
    """
    levels = 255 if pixels.dtype == np.uint8 else 65535
    scaled = pixels.astype(np.float32)
    operation = np.multiply if by_cache else np.divide
    return operation(scaled, np.float32(1 / levels if by_cache else levels), out=scaled)


class CellReader:
    """Reads cells of one CSV.

    Args:
        folder: The absolute path of the CSV's folder.
        normalize: Whether images are scaled to 0..1.
    """

    def __init__(self, folder: str, *, normalize: bool):
        self._folder = folder
        self.normalize = normalize
        self._loaders: dict[str, tuple[Callable[..., Any], bool]] = {}

    def status(self, cell: str) -> os.stat_result:
        """Return the status of the file that a cell names.

        Raises:
            CellError: The cell cannot be the name of a readable data file.
        """
        if "://" in cell:
            raise CellError(
                "is a web address; download the file and give the path of the copy", cell=cell
            )
        known = extension_of(cell) in EXTENSIONS
        try:
            status = os.stat(file_of(cell, self._folder))
        except (OSError, ValueError) as error:  # ValueError: a NUL character
            raise CellError(
                "does not exist; restore the file, or remove the row"
                if known
                else "is neither a number nor an existing file; correct it, or remove the row",
                cell=cell,
            ) from error
        if stat.S_ISDIR(status.st_mode):
            raise CellError("is a folder; give a file, or remove the row", cell=cell)
        if not stat.S_ISREG(status.st_mode):
            raise CellError(
                "is a pipe or a device, which is not read; give a file, or remove the row",
                cell=cell,
            )
        if not known:
            self._loader(cell)
        return status

    def pixels(self, cell: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return an image as its file holds it, or None if the cell does not name one.

        Its shape is (channels, height, width), its type uint8, or uint16 for 16 bits a channel.

        Raises:
            CellError: It cannot be decoded, or is far larger than the input's ``shape``.
        """
        loader, is_image = self._loader(cell)
        if not is_image:
            return None
        pixels = self._load(loader, cell, shape, normalize=False)
        return pixels if pixels.dtype in PIXEL_TYPES else None

    def pixels_can_stand_for(self, cell: str, pixels: np.ndarray) -> bool:
        """Whether the pixels give the loader's values, bit for bit."""
        if not self.normalize:
            return True
        by_loader = self.value([cell], pixels.shape, vector=False).astype(np.float32)
        return np.array_equal(by_loader, normalized(pixels))

    def value(self, cells: Sequence[str], shape: tuple[int, ...], *, vector: bool) -> np.ndarray:
        """Return one example of one variable in the shape that nnabla gives it.

        Args:
            cells: The variable's cells of one row; with ``vector`` its elements.
            shape: Of the network's input; a far larger picture is not decoded.
            vector: Whether the cells are elements of a vector (``x__0``, ``x__1``, ...).

        Returns:
            Real numbers, not of the pixel types; float64 for numbers in cells.

        Raises:
            CellError: A cell cannot be used.
        """
        try:
            return np.array([float(cell) for cell in cells])
        except ValueError:
            elements = [self._element(cell, shape) for cell in cells]
        if not vector:
            return elements[0]
        shapes = list(dict.fromkeys(element.shape for element in elements))
        if len(shapes) > 1:
            raise CellError(
                f"has elements of different shapes ({' and '.join(map(shown_shape, shapes))});"
                " give all of them the same"
            )
        return np.stack(elements)

    def _element(self, cell: str, shape: tuple[int, ...]) -> np.ndarray:
        number = as_number(cell)
        if number is not None:
            return np.array(number)
        value = self._load(self._loader(cell)[0], cell, shape, normalize=self.normalize)
        if value.dtype.kind not in "fiub":
            raise CellError(f"holds {value.dtype}; save it as an array of real numbers", cell=cell)
        return value.astype(np.float32) if value.dtype in PIXEL_TYPES else value

    def _load(
        self, loader: Callable[..., Any], cell: str, shape: tuple[int, ...], *, normalize: bool
    ) -> np.ndarray:
        try:
            with open(file_of(cell, self._folder), "rb") as file:
                check_content(file, extension_of(cell), shape)
                return np.asarray(loader(file, normalize=normalize))
        except Exception as error:  # the loaders raise whatever the libraries below them raise
            raise CellError(
                f"cannot be decoded ({_cause(error)}); restore the file, or remove the row",
                cell=cell,
            ) from error

    def _loader(self, cell: str) -> tuple[Callable[..., Any], bool]:
        """Return nnabla's loader for a file, and whether it is its own image loader."""
        extension = extension_of(cell)
        if extension not in self._loaders:
            # Imported late: it takes half a second, too long for `--help`.
            from nnabla.utils import callback, data_source_loader

            replaced = callback.get_load_image_func(extension) is not None
            if extension not in EXTENSIONS and not replaced:
                raise CellError(
                    f"is a file of a kind that cannot be read; use {' '.join(EXTENSIONS)}",
                    cell=cell,
                )
            self._loaders[extension] = (
                data_source_loader.load(extension),
                extension in IMAGE_EXTENSIONS and not replaced,
            )
        return self._loaders[extension]


def shown_shape(shape: tuple[int, ...]) -> str:
    """Return a shape such as ``1x28x28``."""
    return "x".join(map(str, shape)) if shape else "()"


def _cause(error: BaseException) -> str:
    """Return the reason for a failure; nnabla's image loader hides it behind its own."""
    if isinstance(error.__context__, OSError) and not isinstance(error, OSError):
        error = error.__context__
    return cause_text(error)
