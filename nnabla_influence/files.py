"""Results are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nnabla_influence.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed
    fcntl = None  # type: ignore[assignment]

_ADVICE = {
    errno.ENOENT: "make its folder first, or choose another output path",
    errno.ENOSPC: "make room, or choose another output path",
    errno.EDQUOT: "make room, or choose another output path",
}


def file_hash(path: str | os.PathLike[str]) -> str:
    """Return a hash of a file's content, to notice that it has changed."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse to wait for a pipe, or to read a device, which may never end.

    Raises:
        OSError: ``path`` is one, or does not exist.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a folder fails by itself
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")


def take_lock(file: IO[str]) -> None:
    """Lock an open file for this process until it is closed, or the process ends.

    Raises:
        OSError: Another process has it.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out before a long computation whether a file can be written at its end.

    Raises:
        OutputError: As for `replacing_file`; also where an existing file may not be changed, or is
            locked by another program, as spreadsheets do on Windows.
    """
    target = _target(path)
    try:
        if target.exists():
            with target.open("r+b"):
                pass
        os.unlink(_temporary_beside(target))
    except PermissionError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); close it in other programs, or choose"
            " another output path"
        ) from error
    except OSError as error:
        raise _cannot_write(path, error) from error


@contextlib.contextmanager
def replacing_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that takes its place when the block succeeds.

    An existing file stays as it is until the new one is whole; when the block fails, or is
    interrupted, the temporary file is removed. A link stays a link.

    Args:
        path: The file to write. Its folder must exist.

    Raises:
        OutputError: The folder is missing or not writable, or ``path`` is no file.
    """
    target = _target(path)
    try:
        temporary = _temporary_beside(target)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except BrokenPipeError:
        raise  # of a reader of the standard output
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike[str], mode: int = 0o777) -> Iterator[Path]:
    """Yield a temporary sibling folder of ``path`` that takes its place when the block succeeds.

    Args:
        path: The folder to write. Its parent must exist. An existing folder is replaced.
        mode: Its permissions, less those that the user's umask takes away.

    Raises:
        OutputError: The parent is missing or not writable, or ``path`` is a file.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path}: is a file; give the name of a folder")
    try:
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield temporary
        temporary.chmod(mode & ~_umask())
        if path.exists():
            _swap(temporary, path)
        else:
            temporary.replace(path)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _target(path: str | os.PathLike[str]) -> Path:
    """Return the file that is to be replaced; refuse what is no file."""
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise OutputError(f"{path}: is a folder; give the name of a file")
        if target.exists() and not target.is_file():
            raise OutputError(f"{path}: is a device, which cannot be replaced; name a file")
    except OSError as error:
        raise _cannot_write(path, error) from error
    return target


def _temporary_beside(target: Path) -> Path:
    # The name begins with a dot, so that nothing takes it for a result; 40 characters of the
    # target's tell a person where it is from.
    handle, name = tempfile.mkstemp(
        dir=target.parent, prefix=f".{target.name[:40]}.", suffix=f".tmp{target.suffix[:10]}"
    )
    os.close(handle)
    return Path(name)


def _swap(temporary: Path, path: Path) -> None:
    """Put ``temporary`` into the place of the folder ``path``; that is there if it fails."""
    # Two renames, so that there is no moment with a half-deleted folder at `path`.
    outgoing = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".old"))
    try:
        path.replace(outgoing / path.name)
        temporary.replace(path)
    except BaseException:
        if not path.exists():
            (outgoing / path.name).replace(path)
        outgoing.rmdir()
        raise
    shutil.rmtree(outgoing, ignore_errors=True)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _cannot_write(path: str | os.PathLike[str], error: OSError) -> OutputError:
    advice = _ADVICE.get(error.errno or 0, "choose another output path")
    return OutputError(f"{path}: cannot be written ({error.strerror or error}); {advice}")
