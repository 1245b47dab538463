"""Thumbnails of the files of a dataset: images and arrays.

The Console's plugins use this module too, so it imports only numpy and Pillow.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from nnabla_influence.errors import DatasetError
from nnabla_influence.file_safety import check_content

if TYPE_CHECKING:
    from nnabla_influence.progress import Progress

PAGE_SIZE = 128
"""The longest side of a page's thumbnail in pixels."""
PICTURE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff")
"""Files that are pictures; an ``.npy`` file is one if its shape is that of one."""

_MOST_THREADS = 8

_SHOWN_AS_THEY_ARE = ("L", "RGB", "RGBA")
_LARGEST = {np.dtype(np.bool_): 1.0, np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


def shows_a_picture(path: Path) -> bool:
    """Whether a file holds a picture, by its name, and for an array by its shape."""
    extension = path.suffix.lower()
    if extension != ".npy":
        return extension in PICTURE_EXTENSIONS
    try:
        return _axes(np.load(path, mmap_mode="r", allow_pickle=False).shape) is not None
    except Exception:  # of a damaged header, whatever its parser raises
        return False


def thumbnail(path: Path, size: int) -> Image.Image:
    """Return a file's picture, made smaller where it is larger.

    It is shown as training reads it: without the rotation that a camera recorded.

    Args:
        path: An image file, or an ``.npy`` array of the shape (H, W), (C, H, W) or (H, W, C) with
            one, three or four channels C. Whole numbers of 8 or 16 bits have their type's range;
            others range over 0..1, or from their smallest to their largest value if that is
            wider.
        size: The longest side that it may have, in pixels.

    Returns:
        Mode L, RGB or RGBA.

    Raises:
        DatasetError: It cannot be shown; why, in one line.
    """
    try:
        with path.open("rb") as file:
            check_content(file, path.suffix.lower())
        if path.suffix.lower() == ".npy":
            image = _picture_of(np.load(path, allow_pickle=False))
        else:
            image = _opened(path, size)
        if max(image.size) > size:
            image.thumbnail((size, size), Image.Resampling.LANCZOS)
        return image
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: does not exist; restore the file") from error
    except (Exception, Image.DecompressionBombError) as error:  # decoders raise whatever they do
        # Pillow repeats the path in some of its messages.
        cause = " ".join(str(error).split()).replace(repr(str(path)), "it")[:200]
        raise DatasetError(
            f"{path}: cannot be shown ({cause or type(error).__name__}); restore the file"
        ) from error


def png_bytes(image: Image.Image) -> bytes:
    """Return an image as a PNG file: the same bytes for the same pixels."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _opened(path: Path, size: int) -> Image.Image:
    with Image.open(path) as image:
        image.draft(None, (size, size))  # lets a JPEG be decoded at a part of its size
        image.load()
        return _in_shown_mode(image)


def _in_shown_mode(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        # Pillow reads 16 bits as 32 where the file has no other sign of them.
        deep = image.mode != "F" and values.min() >= 0 and values.max() <= 65535
        return _picture_of(values.astype(np.uint16) if deep else values)
    if "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBa"):
        return image.convert("RGBA")
    if image.mode in _SHOWN_AS_THEY_ARE:
        return image.copy()
    return image.convert("L" if image.mode == "1" else "RGB")


def _picture_of(values: np.ndarray) -> Image.Image:
    axes = _axes(values.shape)
    if axes is None:
        shape = "x".join(map(str, values.shape)) or "one number"
        raise ValueError(f"an array of the shape {shape} is not a picture")
    pixels = np.rint(_scaled(values) * 255).astype(np.uint8).transpose(axes)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)


def _axes(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the order of an array's axes height, width, channels; None if it is not a picture."""
    if 0 in shape:
        return None
    if len(shape) == 2:
        return 0, 1
    if len(shape) == 3 and shape[0] in (1, 3, 4):
        return 1, 2, 0
    if len(shape) == 3 and shape[2] in (1, 3, 4):
        return 0, 1, 2
    return None


def _scaled(values: np.ndarray) -> np.ndarray:
    """Return values from 0 to 1."""
    if values.dtype in _LARGEST:
        return values / _LARGEST[values.dtype]
    numbers = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    least, most = float(numbers.min()), float(numbers.max())
    if least >= 0 and most <= 1:
        return numbers
    return (numbers - least) / (most - least or 1.0)


# ------------------------------------------------------------------------ of a page


@dataclass
class Pictures:
    """The thumbnails of some rows; a file that cannot be shown is counted.

    Attributes:
        rows: For each row the ``data:`` address of each of its pictures; None for a missing one.
        missing: How many could not be shown.
        first_problem: What is wrong with the first of them, in one line.
    """

    rows: list[list[str | None]] = field(default_factory=list)
    missing: int = 0
    first_problem: str | None = None

    @property
    def count(self) -> int:
        """How many thumbnails there are."""
        return sum(len(row) for row in self.rows) - self.missing


def make_pictures(rows: Sequence[tuple[Path, ...]], progress: Progress) -> Pictures:
    """Make the thumbnails of rows, each file decoded once, in threads."""
    made = Pictures()
    if not any(rows):
        return made
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS))
    try:
        with progress.stage("Thumbnails", len(rows), "rows") as stage:
            for result in pool.map(lambda files: [_shown(path) for path in files], rows):
                made.rows.append([uri for uri, _ in result])
                for uri, problem in result:
                    if uri is None:
                        made.missing += 1
                        made.first_problem = made.first_problem or problem
                stage.update()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return made


def _shown(path: Path) -> tuple[str | None, str | None]:
    try:
        return data_uri(thumbnail(path, PAGE_SIZE)), None
    except DatasetError as error:
        return None, str(error)


def data_uri(image: Image.Image, *, exact: bool = False) -> str:
    """Return an image as a ``data:`` address.

    Small pictures are kept exactly. One that fills a thumbnail is most likely a photo made smaller,
    which would be several times as large as PNG.

    Args:
        image: At most `PAGE_SIZE` pixels a side.
        exact: Whether it was not made smaller, though it fills a thumbnail.
    """
    is_photo = max(image.size) == PAGE_SIZE and image.mode != "RGBA" and not exact
    kind = "jpeg" if is_photo else "png"
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 85} if is_photo else {}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
