"""What has to change among a Console's files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from nnabla_influence.errors import OutputError
from nnabla_influence.files import file_hash
from nnabla_influence.installation.manifest import Manifest
from nnabla_influence.installation.payload import PACKAGE, is_in_package
from nnabla_influence.installation.places import Place, child

NEW = "new"
REPLACED = "replaced"
REMOVED = "removed"


@dataclass(frozen=True)
class FileChange:
    """A file that is put there, or taken away.

    Attributes:
        name: Its path below the Console's root, with slashes.
        action: `NEW`, `REPLACED` or `REMOVED`.
        source: What is put there.
        wanted: The hash of that.
        before: The hash of what stood there before any installation, and is kept as a backup.
        is_changed: Whether a person changed what we installed: that is kept beside it.
    """

    name: str
    action: str
    source: Path | None = None
    wanted: str | None = None
    before: str | None = None
    is_changed: bool = False


@dataclass(frozen=True)
class FilePlan:
    """The files' part of an installation.

    Attributes:
        changes: In the order to make them.
        files: By path, the hash that each file will have, None for those only taken away.
        replaced: As in the manifest.
        folders: Those to make, as in the manifest.
    """

    changes: tuple[FileChange, ...]
    files: Mapping[str, str | None]
    replaced: Mapping[str, str]
    folders: tuple[str, ...]


@dataclass
class _Survey:
    """Finds out what stands where, and what is in the way."""

    place: Place
    manifest: Manifest
    changes: list[FileChange] = field(default_factory=list)
    files: dict[str, str | None] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    in_the_way: list[str] = field(default_factory=list)

    def put(self, name: str, source: Path) -> None:
        path = located(self.place.root, name)
        wanted = file_hash(source)
        self.files[name] = wanted
        trouble = obstacle(self.place.root, name)
        if trouble:
            self.in_the_way.append(trouble)
            return
        before = self.manifest.replaced.get(name)
        if not path.exists():
            self.changes.append(FileChange(name, NEW, source, wanted))
            return
        content = file_hash(path)
        if name not in self.manifest.files:
            if not self._is_of_ours(name, path):
                self.in_the_way.append(f"{path}: is in the way, and not of nnabla-influence")
                return
            before = self.replaced[name] = content
            self.changes.append(FileChange(name, REPLACED, source, wanted, before))
        elif content != wanted or wanted not in self.manifest.files[name]:
            changed = content != wanted and not self.manifest.knows(name, content)
            change = FileChange(name, REPLACED, source, wanted, before, is_changed=changed)
            self.changes.append(change)

    def take_away(self, name: str) -> None:
        """Remove what an earlier version had, or an earlier copy by hand."""
        path = located(self.place.root, name)
        before = self.manifest.replaced.get(name)
        if path.is_file():
            content = file_hash(path)
            ours = self.manifest.knows(name, content)
            if self.manifest.files.get(name, ()) or content == before:
                self.changes.append(FileChange(name, REMOVED, before=before, is_changed=not ours))
        if before is not None:
            self.files[name] = None

    def clear_copy(self, folder: str) -> None:
        """Plan to take a copy of the package, made by hand, out of the way as a whole."""
        root = located(self.place.root, folder)
        for path in sorted(root.rglob("*.py")):
            name = f"{folder}/{path.relative_to(root).as_posix()}"
            if name not in self.files and name not in self.manifest.files and path.is_file():
                content = file_hash(path)
                self.replaced[name] = content
                self.files[name] = None
                self.changes.append(FileChange(name, REMOVED, before=content))

    def _is_of_ours(self, name: str, path: Path) -> bool:
        """Tell a copy made by hand, of this version or another, by its words."""
        if is_in_package(name):
            parts = PurePosixPath(name).parts
            package = PurePosixPath(*parts[: parts.index(PACKAGE) + 1])
            path = located(self.place.root, str(package)) / "__init__.py"
        try:
            return PACKAGE in path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False


def obstacle(root: Path, name: str) -> str | None:
    """Return what keeps a file from being where it has to be."""
    parts = PurePosixPath(name).parts
    path = root
    for position, part in enumerate(parts, 1):
        path = child(path, part)
        # The Console's own folders may be links; through one of ours a checkout would be changed.
        if path.is_symlink() and not part.startswith("_"):
            return f"{path}: is in the way, a link to {os.readlink(path)}"
        if position < len(parts) and path.exists() and not path.is_dir():
            return f"{path}: is in the way, a file where a folder has to be"
    return f"{path}: is in the way, a folder" if path.is_dir() else None


def located(root: Path, name: str) -> Path:
    """Return where a file stands, or will stand; capitals are what they are there."""
    for part in PurePosixPath(name).parts:
        root = child(root, part)
    return root


def plan_files(place: Place, manifest: Manifest | None, wanted: Mapping[str, Path]) -> FilePlan:
    """Compare what stands there with what shall.

    Args:
        place: The Console.
        manifest: What is installed.
        wanted: As of `payload.payload`.

    Raises:
        OutputError: Something is in the way.
    """
    survey = _Survey(place, manifest or Manifest("", False, {}))
    survey.replaced.update(survey.manifest.replaced)
    for name, source in wanted.items():
        survey.put(name, source)
    if survey.in_the_way:
        more = len(survey.in_the_way) - 1
        others = f" (and {more} more)" if more else ""
        raise OutputError(
            f"{survey.in_the_way[0]}{others}; move it to another place, then install again"
        )
    for name in survey.manifest.files:
        if name not in wanted:
            survey.take_away(name)
    copies = (PurePosixPath(name) for name in wanted if is_in_package(name))
    tops = dict.fromkeys(path.parts[: path.parts.index(PACKAGE) + 1] for path in copies)
    for top in tops:
        survey.clear_copy("/".join(top))
    return FilePlan(
        tuple(survey.changes),
        survey.files,
        survey.replaced,
        _folders_to_make(place.root, list(wanted), survey.manifest),
    )


def _folders_to_make(root: Path, names: Sequence[str], manifest: Manifest) -> tuple[str, ...]:
    made = dict.fromkeys(manifest.folders)
    for name in names:
        for folder in reversed(PurePosixPath(name).parents):
            if str(folder) not in made and not located(root, str(folder)).exists():
                made[str(folder)] = None
    return tuple(made)
