"""What is put into a Console: the scripts, and beside them the package that they import.

A Console's Python has no installer. It finds what lies beside a script, so every folder of scripts
gets a copy of the package: all of it, for parts of it are imported by names that are composed, and
a whole package is what its tests are about.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nnabla_influence import __version__
from nnabla_influence.console.registration import DESKTOP_PLUGINS, Plugin
from nnabla_influence.errors import InfluenceError
from nnabla_influence.installation.places import DESKTOP
from nnabla_influence.resources import plugins_folder

PACKAGE = "nnabla_influence"
_LONGEST_ON_WINDOWS = 259


@dataclass(frozen=True)
class Source:
    """Where a version of the plugins is taken from.

    Attributes:
        plugins: Folder of the scripts, laid out as the Console's menu.
        package: The folder of the package that they import.
        version: The package's.
        registered: What NNCD is told about the scripts.
    """

    plugins: Path
    package: Path
    version: str
    registered: Sequence[Plugin]


def own_source() -> Source:
    """Return this very version."""
    package = Path(__file__).resolve().parent.parent
    return Source(plugins_folder(), package, __version__, DESKTOP_PLUGINS)


def payload(source: Source, kind: str) -> dict[str, Path]:
    """Return which file goes where.

    Args:
        source: The plugins.
        kind: Of the Console. Windows NNC has the scripts in the folders that make its menu; NNCD
            has its menu in a table, so that one folder holds all scripts and one package.

    Returns:
        By the path below the Console's root, with slashes, each file to copy. A script comes
        behind the package that it needs.

    Raises:
        InfluenceError: The scripts are not there.
    """
    scripts: dict[str, Path] = {}
    if kind == DESKTOP:
        for plugin in source.registered:
            scripts[script_in_desktop(plugin)] = source.plugins / plugin.script
    else:
        for path in _files(source.plugins):
            scripts[path.relative_to(source.plugins).as_posix()] = path
    missing = [str(path) for path in scripts.values() if not path.is_file()]
    if missing or not scripts:
        raise InfluenceError(
            f"{missing[0] if missing else source.plugins}: is missing; install nnabla-influence"
            " again, with its plugins, and then into the Console"
        )
    package = {path.relative_to(source.package): path for path in _files(source.package)}
    folders = dict.fromkeys(PurePosixPath(name).parent for name in scripts)
    copies = {
        str(folder / PACKAGE / name.as_posix()): path
        for folder in folders
        for name, path in package.items()
    }
    return {**copies, **scripts}


def script_in_desktop(plugin: Plugin) -> str:
    """Return where NNCD has a plugin's script, below the root."""
    return PurePosixPath(plugin.script).name


def check_lengths(root: Path, names: Sequence[str]) -> None:
    """Refuse what Windows cannot open.

    Raises:
        InfluenceError: The longest path has too many characters.
    """
    longest = max((str(root / name) for name in names), key=len)
    if os.name == "nt" and len(longest) > _LONGEST_ON_WINDOWS:
        raise InfluenceError(
            f"{longest}: has {len(longest)} characters, more than the {_LONGEST_ON_WINDOWS} that"
            " Windows can open; move the Console to a folder with a shorter path"
        )


def is_in_package(name: str) -> bool:
    """Return whether a file belongs to a copy of the package, rather than being a script."""
    return PACKAGE in PurePosixPath(name).parts[:-1]


def _files(folder: Path) -> list[Path]:
    """Return what people wrote: nothing compiled, hidden, or bundled for the installed package."""
    kept = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        bundled = folder.name == PACKAGE and parts[0] in ("_plugins", "_network_defs")
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if not bundled and not hidden and path.suffix != ".pyc" and path.is_file():
            kept.append(path)
    return kept
