"""Change a Console's files so that it can be interrupted anywhere, and done again.

First everything that can run out of room is written into a staging folder; then the manifest says
what is about to be there; then files change places, each at once. Whatever is cut off, the manifest
names every file of ours, and every backup is whole.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from nnabla_influence.errors import OutputError
from nnabla_influence.files import file_hash
from nnabla_influence.installation.manifest import NAME, Manifest, write_manifest
from nnabla_influence.installation.payload import PACKAGE, is_in_package
from nnabla_influence.installation.places import WINDOWS, Place
from nnabla_influence.installation.tree import REMOVED, FileChange, located, obstacle

DATABASE_BACKUP = "nncd.db.backup"
_BACKUP = "backup"
_ENDING = ".backup"
_STAGING = "staging"


@dataclass(frozen=True)
class Workshop:
    """Our own folder in a Console, where files are made ready and kept."""

    place: Place

    @property
    def staging(self) -> Path:
        """Folder of files on their way."""
        return self.place.state / _STAGING

    def backup(self, name: str) -> Path:
        """Return where a copy is of what stood at a path before."""
        # Its capitals need no care: nobody else writes there. The ending keeps it off any menu.
        return self.place.state / _BACKUP / f"{name}{_ENDING}"

    def backups(self) -> dict[str, Path]:
        """Return every copy of what stood at a path before, by the path below the root."""
        folder = self.place.state / _BACKUP
        return {
            path.relative_to(folder).as_posix()[: -len(_ENDING)]: path
            for path in sorted(folder.rglob(f"*{_ENDING}"))
            if path.is_file()
        }

    def open(self) -> None:
        """Make the folder, without what an interrupted installation left on its way."""
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(parents=True)

    def close(self) -> None:
        """Remove what is no longer on its way."""
        shutil.rmtree(self.staging, ignore_errors=True)

    @property
    def is_there(self) -> bool:
        """Whether anything of the folder is left, if only the empty one that it lies in."""
        root = self.place.root
        is_empty = self.place.kind != WINDOWS and root.is_dir() and not any(root.iterdir())
        return self.place.state.exists() or is_empty

    def discard(self) -> None:
        """Remove everything; the manifest at last. The folder around it goes if it is empty."""
        state = self.place.state
        self.close()
        shutil.rmtree(state / _BACKUP, ignore_errors=True)
        for name in (DATABASE_BACKUP, NAME):
            (state / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            state.rmdir()
        if self.place.kind != WINDOWS:
            with contextlib.suppress(OSError):
                self.place.root.rmdir()


@contextlib.contextmanager
def writable(place: Place) -> Iterator[None]:
    """Say in one line why files cannot be changed.

    Raises:
        OutputError: No permission, no room, a file in use, or another trouble of the disk.
    """
    try:
        yield
    except PermissionError as error:
        advice = (
            "close the Console, and run this as administrator if it lies in a folder such as"
            " Program Files"
            if place.kind == WINDOWS
            else "run this as the user who runs NNCD"
        )
        where = error.filename or place.root
        raise OutputError(f"{where}: cannot be changed ({error.strerror}); {advice}") from error
    except OSError as error:
        raise OutputError(
            f"{error.filename or place.root}: cannot be changed ({error.strerror}); when that is"
            " mended, give the same command again"
        ) from error


def stage(shop: Workshop, changes: Sequence[FileChange]) -> dict[str, Path]:
    """Copy what is new into the staging folder, and back up what stood there before.

    Returns:
        By path below the root, the staged file.
    """
    staged = {}
    for number, change in enumerate(changes):
        path, backup = located(shop.place.root, change.name), shop.backup(change.name)
        if change.before is not None and _lacks(backup, change.before, path):
            copy = shop.staging / f"{number}.backup"
            shutil.copy2(path, copy)
            backup.parent.mkdir(parents=True, exist_ok=True)
            os.replace(copy, backup)
        if change.source is not None:
            staged[change.name] = shop.staging / f"{number}.new"
            shutil.copyfile(change.source, staged[change.name])
    return staged


def _lacks(backup: Path, before: str, path: Path) -> bool:
    """Return whether a backup is still to be made, of what still stands there."""
    is_whole = backup.is_file() and file_hash(backup) == before
    return not is_whole and file_hash(path) == before


def announce(shop: Workshop, manifest: Manifest | None, wanted: Manifest) -> None:
    """Write down what may be there while files change places."""
    files = dict(wanted.files)
    for name, hashes in (manifest.files if manifest else {}).items():
        files[name] = tuple(dict.fromkeys((*files.get(name, ()), *hashes)))
    coming = replace(wanted, complete=False, files=files)
    write_manifest(coming, shop.place.state, shop.staging)


class Swap:
    """Lets files change places, and takes that back where it is cut off.

    Args:
        shop: Where the new ones are, and the old ones go for the time being.

    Attributes:
        kept: Where files are that a person had changed.
    """

    def __init__(self, shop: Workshop):
        self._shop = shop
        self.kept: list[Path] = []
        self._done: list[tuple[Path, Path | None]] = []

    def make(self, changes: Sequence[FileChange], staged: Mapping[str, Path]) -> None:
        """Make the changes.

        Args:
            changes: In this order.
            staged: As `stage` returned them.
        """
        for number, change in enumerate(changes):
            path = located(self._shop.place.root, change.name)
            if change.is_changed:
                kept = kept_name(path)
                if not kept.exists():
                    self._done.append((kept, None))
                    shutil.copy2(path, kept)
                self.kept.append(kept)
            if path.exists():
                # A copy, so that there is no moment without either version.
                old = self._shop.staging / f"{number}.old"
                shutil.copy2(path, old)
                self._done.append((path, old))
            else:
                self._done.append((path, None))
            if change.action == REMOVED:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged[change.name], path)

    def take_back(self) -> None:
        """Put everything where it was."""
        while self._done:
            path, old = self._done.pop()
            if old is None:
                path.unlink(missing_ok=True)
            elif old.exists():
                os.replace(old, path)
        self.kept.clear()


def kept_name(path: Path) -> Path:
    """Return another name for a file that a person changed, which no Console lists.

    It is free, or has a copy already, made before something was interrupted.
    """
    number = 1
    while True:
        kept = path.with_name(f"{path.name}.changed{'' if number == 1 else number}")
        if not os.path.lexists(kept):
            return kept
        if kept.is_file() and file_hash(kept) == file_hash(path):
            return kept
        number += 1


def remove_files(shop: Workshop, manifest: Manifest) -> list[Path]:
    """Take away every file of an installation, and put back what stood there before.

    Returns:
        Where files are kept that a person had changed.
    """
    kept = []
    # Scripts first: there is no menu entry without its package.
    for name in sorted(manifest.files, key=is_in_package):
        path, backup = located(shop.place.root, name), shop.backup(name)
        content = file_hash(path) if path.is_file() else None
        is_linked = obstacle(shop.place.root, name) is not None
        if is_linked or (content is not None and not manifest.knows(name, content)):
            if is_linked or not manifest.files[name]:
                # Somebody's own: a checkout, or in the place of what we had only taken away.
                if name in manifest.replaced and backup.exists():
                    kept.append(_kept_backup(path, backup))
                continue
            kept.append(kept_name(path))
            os.replace(path, kept[-1])
            content = None
        if name in manifest.replaced and backup.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(backup, path)
        elif content is not None and content != manifest.replaced.get(name):
            path.unlink()
    remove_folders(shop.place.root, manifest.folders)
    return kept


def _kept_backup(path: Path, backup: Path) -> Path:
    """Put a backup beside the path that it is of, where something else stands now."""
    folder = next(parent for parent in path.parents if parent.is_dir())
    number = 1
    while os.path.lexists(kept := folder / f"{path.name}.before{'' if number == 1 else number}"):
        number += 1
    shutil.copy2(backup, kept)
    return kept


def remove_folders(root: Path, folders: Sequence[str]) -> tuple[str, ...]:
    """Remove folders that are empty but for compiled copies of what was there.

    Args:
        root: The Console's.
        folders: Each behind the one that it lies in.

    Returns:
        Those that are still there.
    """
    left = []
    for folder in reversed(folders):
        path = located(root, folder)
        compiled = path / "__pycache__"
        if PACKAGE in PurePosixPath(folder).parts and compiled.is_dir():
            for file in compiled.glob("*.pyc"):
                file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                compiled.rmdir()
        try:
            path.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            left.append(folder)
    return tuple(reversed(left))
