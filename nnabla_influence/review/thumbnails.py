"""Small pictures of what a dataset's cells name: image files and arrays.

The Console's plugins use this room too, so it imports nothing beside numpy and Pillow.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from nnabla_influence.errors import DatasetError
from nnabla_influence.file_safety import check_content

PICTURE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff")
"""Files that are pictures; an ``.npy`` file is one if its shape says so."""

_SHOWN_AS_THEY_ARE = ("L", "RGB", "RGBA")
_LARGEST = {np.dtype(np.bool_): 1.0, np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


def shows_a_picture(path: Path) -> bool:
    """Tell by its name, and for an array by its shape, whether a file holds a picture."""
    extension = path.suffix.lower()
    if extension != ".npy":
        return extension in PICTURE_EXTENSIONS
    try:
        return _axes(np.load(path, mmap_mode="r", allow_pickle=False).shape) is not None
    except Exception:  # of a damaged header, whatever its parser raises
        return False


def thumbnail(path: Path, size: int) -> Image.Image:
    """Return a file's picture, made smaller where it is larger.

    It is shown as training sees it: a rotation that a camera noted down is not applied.

    Args:
        path: An image file, or an ``.npy`` array of the shape (H, W), (C, H, W) or (H, W, C) with
            one, three or four channels C. Whole numbers of 8 or 16 bits have their type's range;
            others are taken as 0..1, or from their smallest to their largest value if they leave
            that.
        size: The longest side that it may have, in pixels.

    Returns:
        Mode L, RGB or RGBA.

    Raises:
        DatasetError: It cannot be shown; says why, in one line.
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
        raise ValueError(f"an array of the shape {shape} is no picture")
    pixels = np.rint(_scaled(values) * 255).astype(np.uint8).transpose(axes)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)


def _axes(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the order that puts an array's axes as height, width, channels; None if it is none."""
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
