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
        found = _consoles(given) or _consoles(given.resolve())
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


def _consoles(given: Path) -> list[Place]:
    return [*_windows(given), *_desktop(given)]


def _windows(given: Path) -> Iterator[Place]:
    for below in ("", "plugins", "libs/plugins", "neural_network_console/libs/plugins"):
        plugins = given / below
        if _ends_with(plugins, "libs", "plugins") and plugins.is_dir() and _is_of_console(plugins):
            yield Place(WINDOWS, plugins, plugins / "nnabla_influence_installed")


def _is_of_console(plugins: Path) -> bool:
    """Distinguish a Console's plugins from another program's: by its menus, or its program."""
    program = plugins.parent.parent / "neural_network_console.exe"
    menus = (entry for entry in plugins.iterdir() if entry.name.startswith("_") and entry.is_dir())
    return program.is_file() or any(menus)


def _desktop(given: Path) -> Iterator[Place]:
    for below in ("", "nncd.db", "db/nncd.db", "nncd_bucket/db/nncd.db"):
        database = given / below
        if _ends_with(database, "db", "nncd.db") and database.is_file():
            root = database.parent.parent / "nnabla-influence"
            yield Place(NNCD, root, root / "installed", database)


def _ends_with(path: Path, folder: str, name: str) -> bool:
    return (path.parent.name.casefold(), path.name.casefold()) == (folder, name)
