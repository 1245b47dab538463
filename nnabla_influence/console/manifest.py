"""The list of what was installed into a Console, kept in a folder of our own there."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from nnabla_influence.console.database import Row
from nnabla_influence.errors import OutputError

NAME = "manifest.json"
FORMAT = 2


@dataclass(frozen=True)
class Manifest:
    """What is installed.

    Attributes:
        version: Of the plugins.
        complete: False while files are being changed.
        names: Every file of ours, by its path below the Console's root.
        folders: Those made for it, parents first.
        rows: Of 0.1.0: the rows that NNCD's table had before, which an uninstallation restores.
    """

    version: str
    complete: bool
    names: tuple[str, ...]
    folders: tuple[str, ...]
    rows: tuple[Row, ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.names, *self.folders):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
                raise ValueError(f"{name!r} leads out of the folder")


def read_manifest(folder: Path) -> Manifest:
    """Return what is installed; without a manifest, one of nothing.

    Raises:
        OutputError: It is damaged, or of a later version.
    """
    path = folder / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] <= FORMAT:
            return _parsed(content)
    except (FileNotFoundError, NotADirectoryError):
        return Manifest("", False, (), ())
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise OutputError(
            f"{path}: cannot be read ({error}); delete {folder.name} and the files that were"
            " installed, then install again"
        ) from error
    raise OutputError(
        f"{path}: was written by nnabla-influence {content.get('version')}; use that version"
    )


def _parsed(content: dict[str, Any]) -> Manifest:
    if content["format"] == 1:
        # A name without a hash is one that was only removed.
        names = [name for name, hashes in content["files"].items() if hashes]
        rows = [row for row in content["rows"].values() if row is not None]
    else:
        names, rows = content["names"], content["rows"]
    return Manifest(
        str(content["version"]),
        bool(content["complete"]),
        tuple(names),
        tuple(content["folders"]),
        tuple(map(dict, rows)),
    )


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write it, whole or not at all."""
    new = folder / f"{NAME}.new"
    with new.open("w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, **asdict(manifest)}, file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, folder / NAME)
