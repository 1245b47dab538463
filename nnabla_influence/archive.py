"""The .nnp: a zip archive of a model's parts, of which each is as large as it says."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnabla_influence.errors import ModelError
from nnabla_influence.files import check_regular
from nnabla_influence.limits import ADVICE, most_bytes

# The others cannot be unpacked piece by piece; nnabla and the Console use these.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive and look at what it declares before any of it is read.

    Raises:
        OSError, zipfile.BadZipFile: It is missing, no file, or damaged.
        ModelError: It would grow far beyond its own size.
    """
    check_regular(path)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            if member.compress_type not in _METHODS:
                raise ModelError(
                    f"{path}, {member.filename}: is packed in a way that is not read; write the"
                    " .nnp with nnabla or the Console"
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
