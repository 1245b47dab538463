"""Install the plugins into a Console, and remove them.

A manifest lists the names of all files of ours. An installation copies the new files into a staging
folder, adds their names to the manifest, and then renames them into place; so after an interruption
at any point the same command completes the work. Any other file at one of our names is refused.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from sqlite3 import Connection

from nnabla_influence.console.database import (
    Row,
    are_same,
    back_up,
    check_tenant,
    opened,
    registered,
    replace_rows,
    rows_of,
)
from nnabla_influence.console.places import NNCD, WINDOWS, Place
from nnabla_influence.console.release import (
    MANIFEST,
    PACKAGE,
    Manifest,
    Release,
    is_package,
    payload,
    read_manifest,
    unit_of,
    write_manifest,
)
from nnabla_influence.errors import OutputError

DATABASE_BACKUP = "nncd.db.backup"
_NEW, _OLD = "new", "old"
# What 0.1.0 kept: files that had been copied there by hand, by their path.
_BY_HAND, _ENDING = "backup", ".backup"
_NEXT = {
    NNCD: "NNCD shows them at once: in an evaluated job, in the menu Plugins.",
    WINDOWS: "Restart Neural Network Console; right-click the results of an evaluation, and find"
    " them in Post Process, XAI.",
}


class Installation:
    """An installation into a Console, an upgrade, a repair, or a removal.

    Args:
        place: The Console.
        release: What to install; this version by default.
        remove: Remove what is installed.

    Raises:
        InfluenceError: A file of somebody else is in the way, or the database cannot be used.
    """

    def __init__(self, place: Place, release: Release | None = None, *, remove: bool = False):
        self._place = place
        self._release = release or Release()
        self._remove = remove
        self._payload = {} if remove else payload(self._release, place)
        with _changing(place), opened(place.database) as connection:
            self._compare(connection)

    def _compare(self, connection: Connection | None) -> None:
        place = self._place
        self._before = read_manifest(place.state)
        self._units = tuple(dict.fromkeys(map(unit_of, self._payload)))
        obsolete = set(map(unit_of, self._before.names)) - set(self._units)
        self._obsolete = sorted(obsolete, key=lambda unit: (is_package(unit), unit))
        _check_own(place.root, (*self._units, *self._obsolete), self._before.names)
        self._rows: list[Row] = []
        self._wanted_rows: list[Row] = []
        if connection is not None:
            ids = [plugin.id for plugin in self._release.registered]
            self._rows, foreign = registered(connection, ids, place.root)
            if not self._remove:
                check_tenant(connection)
                self._wanted_rows = rows_of(self._release.registered, place.root)
                for row in foreign:
                    raise OutputError(
                        f"{place.database}: {row['plugin_name']} ({row['plugin_id']}) is registered"
                        f" for {row['plugin_file']}, not by this command; delete that row, then"
                        " repeat the command"
                    )
        self._wanted = Manifest(
            version=self._release.version,
            complete=True,
            names=tuple(self._payload),
            folders=self._folders(),
            rows=self._before.rows,
        )

    def _folders(self) -> tuple[str, ...]:
        """Return the folders that are made for the scripts, or were made."""
        made = dict.fromkeys(self._before.folders)
        for unit in self._units:
            for folder in reversed(PurePosixPath(unit).parents[:-1]):
                if not (self._place.root / folder).exists():
                    made[str(folder)] = None
        return tuple(folder for folder in made if PACKAGE not in PurePosixPath(folder).parts)

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do."""
        place = self._place
        if self._remove:
            own = [place.state, *_empty(place)]
            return not (self._rows or any(folder.exists() for folder in own))
        return (
            self._before == self._wanted
            and are_same(self._rows, self._wanted_rows)
            and all(
                (place.root / name).is_file()
                and filecmp.cmp(path, place.root / name, shallow=False)
                for name, path in self._payload.items()
            )
        )

    def lines(self) -> list[str]:
        """Return what will be changed."""
        place, before, version = self._place, self._before.version, self._release.version
        if self.is_done:
            head = f"nnabla-influence {version} is already installed"
            if self._remove:
                head = "nnabla-influence is not installed"
        elif self._remove:
            head = f"Removes nnabla-influence {before}".rstrip()
        elif before in ("", version):
            head = f"{'Repairs' if before else 'Installs'} nnabla-influence {version}"
        else:
            head = f"Replaces nnabla-influence {before} by {version}"
        lines = [f"{head}: {place.kind} in {place.root}"]
        if self.is_done:
            return lines
        for unit in self._units:
            action = "replaced" if (place.root / unit).exists() else "new"
            lines += _unit_lines(action, [unit], self._payload)
        lines += _unit_lines("removed", self._obsolete, self._before.names)
        if self._remove:
            lines += _unit_lines("restored", list(_by_hand(place)), ())
        if not are_same(self._rows, self._wanted_rows):
            lines.append(f"In the table `plugins` of {place.database}:")
            rows = self._rows if self._remove else self._wanted_rows
            action = "removed" if self._remove else "written"
            lines += [f"  {action:<9} {row['plugin_name']} ({row['plugin_id']})" for row in rows]
            if not self._remove:
                lines.append(f"A backup of the database: {place.state / DATABASE_BACKUP}")
        return lines

    def apply(self) -> list[str]:
        """Make the changes.

        Returns:
            What to report.

        Raises:
            OutputError: It failed; the same command completes it.
        """
        place, state = self._place, self._place.state
        with _changing(place):
            with opened(place.database, write=True) as connection:
                self._compare(connection)  # time has passed since it was shown
                if not self._remove:
                    self._put(connection)
                elif connection is not None:
                    earlier = [r for r in self._before.rows if os.path.isfile(r["plugin_file"])]
                    replace_rows(connection, self._rows, earlier)
            for unit in self._obsolete:
                _discard(place.root / unit)
            if self._remove:
                self._restore()
                _remove_folders(place.root, self._before.folders)
                _discard_state(place)
                return [f"Nothing of nnabla-influence is left in {place.kind}."]
            folders = _remove_folders(place.root, self._wanted.folders)
            write_manifest(replace(self._wanted, folders=folders), state)
            _discard(state / _NEW, state / _OLD)
        return [f"Installed nnabla-influence {self._release.version}. {_NEXT[place.kind]}"]

    def _put(self, connection: Connection | None) -> None:
        """Copy the files, register the plugins, and rename the copies into place."""
        place, state = self._place, self._place.state
        try:
            _discard(state / _NEW, state / _OLD)
            for folder in (state / _NEW, state / _OLD):
                folder.mkdir(parents=True)
            for name, path in self._payload.items():
                unit = unit_of(name)
                target = Path(f"{state / _NEW / str(self._units.index(unit))}{name[len(unit) :]}")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            if connection is not None and not are_same(self._rows, self._wanted_rows):
                assert place.database is not None
                back_up(place.database, state / _NEW / DATABASE_BACKUP)
                os.replace(state / _NEW / DATABASE_BACKUP, state / DATABASE_BACKUP)
                replace_rows(connection, self._rows, self._wanted_rows)
            names = tuple(dict.fromkeys((*self._before.names, *self._payload)))
            write_manifest(replace(self._wanted, complete=False, names=names), state)
            for number, unit in enumerate(self._units):
                _move(state / _NEW / str(number), place.root / unit, state / _OLD / str(number))
        except BaseException:
            with contextlib.suppress(OSError):
                _discard(state / _NEW)
                if not (state / MANIFEST).exists() and not _by_hand(place):
                    _discard_state(place)
            raise

    def _restore(self) -> None:
        """Return to their places the files that 0.1.0 found installed by hand."""
        found = _by_hand(self._place)
        if found:
            write_manifest(replace(self._before, names=()), self._place.state)  # it is not ours
        for name, path in found.items():
            target = self._place.root / name
            if target.is_file() and filecmp.cmp(path, target, shallow=False):
                continue
            while os.path.lexists(target):
                target = target.with_name(f"{target.name}.before")
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)


@contextlib.contextmanager
def _changing(place: Place) -> Iterator[None]:
    """Report in one line why files cannot be changed.

    Raises:
        OutputError: No permission, no space, a file in use, or another failure of the disk.
    """
    try:
        yield
    except OSError as error:
        advice = "fix the cause, then repeat this command"
        if isinstance(error, PermissionError) and place.kind == WINDOWS:
            advice = (
                "close the Console, and run this as administrator if it lies in a folder such as"
                " Program Files"
            )
        elif isinstance(error, PermissionError):
            advice = "run this as the user who runs NNCD"
        raise OutputError(
            f"{error.filename or place.root}: cannot be changed ({error.strerror}); {advice}"
        ) from error


def _check_own(root: Path, units: Sequence[str], names: Collection[str]) -> None:
    """Refuse to overwrite or to remove a file that is not listed in the manifest."""
    strange = []
    for unit in units:
        path = root / unit
        if path.is_symlink() or (path.exists() and path.is_dir() != is_package(unit)):
            strange.append(path)
        elif path.is_dir():
            files = (file for file in _entries(path) if file.suffix != ".pyc")
            strange += [file for file in files if file.relative_to(root).as_posix() not in names]
        elif path.exists() and unit not in names:
            strange.append(path)
    if strange:
        more = f" (nor were {len(strange) - 1} more)" if len(strange) > 1 else ""
        raise OutputError(
            f"{strange[0]}: was not installed by this command{more}; move it elsewhere, then repeat"
            " the command"
        )


def _entries(folder: Path) -> Iterator[Path]:
    """Yield every file and link below a folder."""
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in (*files, *links):
            yield Path(parent, name)


def _move(new: Path, path: Path, old: Path) -> None:
    """Rename a file or a folder into its place; what was there goes, or returns if that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not new.is_dir():
        os.replace(new, path)
        return
    if path.exists():
        os.rename(path, old)
    try:
        os.rename(new, path)
    except BaseException:
        if old.exists():
            os.rename(old, path)
        raise


def _discard(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _discard_state(place: Place) -> None:
    """Remove our own folder, the manifest last; the folder around it goes if it is empty."""
    temporary = (_NEW, _OLD, _BY_HAND, "staging", f"{MANIFEST}.new")
    _discard(*(place.state / name for name in (*temporary, DATABASE_BACKUP, MANIFEST)))
    with contextlib.suppress(OSError):
        place.state.rmdir()
    for folder in _empty(place):
        folder.rmdir()


def _empty(place: Place) -> list[Path]:
    """Return our folder in NNCD's, if it is empty."""
    root = place.root
    return [root] if place.kind == NNCD and root.is_dir() and not os.listdir(root) else []


def _remove_folders(root: Path, folders: Sequence[str]) -> tuple[str, ...]:
    """Remove those folders that are empty, children first; return the others."""
    for folder in reversed(folders):
        with contextlib.suppress(OSError):
            (root / folder).rmdir()
    return tuple(folder for folder in folders if (root / folder).exists())


def _by_hand(place: Place) -> dict[str, Path]:
    """Return what 0.1.0 kept, by its path below the root."""
    folder = place.state / _BY_HAND
    paths = sorted(folder.rglob(f"*{_ENDING}"))
    return {
        path.relative_to(folder).as_posix()[: -len(_ENDING)]: path
        for path in paths
        if path.is_file()
    }


def _unit_lines(action: str, units: Sequence[str], names: Collection[str]) -> Iterator[str]:
    for unit in units:
        count = sum(unit_of(name) == unit for name in names)
        yield f"  {action:<9} {unit}" + (f"/ ({count} files)" if is_package(unit) else "")
