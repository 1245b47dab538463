"""What was installed, written down beside it, so that all of it can be taken away."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Optional

from nnabla_influence.errors import InfluenceError

NAME = "manifest.json"
FORMAT = 1

Row = dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """An installation.

    Attributes:
        version: Of what was installed; empty where this was `recovered`.
        complete: False while files are changed; it stays so where that was interrupted.
        files: By path below the Console's root, the hashes that a file of ours may have: one, two
            while it is replaced, none where we only took away what stood there.
        folders: Those that were made for it, each behind the one that it lies in.
        replaced: By path, the hash of what stood there before; the backup holds a copy.
        rows: By plugin, the row that NNCD's table had before, None where it had none.
    """

    version: str
    complete: bool
    files: Mapping[str, tuple[str, ...]]
    folders: tuple[str, ...] = ()
    replaced: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, Optional[Row]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.files, *self.folders, *self.replaced):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
                raise ValueError(f"{name!r} leads out of the folder")
        if not set(self.replaced) <= set(self.files):
            raise ValueError("a file is said to be replaced by none")

    def knows(self, name: str, content: str) -> bool:
        """Return whether a content is ours, or what ours stands for."""
        return content in self.files.get(name, ()) or content == self.replaced.get(name)


def read_manifest(state: Path) -> Manifest | None:
    """Return what is installed, None if nothing is known: there is no manifest, or a damaged one.

    Raises:
        InfluenceError: It cannot be read, or is of a later version.
    """
    path = state / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        return None
    except OSError as error:
        raise InfluenceError(f"{path}: cannot be read ({error})") from error
    try:
        told = json.loads(text)
        if told.pop("format") > FORMAT:
            raise InfluenceError(
                f"{path}: was written by nnabla-influence {told['version']}; use that version, or"
                " a later one"
            )
        told["files"] = {name: tuple(hashes) for name, hashes in told["files"].items()}
        told["folders"] = tuple(told["folders"])
        return Manifest(**told)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def write_manifest(manifest: Manifest, state: Path, staging: Path) -> None:
    """Write it, whole or not at all."""
    text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1, ensure_ascii=False)
    temporary = staging / NAME
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())  # backups are of no use without it
    os.replace(temporary, state / NAME)
