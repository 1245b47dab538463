"""What a file of a dataset holds, seen from its beginning, before nnabla's loaders read it.

They unpickle arrays, which runs code, and unpack pictures of any size.
"""

from __future__ import annotations

import math
import os
import struct
from typing import BinaryIO

from numpy.lib import format as npy

from nnabla_influence.limits import ADVICE, most_values

PICTURE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff")
IMAGE_EXTENSIONS = (*PICTURE_EXTENSIONS, ".dcm")

# Pillow goes by the content, and hands some other kinds to programs beside it.
_KINDS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "GIF", "TIFF", "WEBP", "JPEG2000", "PPM", "ICO")
_LARGE = 2**22  # values; what is smaller is decoded, and compared with the network then
_PNG = b"\x89PNG\r\n\x1a\n"
_BANDS = {"P": 4, "PA": 4}  # nnabla turns palettes into colours


def check_content(file: BinaryIO, extension: str, shape: tuple[int, ...] | None = None) -> None:
    """Check that a file can be given to nnabla's loader; it is left at its beginning.

    Args:
        file: Open, at its beginning.
        extension: That chooses the loader, such as ``.npy``.
        shape: What the network takes, where it does.

    Raises:
        ValueError: It runs code, or takes far more memory than the file has bytes.
        Exception: Whatever else is raised by the libraries that look at a damaged header.
    """
    if extension == ".npy":
        check_array(file)
        file.seek(0)
    elif extension in PICTURE_EXTENSIONS:
        _check_picture(file, shape)
        file.seek(0)


def check_array(file: BinaryIO) -> None:
    """Check an array in the form of ``numpy.save``, and go to its end.

    Raises:
        ValueError: It is not one, has Python objects, whose loading runs code, or is cut off.
        Exception: Of a damaged header.
    """
    version = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("Python objects, not numbers")
    end = file.tell() + math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or end > os.fstat(file.fileno()).st_size:
        raise ValueError("it is shorter than its header says")
    file.seek(end)


def _check_picture(file: BinaryIO, shape: tuple[int, ...] | None) -> None:
    from PIL import Image

    begin = file.read(24)
    if begin.startswith(_PNG) and math.prod(struct.unpack(">II", begin[16:].ljust(8))) < _LARGE / 4:
        return  # most of them, and sooner than Pillow knows
    file.seek(0)
    try:
        picture = Image.open(file)  # reads its header alone
    except Image.DecompressionBombError:
        raise
    except Exception:  # of Pillow's readers, whatever they do
        return  # The loader says it.
    if picture.format not in _KINDS:
        raise ValueError(f"it is {picture.format}, not a picture of its name's kind")
    width, height = picture.size
    n_values = width * height * _BANDS.get(picture.mode, len(picture.getbands()))
    held = os.fstat(file.fileno()).st_size
    if n_values > most_values(held):
        raise ValueError(f"{width} x {height} pixels in {held:,} bytes; {ADVICE}")
    if shape is not None and n_values > max(_LARGE, 4 * math.prod(shape)):
        raise ValueError(f"{width} x {height} pixels for a network whose input has shape {shape}")
