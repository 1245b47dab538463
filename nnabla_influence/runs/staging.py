"""A folder for what a training records on its way, beside the run folder that it will be."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nnabla_influence.errors import OutputError
from nnabla_influence.files import take_lock

_SUFFIX = ".recording"
_LOCK = "lock"


class Staging:
    """A hidden folder beside ``target``, removed by `close` or when the process ends.

    What a killed process could not remove, the next one that records to the same target does: a
    lock that dies with its process tells what is still in use.

    Args:
        target: The run folder. Its parent must exist.

    Raises:
        OutputError: The folder cannot be made.
    """

    def __init__(self, target: Path):
        target = target.absolute()
        remove_leftovers(target)
        try:
            self.path = Path(
                tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=_SUFFIX)
            )
            self._lock = (self.path / _LOCK).open("w")
        except OSError as error:
            raise OutputError(
                f"{target}: cannot be written ({error.strerror or error}); choose another folder"
            ) from error
        take_lock(self._lock)
        self._remove = weakref.finalize(self, _remove, os.getpid(), self.path, self._lock)

    def close(self) -> None:
        """Remove the folder."""
        self._remove()


def remove_leftovers(target: Path, suffix: str = _SUFFIX) -> None:
    """Remove what killed processes left beside ``target``; never what is in use.

    Args:
        target: The run folder.
        suffix: Of the hidden folders.
    """
    target = target.absolute()
    for folder in target.parent.glob(f".{glob.escape(target.name)}.*{suffix}"):
        try:
            with (folder / _LOCK).open("r+") as lock:
                take_lock(lock)
            (folder / _LOCK).unlink()
        except OSError:
            continue  # in use
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keep `remove_leftovers` from ``folder`` while the block runs in this process."""
    path = folder / _LOCK
    with path.open("w") as lock:
        take_lock(lock)
        yield
    path.unlink(missing_ok=True)


def _remove(pid: int, path: Path, lock: IO[str]) -> None:
    if os.getpid() != pid:
        return  # a fork of the process that records
    lock.close()
    shutil.rmtree(path, ignore_errors=True)
