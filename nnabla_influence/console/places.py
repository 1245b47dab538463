"""Find the Console that a path means, by what lies in its folder, on any system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnabla_influence.errors import InfluenceError

WINDOWS = "Windows NNC"
NNCD = "NNCD"


@dataclass(frozen=True)
class Place:
    """Where a Console expects its plugins.

    Attributes:
        kind: `WINDOWS` or `NNCD`.
        root: The folder that files are installed below: ``libs/plugins``, or a folder of our own in
            ``nncd_bucket``, which NNCD never replaces.
        state: Our own folder for the manifest and backups.
        database: NNCD's, whose table ``plugins`` is its menu.
    """

    kind: str
    root: Path
    state: Path
    database: Path | None = None


def recognise(path: str | os.PathLike[str]) -> Place:
    """Return the place that a path means.

    Args:
        path: Of Windows NNC the folder ``neural_network_console``, its parent, ``libs`` or
            ``libs/plugins``; of NNCD the home folder, ``nncd_bucket`` or ``nncd.db``.

    Raises:
        InfluenceError: It is neither, or both.
    """
    given = Path(os.path.abspath(os.path.expanduser(path)))
    try:
        if not given.exists():
            raise InfluenceError(f"{path}: does not exist; give a Console's folder")
        found = _found(given) or _found(given.resolve())
    except OSError as error:
        raise InfluenceError(f"{path}: cannot be read ({error.strerror})") from error
    if not found:
        raise InfluenceError(
            f"{path}: is not a Neural Network Console; it contains neither libs/plugins (Windows"
            " NNC) nor nncd_bucket/db/nncd.db (NNCD)"
        )
    if len(found) > 1:
        both = " or ".join(str(place.root.parent) for place in found)
        raise InfluenceError(f"{path}: contains more than one Console; give {both}")
    return found[0]


def _found(given: Path) -> list[Place]:
    return [*_windows(given), *_desktop(given)]


def _windows(given: Path) -> Iterator[Place]:
    for plugins in (
        *_named(given, "libs", "plugins"),
        given / "libs" / "plugins",
        given / "neural_network_console" / "libs" / "plugins",
    ):
        if plugins.is_dir() and _is_of_console(plugins):
            yield Place(WINDOWS, plugins, plugins / "nnabla_influence_installed")


def _is_of_console(plugins: Path) -> bool:
    """Distinguish a Console's plugins from another program's: by its menus, or its program."""
    program = plugins.parent.parent / "neural_network_console.exe"
    menus = (entry for entry in plugins.iterdir() if entry.name.startswith("_") and entry.is_dir())
    return program.is_file() or any(menus)


def _desktop(given: Path) -> Iterator[Place]:
    for database in (
        *_named(given, "db", "nncd.db"),
        given / "db" / "nncd.db",
        given / "nncd_bucket" / "db" / "nncd.db",
    ):
        if database.is_file():
            root = database.parent.parent / "nnabla-influence"
            yield Place(NNCD, root, root / "installed", database)


def _named(given: Path, folder: str, name: str) -> Iterator[Path]:
    """Yield the entry of a folder that a path names, or whose folder it names."""
    if (given.parent.name.casefold(), given.name.casefold()) == (folder, name):
        yield given
    elif given.name.casefold() == folder:
        yield given / name
