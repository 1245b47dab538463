"""The cache of decoded datasets.

An entry is a folder ``<key>-<stamp>``. The key is a hash of what it is for: the CSV's path, the
variables, their form. The stamp is a hash of what it was made from: the CSV's content, size and
times of every file that it names, and the versions of the decoders. So an entry never changes, and
its checksums reveal damage; a new stamp removes older entries of the same key.

Users may share the folder, but not entries: one that another user could have written is not read.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nnabla_influence.errors import OutputError
from nnabla_influence.files import replacing_folder

_ENVIRONMENT = "NNABLA_INFLUENCE_CACHE"
_FOLDER = "nnabla-influence"
_SOURCE = "source.txt"
_ABANDONED_AFTER = 24 * 3600.0
_OURS = re.compile(
    r"\.?(?P<key>[0-9a-f]{20})-[0-9a-f]{20}(?P<unfinished>\.\w+\.(tmp|old))?", re.ASCII
)


def cache_home() -> Path:
    """Return the folder for cached data, as the user or the platform names it."""
    named = os.environ.get(_ENVIRONMENT)
    if named:
        return Path(named)
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / _FOLDER / "Cache"
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / _FOLDER
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / _FOLDER
    return Path.home() / ".cache" / _FOLDER


def usable_folder(home: Path) -> bool:
    """Make ``home`` if it is missing; return whether entries can be made in it."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return True
    except OSError:
        return False


def owner() -> int:
    """Return this user's id; 0 on Windows, where the folder is in the user's profile."""
    return os.getuid() if sys.platform != "win32" else 0


def is_private(entry: Path) -> bool:
    """Whether no other user can have written an entry."""
    try:
        status = os.lstat(entry)
    except OSError:
        return False
    if sys.platform == "win32":
        return True
    shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == owner() and not shared


def make_entry(
    home: Path, key: str, stamp: str, source: Path, write: Callable[[Path], None]
) -> Path:
    """Make the entry ``<key>-<stamp>`` and remove what it supersedes.

    Args:
        home: The cache folder.
        key: What it is for, as 20 hexadecimal digits.
        stamp: What it is made from, likewise.
        source: The CSV; entries whose CSV no longer exists are removed too.
        write: Fills the folder, which appears whole or not at all.

    Raises:
        OutputError: The folder cannot be written.
    """
    entry = home / f"{key}-{stamp}"
    try:
        with replacing_folder(entry, 0o700) as folder:
            write(folder)
            (folder / _SOURCE).write_text(str(source), encoding="utf-8")
    except OutputError:
        # Another process may have made the same entry meanwhile; which is as good.
        if not (entry / _SOURCE).is_file():
            raise
        if not is_private(entry):
            raise OutputError(
                f"{entry}: other users can change it, so it is not read; remove it, or name another"
                f" cache folder in {_ENVIRONMENT}"
            ) from None
    with contextlib.suppress(OSError):  # The folder may not be listable.
        for outdated in _outdated(home, key, entry):
            shutil.rmtree(outdated, ignore_errors=True)
    return entry


def _outdated(home: Path, key: str, entry: Path) -> Iterator[Path]:
    for folder in home.iterdir():
        # Only what this made for certain: any folder may be named as the cache.
        name = _OURS.fullmatch(folder.name)
        if name is None or folder == entry:
            continue
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if name["unfinished"]:
                if time.time() - folder.stat().st_mtime > _ABANDONED_AFTER:
                    yield folder
            elif (folder / _SOURCE).is_file():
                source = (folder / _SOURCE).read_text(encoding="utf-8")
                if name["key"] == key or not os.path.exists(source):
                    yield folder
