"""Recognise a Console by what lies in its folder, whatever system runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnabla_influence.errors import InfluenceError

WINDOWS = "Windows NNC"
DESKTOP = "NNCD"
_LOOKED_FOR = (
    "no Neural Network Console: neither libs/plugins (Windows NNC) nor nncd_bucket/db/nncd.db"
    " (NNCD) was found in it"
)
_PLACES = (".", "Downloads", "Desktop", "Documents")


@dataclass(frozen=True)
class Place:
    """Where a Console wants its plugins.

    Attributes:
        kind: `WINDOWS` or `DESKTOP`.
        root: The folder below which files are put: ``libs/plugins``, or a folder of our own in
            ``nncd_bucket``, which NNCD makes once and never replaces.
        state: A folder of our own that holds what is needed to take everything away again.
        database: NNCD's, whose table ``plugins`` is its menu.
    """

    kind: str
    root: Path
    state: Path
    database: Path | None = None


def recognise(path: str | os.PathLike[str]) -> Place:
    """Return the place that a path means.

    Args:
        path: Of Windows NNC the folder ``neural_network_console``, the one above it, ``libs`` or
            ``libs/plugins``; of NNCD the home folder, ``nncd_bucket`` or ``nncd.db``.

    Raises:
        InfluenceError: It is neither, or both.
    """
    given = Path(os.path.abspath(os.path.expanduser(path)))
    try:
        if not given.exists():
            raise InfluenceError(
                f"{path}: no such folder; give a Console's folder{_suggestion(given)}"
            )
        found = _found(given) or _found(given.resolve())
    except OSError as error:
        raise InfluenceError(f"{path}: cannot be read ({error.strerror})") from error
    if not found:
        what = "a file, and " if given.is_file() else ""
        raise InfluenceError(f"{path}: is {what}{_LOOKED_FOR}{_suggestion(given)}")
    if len(found) > 1:
        both = " or ".join(str(_named(place)) for place in found)
        raise InfluenceError(f"{path}: holds more than one Console; give {both}")
    return found[0]


def child(folder: Path, name: str) -> Path:
    """Return a folder's entry as Windows finds it: whatever its capitals are."""
    exact = folder / name
    if not os.path.lexists(exact) and folder.is_dir():
        for entry in os.listdir(folder):
            if entry.casefold() == name.casefold():
                return folder / entry
    return exact


def _below(folder: Path, *names: str) -> Path:
    for name in names:
        folder = child(folder, name)
    return folder


def _named(place: Place) -> Path:
    """Return the path that means this place and no other."""
    return place.root.parent.parent if place.kind == WINDOWS else place.root.parent


def _found(given: Path) -> list[Place]:
    return [*_windows(given), *_desktop(given)]


def _windows(given: Path) -> Iterator[Place]:
    for plugins in (
        *_ends(given, "libs", "plugins"),
        _below(given, "libs", "plugins"),
        _below(given, "neural_network_console", "libs", "plugins"),
    ):
        if _is_of_windows(plugins):
            yield Place(WINDOWS, plugins, plugins / "nnabla_influence_installed")


def _ends(given: Path, folder: str, name: str) -> Iterator[Path]:
    """Yield the entry of a folder that a path names, or whose folder it names."""
    if (given.parent.name.casefold(), given.name.casefold()) == (folder, name):
        yield given
    elif given.name.casefold() == folder:
        yield _below(given, name)


def _is_of_windows(plugins: Path) -> bool:
    """Tell a Console's folder of plugins from another program's: by its menus, or its program."""
    if not plugins.is_dir():
        return False
    menus = any(entry.name.startswith("_") and entry.is_dir() for entry in plugins.iterdir())
    program = child(plugins.parent.parent, "neural_network_console.exe")
    return menus or program.is_file()


def _desktop(given: Path) -> Iterator[Place]:
    for database in (
        *_ends(given, "db", "nncd.db"),
        _below(given, "db", "nncd.db"),
        _below(given, "nncd_bucket", "db", "nncd.db"),
    ):
        if database.is_file():
            root = database.parent.parent / "nnabla-influence"
            yield Place(DESKTOP, root, root / "installed", database)


def _suggestion(given: Path) -> str:
    """Return words that name the Consoles in this system's usual places, if there are any."""
    try:
        folders = [Path.home() / place for place in _PLACES]
        if os.name == "nt":
            folders += [Path("C:/"), Path("D:/")]
        places = [place for folder in folders for place in _found(folder)]
    except (OSError, RuntimeError):  # without a home folder
        return ""
    names = dict.fromkeys(str(_named(place)) for place in places)
    return f"; found here: {', '.join(names)}" if names else ""
