"""What a file from somebody else may do: limits on memory, and nothing that runs code.

Each limit follows from the size of the file itself. Archives, arrays and pictures are checked by
what they declare, before they are unpacked.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from numpy.lib import format as npy

from nnabla_influence.errors import ModelError
from nnabla_influence.files import check_regular

VARIABLE = "NNABLA_INFLUENCE_LIMITS"
"""An environment variable: a factor, such as 10, that raises every limit."""
ADVICE = f"if you trust the file, set {VARIABLE}=10, which raises the limits tenfold"

_LEAST_BYTES = 2**30
_LEAST_VALUES = 2**27  # 11,500 x 11,500 grey pixels
_MOST_TIMES = 50
_MOST_RAISE = 1e9

# The other methods cannot be unpacked piece by piece; nnabla and the Console use these.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

PICTURE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff")
IMAGE_EXTENSIONS = (*PICTURE_EXTENSIONS, ".dcm")

# Pillow goes by the content, and hands some other kinds to external programs.
_KINDS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "GIF", "TIFF", "WEBP", "JPEG2000", "PPM", "ICO")
_LARGE = 2**22  # values; smaller pictures are decoded and then compared with the network
_PNG = b"\x89PNG\r\n\x1a\n"
_BANDS = {"P": 4, "PA": 4}  # nnabla turns palettes into colours


def raised(limit: int) -> int:
    """Return a limit, raised by the user's factor."""
    try:
        factor = float(os.environ.get(VARIABLE, ""))
    except ValueError:
        return limit
    return int(limit * min(factor, _MOST_RAISE)) if factor > 1 else limit


def most_bytes(held: int) -> int:
    """Return into how many bytes a file of ``held`` bytes may be unpacked.

    A model of a hundred MB that is all zeros packs a thousandfold, so small files may do that;
    larger ones are mostly numbers that pack badly.
    """
    return raised(max(_LEAST_BYTES, _MOST_TIMES * held))


def most_values(held: int) -> int:
    """Return into how many pixels, times channels, a picture of ``held`` bytes may be unpacked."""
    return raised(max(_LEAST_VALUES, _MOST_TIMES * held))


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive, such as an .nnp, after checking what it declares.

    Raises:
        OSError, zipfile.BadZipFile: It is missing, not a file, or damaged.
        ModelError: It would grow far beyond its own size.
    """
    check_regular(path)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            if member.compress_type not in _METHODS:
                raise ModelError(
                    f"{path}, {member.filename}: uses a compression that is not supported; write"
                    " the .nnp with nnabla or the Console"
                )
        unpacked, held = sum(member.file_size for member in members), os.stat(path).st_size
        if unpacked > most_bytes(held):
            raise ModelError(
                f"{path}: holds {held:,} bytes and would unpack to {unpacked:,}; {ADVICE}"
            )
        yield archive


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a member; never more of it than it declares.

    Raises:
        zipfile.BadZipFile, EOFError, zlib.error, RuntimeError: It is damaged or locked.
    """
    with archive.open(name) as member:
        return member.read(archive.getinfo(name).file_size)


def check_content(file: BinaryIO, extension: str, shape: tuple[int, ...] | None = None) -> None:
    """Check a dataset's file before nnabla's loader reads it; it is left at its beginning.

    nnabla's loaders unpickle arrays, which runs code, and unpack pictures of any size.

    Args:
        file: Open, at its beginning.
        extension: The one that chooses the loader, such as ``.npy``.
        shape: Of the network's input, if known.

    Raises:
        ValueError: It runs code, or takes far more memory than the file has bytes.
        Exception: Anything that the libraries raise for a damaged header.
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
        return  # most pictures, and faster than by Pillow
    file.seek(0)
    try:
        picture = Image.open(file)  # reads the header only
    except Image.DecompressionBombError:
        raise
    except Exception:  # whatever Pillow's readers raise
        return  # The loader reports it.
    if picture.format not in _KINDS:
        raise ValueError(f"it is {picture.format}, not a picture of its name's kind")
    width, height = picture.size
    n_values = width * height * _BANDS.get(picture.mode, len(picture.getbands()))
    held = os.fstat(file.fileno()).st_size
    if n_values > most_values(held):
        raise ValueError(f"{width} x {height} pixels in {held:,} bytes; {ADVICE}")
    if shape is not None and n_values > max(_LARGE, 4 * math.prod(shape)):
        raise ValueError(f"{width} x {height} pixels for a network whose input has shape {shape}")
