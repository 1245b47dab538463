"""Files: written whole or not at all, checked before they are written, hashed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import ntpath
import os
import re
import shutil
import stat
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Union

from nnabla_influence.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed
    fcntl = None  # type: ignore[assignment]

PathLike = Union[str, "os.PathLike[str]"]
"""What names a file."""

_TEMPORARY, _OUTGOING = ".tmp", ".old"
_LONG = 60  # characters
_ADVICE = {
    errno.EACCES: "close it in other programs, or choose another output path",
    errno.ENOENT: "make its folder first, or choose another output path",
    errno.ENOSPC: "free disk space, or choose another output path",
    errno.EDQUOT: "free disk space, or choose another output path",
}


def file_hash(path: PathLike) -> str:
    """Return a hash of a file's content, to detect changes."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()


def file_checksum(path: PathLike) -> int:
    """Return the CRC-32 of a file's content, to detect damage; Python's fastest checksum."""
    checksum = 0
    with open(path, "rb", buffering=0) as file:
        for block in iter(lambda: file.read(2**16), b""):
            checksum = zlib.crc32(block, checksum)
    return checksum


def check_regular(path: PathLike) -> None:
    """Refuse pipes and devices, whose reading may never end.

    Raises:
        OSError: ``path`` is one, or does not exist.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # Opening a folder fails anyway.
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")


def take_lock(file: IO[Any] | int) -> None:
    """Lock an open file for this process until it is closed, or the process ends.

    Raises:
        OSError: Another process has it.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make a folder unless it exists, and keep other commands out of it while the block runs.

    Raises:
        OutputError: Another command is in it, or it cannot be written.
    """
    path = folder / ".lock"
    try:
        folder.mkdir(exist_ok=True)
        lock = path.open("w")
    except OSError as error:
        raise _cannot_write(folder, error) from error
    try:
        take_lock(lock)
    except OSError as error:
        lock.close()
        raise OutputError(
            f"{folder}: another command is using it; wait until it ends, or give another output"
        ) from error
    try:
        yield
    finally:
        lock.close()
        with contextlib.suppress(OSError):
            path.unlink()


def is_same_file(one: PathLike, other: PathLike) -> bool:
    """Whether two paths name the same file, or will once it exists."""
    try:
        return os.path.samefile(one, other)
    except OSError:  # One of them does not exist.
        return len({os.path.normcase(os.path.realpath(path)) for path in (one, other)}) == 1


def check_output(
    output: PathLike,
    inputs: Iterable[PathLike | None] = (),
    is_ours: Callable[[PathLike], bool] | None = None,
    kind: str = "",
) -> None:
    """Check before a long computation that its result can be written and overwrites no data.

    Args:
        output: The file to write.
        inputs: The files that are read; None for one that is not given.
        is_ours: Whether an existing file, which is not empty, may be replaced; by default any.
        kind: What alone is replaced, with its article: ``a ranking``.

    Raises:
        OutputError: It is an input, it may not be replaced, or as for `check_writable`.
    """
    for path in inputs:
        if path is not None and is_same_file(output, path):
            raise OutputError(
                f"{output}: is the same file as {path}, which is read; choose another output path"
            )
    with contextlib.suppress(OSError):  # Writing reports what is wrong.
        if is_ours is not None and os.path.getsize(output) and not is_ours(output):
            raise OutputError(
                f"{output}: exists and is not {kind}, so it is not replaced; choose another output"
                " path, or remove it first"
            )
    check_writable(output)


def check_output_folder(folder: PathLike, kind: str, entries: Collection[str], mark: str) -> Path:
    """Check before a long computation that a result's folder can be written or replaced.

    Args:
        folder: The folder to write.
        kind: What alone is replaced, with its article: ``a run``.
        entries: Every name that such a folder may hold.
        mark: The name that each of them holds.

    Returns:
        Its path, absolute.

    Raises:
        OutputError: It is a file or the current folder, its parent does not exist, or it holds
            other things.
    """
    path = Path(os.path.realpath(folder))
    if not path.parent.is_dir():
        raise OutputError(f"{folder}: the folder {path.parent} does not exist; make it first")
    if os.path.lexists(path) and not path.is_dir():  # a pipe or an endless link as well
        raise OutputError(f"{folder}: is a file; give the name of a folder")
    if path == Path.cwd():
        raise OutputError(f"{folder}: is the current folder; give the name of a new folder")
    found = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    foreign = sorted(found - set(entries))
    if foreign or (found and mark not in found):
        raise OutputError(
            f"{folder}: holds {(foreign or sorted(found))[0]}, so it is not {kind} that may be"
            " replaced; give a new folder"
        )
    return path


def check_writable(path: PathLike) -> None:
    """Check before a long computation that a file can be written at its end.

    Raises:
        OutputError: It cannot; another program, such as a spreadsheet on Windows, may lock it.
    """
    target = _target(path)
    try:
        if target.exists():
            with target.open("r+b"):
                pass
        temporary, lock = _temporary_beside(target)
        os.close(lock)
        temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


@contextlib.contextmanager
def replacing_file(path: PathLike) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that takes its place when the block succeeds.

    An existing file is unchanged until the new one is complete; if the block fails or is
    interrupted, the temporary file is removed. The next success removes what killed processes left
    of the same file. A link stays a link.

    Args:
        path: The file to write. Its folder must exist.

    Raises:
        OutputError: The folder is missing or not writable, or ``path`` is not a file.
    """
    target = _target(path)
    try:
        temporary, lock = _temporary_beside(target)
    except OSError as error:
        raise _cannot_write(path, error) from error
    with os.fdopen(lock) as held:
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            if fcntl is None:
                held.close()
            temporary.replace(target)
        except BrokenPipeError:
            raise  # of a reader of the standard output
        except OSError as error:
            raise _cannot_write(path, error) from error
        finally:
            if fcntl is None:
                held.close()
            with contextlib.suppress(OSError):
                temporary.unlink()
    _remove_leftovers(target)


@contextlib.contextmanager
def replacing_folder(path: PathLike, mode: int = 0o777) -> Iterator[Path]:
    """Yield a temporary sibling folder of ``path`` that takes its place when the block succeeds.

    Args:
        path: The folder to write. Its parent must exist. An existing folder is replaced.
        mode: Its permissions, before the user's umask.

    Raises:
        OutputError: The parent is missing or not writable, or ``path`` is a file.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path}: is a file; give the name of a folder")
    with working_folder(path) as temporary:
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
    _remove_leftovers(path)


@contextlib.contextmanager
def working_folder(path: PathLike) -> Iterator[Path]:
    """Yield a new folder beside an output, for intermediate files.

    It is removed at the end of the block, or, after a hard kill, by the next success with the same
    output.

    Raises:
        OutputError: It cannot be made.
    """
    path = Path(path)
    try:
        folder, lock = _folder_beside(path, _TEMPORARY)
    except OSError as error:
        raise _cannot_write(path, error) from error
    creator = os.getpid()
    try:
        yield folder
    finally:
        if os.getpid() == creator:  # not in a fork that ends
            shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _target(path: PathLike) -> Path:
    """Return the file to replace; refuse what is not a file."""
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise OutputError(f"{path}: is a folder; give the name of a file")
        if target.exists() and not target.is_file():
            raise OutputError(f"{path}: is a device, which cannot be replaced; name a file")
    except OSError as error:
        raise _cannot_write(path, error) from error
    return target


def _prefix(target: Path) -> str:
    """Return the beginning of the names of temporary files beside a target, and of no other."""
    name = target.name
    if len(name) > _LONG:
        name = f"{name[:_LONG]}~{zlib.crc32(os.fsencode(name)):08x}"
    return f".{name}.nnabla_influence_"


def _temporary_beside(target: Path) -> tuple[Path, int]:
    """Return a new file and its open handle, whose lock distinguishes it from leftovers."""
    while True:
        lock, name = tempfile.mkstemp(
            dir=target.parent, prefix=_prefix(target), suffix=_TEMPORARY + target.suffix[:10]
        )
        if _is_held(lock, name):
            return Path(name), lock
        os.close(lock)


def _folder_beside(target: Path, suffix: str) -> tuple[Path, int | None]:
    """Return a new folder and its open handle, likewise; Windows has no such handles."""
    while True:
        name = tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target), suffix=suffix)
        if fcntl is None:
            return Path(name), None
        try:
            lock = os.open(name, os.O_RDONLY)
        except FileNotFoundError:
            continue
        if _is_held(lock, name):
            return Path(name), lock
        os.close(lock)


def _is_held(lock: int, name: str) -> bool:
    """Lock a new file, unless another process has just removed it as a leftover."""
    try:
        take_lock(lock)
    except BlockingIOError:
        return False
    except OSError:
        pass  # A file system without locks, where no leftovers are removed.
    return os.path.exists(name)


def _remove_leftovers(target: Path) -> None:
    """Remove what killed processes of this user left beside a target, and is not in use."""
    name = re.compile(
        rf"{re.escape(_prefix(target))}[a-z0-9_]{{8}}"
        rf"({re.escape(_TEMPORARY)}({re.escape(target.suffix[:10])})?|{re.escape(_OUTGOING)})"
    )
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if name.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_leftover(entry)


def _remove_leftover(entry: os.DirEntry[str]) -> None:
    is_folder = entry.is_dir(follow_symlinks=False)
    if not is_folder and not entry.is_file(follow_symlinks=False):
        return
    if fcntl is None:
        if not is_folder:
            os.unlink(entry.path)  # which fails while it is open
        return
    if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
        return
    lock = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        take_lock(lock)
        if is_folder:
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            os.unlink(entry.path)
    finally:
        os.close(lock)


def _swap(temporary: Path, path: Path) -> None:
    """Replace the folder ``path`` by ``temporary``; if that fails, it is unchanged."""
    # Two renames, so that `path` is never a half-deleted folder.
    outgoing, lock = _folder_beside(path, _OUTGOING)
    try:
        try:
            path.replace(outgoing / path.name)
            temporary.replace(path)
        except BaseException:
            if not path.exists():
                (outgoing / path.name).replace(path)
            outgoing.rmdir()
            raise
        shutil.rmtree(outgoing, ignore_errors=True)
    finally:
        if lock is not None:
            os.close(lock)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _cannot_write(path: PathLike, error: OSError) -> OutputError:
    advice = _ADVICE.get(error.errno or 0, "choose another output path")
    return OutputError(f"{path}: cannot be written ({error.strerror or error}); {advice}")


def is_windows_path(path: str) -> bool:
    """Whether a path is an absolute one of Windows, with a drive letter."""
    drive, rest = ntpath.splitdrive(path)
    return bool(drive) and rest[:1] in ("\\", "/")


def is_foreign(path: str) -> bool:
    """Whether an absolute path is one of another operating system."""
    return path.startswith("/") if os.name == "nt" else is_windows_path(path)
