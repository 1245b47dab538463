"""Find out what is installed where the manifest is lost or damaged.

Backups lie below the paths that they are of, this version's files are known by their contents, and
the backup of the database has the rows that stood there before. What is no backup, and not known,
is treated as something that a person has changed: it is kept beside.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Optional

from nnabla_influence.files import file_hash
from nnabla_influence.installation.changing import DATABASE_BACKUP, Workshop
from nnabla_influence.installation.manifest import NAME, Manifest, Row
from nnabla_influence.installation.payload import PACKAGE, is_in_package
from nnabla_influence.installation.places import Place
from nnabla_influence.installation.registry import present_rows
from nnabla_influence.installation.tree import located, obstacle

_UNKNOWN = "unknown"  # the hash of nothing


def recovered(place: Place, wanted: Mapping[str, Path], ids: Sequence[str]) -> Manifest | None:
    """Return a manifest without a version, in place of one that is lost.

    Args:
        place: The Console.
        wanted: As of `payload.payload`.
        ids: Of the plugins that are registered.

    Returns:
        None where nothing of ours is there, or only what somebody else put there.
    """
    backups = Workshop(place).backups()
    is_lost = has_traces(place)
    files: dict[str, tuple[str, ...]] = {}
    for folder, names in _copies(wanted).items():
        there = [name for name in names if _stands(place.root, name)]
        unknown = _unknown_modules(place.root, folder, wanted)
        if is_lost:
            files.update({name: (file_hash(wanted[name]),) for name in there})
            files.update(dict.fromkeys(unknown, (_UNKNOWN,)))
        elif not unknown and _is_this_version(place.root, folder, there, wanted):
            files.update({name: (file_hash(wanted[name]),) for name in there})
    for name in backups:
        if name not in files:
            files[name] = (_UNKNOWN,) if _stands(place.root, name) else ()
    if not files and not is_lost:
        return None
    return Manifest(
        version="",
        complete=False,
        files=files,
        folders=_folders(files),
        replaced={name: file_hash(path) for name, path in backups.items()},
        rows=_rows(place, ids),
    )


def has_traces(place: Place) -> bool:
    """Return whether there was an installation, by what it leaves in its own folder."""
    notes = (place.state / NAME, place.state / DATABASE_BACKUP)
    return bool(Workshop(place).backups()) or any(path.exists() for path in notes)


def _copies(wanted: Mapping[str, Path]) -> dict[str, list[str]]:
    """Return the names by the folder that holds scripts and their package."""
    copies: dict[str, list[str]] = {}
    for name in wanted:
        parts = PurePosixPath(name).parts
        end = parts.index(PACKAGE) if is_in_package(name) else len(parts) - 1
        copies.setdefault("/".join(parts[:end]), []).append(name)
    return copies


def _stands(root: Path, name: str) -> bool:
    """Return whether there is a file, and not behind a link: a checkout is not ours."""
    return obstacle(root, name) is None and located(root, name).is_file()


def _unknown_modules(root: Path, folder: str, wanted: Mapping[str, Path]) -> list[str]:
    top = f"{folder}/{PACKAGE}".lstrip("/")
    if obstacle(root, f"{top}/__init__.py"):
        return []
    package = located(root, top)
    names = [f"{top}/{path.relative_to(package).as_posix()}" for path in package.rglob("*.py")]
    return sorted(name for name in names if name not in wanted)


def _is_this_version(
    root: Path, folder: str, there: Sequence[str], wanted: Mapping[str, Path]
) -> bool:
    """Tell a whole copy of this version from another one, and from a linked checkout."""
    parts = PurePosixPath(folder).parts
    parents = [located(root, "/".join(parts[: i + 1])) for i in range(len(parts))]
    return (
        {is_in_package(name) for name in there} == {True, False}
        and not any(path.is_symlink() for path in parents)
        and all(file_hash(located(root, name)) == file_hash(wanted[name]) for name in there)
    )


def _folders(names: Mapping[str, object]) -> tuple[str, ...]:
    """Return every folder of the files; only those are ever removed that are empty."""
    folders: dict[str, None] = {}
    for name in names:
        folders.update({str(folder): None for folder in reversed(PurePosixPath(name).parents)})
    folders.pop(".", None)
    return tuple(folders)


def _rows(place: Place, ids: Sequence[str]) -> dict[str, Optional[Row]]:
    """Return the rows of before from the backup of the database."""
    backup = place.state / DATABASE_BACKUP
    if place.database is None or not backup.is_file():
        return {}
    with contextlib.closing(sqlite3.connect(str(backup))) as connection:
        connection.row_factory = sqlite3.Row
        try:
            return dict(present_rows(connection, ids))
        except sqlite3.Error:
            return {}
