"""What is installed: the files of a release, and the manifest that lists them afterwards.

A Console's Python has no installer, but imports what lies beside a script. So each folder of
scripts gets a whole copy of the package.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from nnabla_influence import __version__
from nnabla_influence.console.places import NNCD, Place
from nnabla_influence.console.registration import DESKTOP_PLUGINS, Plugin
from nnabla_influence.errors import InfluenceError, OutputError
from nnabla_influence.resources import plugins_folder

MANIFEST = "manifest.json"
FORMAT = 2
PACKAGE = "nnabla_influence"


@dataclass(frozen=True)
class Release:
    """A version of the plugins on the disk; this one by default.

    Attributes:
        plugins: Folder of the scripts, laid out as the Console's menu.
        package: The folder of the package that they import.
        version: The package's.
        registered: The rows of NNCD's menu.
    """

    plugins: Path = field(default_factory=plugins_folder)
    package: Path = Path(__file__).resolve().parent.parent
    version: str = __version__
    registered: Sequence[Plugin] = DESKTOP_PLUGINS


def payload(release: Release, place: Place) -> dict[str, Path]:
    """Return the file to copy for each path below the Console's root, with slashes.

    Windows NNC's menu is made of folders; NNCD's is a table, so one folder holds all scripts and
    one package. Packages come before the scripts that need them.

    Raises:
        InfluenceError: The scripts are missing.
    """
    if place.kind == NNCD:
        scripts = {p.script_name: release.plugins / p.script for p in release.registered}
    else:
        scripts = _files(release.plugins)
    missing = [path for path in scripts.values() if not path.is_file()]
    if missing or not scripts:
        raise InfluenceError(
            f"{missing[0] if missing else release.plugins}: is missing; reinstall nnabla-influence"
        )
    folders = dict.fromkeys(PurePosixPath(name).parent for name in scripts)
    copies = {
        str(folder / PACKAGE / name): path
        for folder in folders
        for name, path in _files(release.package).items()
    }
    return {**copies, **scripts}


def unit_of(name: str) -> str:
    """Return what a file is installed with as a whole: its copy of the package, or itself."""
    parts = name.split("/")
    return "/".join(parts[: parts.index(PACKAGE) + 1]) if PACKAGE in parts[:-1] else name


def is_package(unit: str) -> bool:
    """Return whether a unit is a copy of the package, rather than a script."""
    return PurePosixPath(unit).name == PACKAGE


def _files(folder: Path) -> dict[str, Path]:
    """Return the source files: nothing compiled, hidden, or bundled for the installed package."""
    kept = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        bundled = folder.name == PACKAGE and name.parts[0] in ("_plugins", "_network_defs")
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if not bundled and not hidden and path.suffix != ".pyc" and path.is_file():
            kept[name.as_posix()] = path
    return kept


# ---------------------------------------------------------------------- manifest


@dataclass(frozen=True)
class Manifest:
    """What is installed, or may be where an installation was interrupted.

    Attributes:
        version: Of the plugins.
        names: Every file of ours, by its path below the Console's root.
        folders: Those made for it, parents first.
    """

    version: str
    names: tuple[str, ...]
    folders: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in (*self.names, *self.folders):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
                raise ValueError(f"{name!r} is outside of the folder")


def read_manifest(folder: Path) -> Manifest:
    """Return what is installed; without a manifest, one of nothing.

    Raises:
        OutputError: It is damaged, or of another version.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] == FORMAT:
            names, folders = tuple(content["names"]), tuple(content["folders"])
            return Manifest(str(content["version"]), names, folders)
    except (FileNotFoundError, NotADirectoryError):
        return Manifest("", (), ())
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise OutputError(
            f"{path}: cannot be read ({error}); delete {folder.name} and the files that were"
            " installed, then install again"
        ) from error
    raise OutputError(
        f"{path}: was written by nnabla-influence {content.get('version')}; uninstall with that"
        " version, or use it"
    )


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write it, whole or not at all."""
    new = folder / f"{MANIFEST}.new"
    with new.open("w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, **asdict(manifest)}, file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, folder / MANIFEST)
