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
            self._compare_menu(connection)
        self._wanted = Manifest(self._release.version, tuple(self._payload), self._folders())

    def _compare_menu(self, connection: Connection) -> None:
        place, plugins = self._place, self._release.registered
        self._rows, foreign = registered(connection, [plugin.id for plugin in plugins], place.root)
        if self._remove:
            return
        check_tenant(connection)
        self._wanted_rows = rows_of(plugins, place.root)
        for row in foreign:
            raise OutputError(
                f"{place.database}: {row['plugin_name']} ({row['plugin_id']}) is registered for"
                f" {row['plugin_file']}, not by this command; delete that row, then repeat the"
                " command"
            )

    def _folders(self) -> tuple[str, ...]:
        """Return the folders that are made for the scripts, or were made."""
        made = dict.fromkeys(self._before.folders)
        for unit in self._units:
            for folder in reversed(PurePosixPath(unit).parents[:-1]):
                if not (self._place.root / folder).exists():
                    made[str(folder)] = None
        return tuple(made)

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do."""
        place = self._place
        if self._remove:
            own = [place.state, *_empty(place)]
            return not (self._rows or any(folder.exists() for folder in own))
        return (
            self._before == self._wanted
            and not (place.state / _NEW).exists()
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
            lines.append(_unit_line(action, unit, self._payload))
        lines += [_unit_line("removed", unit, self._before.names) for unit in self._obsolete]
        if not are_same(self._rows, self._wanted_rows):
            lines.append(f"In the table `plugins` of {place.database}:")
            action, rows = "written", self._wanted_rows
            if self._remove:
                action, rows = "removed", self._rows
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
                    replace_rows(connection, self._rows, [])
            _discard(*(place.root / unit for unit in self._obsolete))
            folders = _remove_folders(place.root, self._wanted.folders)
            if self._remove:
                _discard_state(place)
                return [f"Nothing of nnabla-influence is left in {place.kind}."]
            write_manifest(replace(self._wanted, folders=folders), state)
            _discard(state / _OLD, state / _NEW)
        return [f"Installed nnabla-influence {self._release.version}. {_NEXT[place.kind]}"]

    def _put(self, connection: Connection | None) -> None:
        """Copy the files, register the plugins, and rename the copies into place."""
        place, state = self._place, self._place.state
        new, old = state / _NEW, state / _OLD
        try:
            _discard(old, new)
            for name, path in self._payload.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, new / name)
            if connection is not None and not are_same(self._rows, self._wanted_rows):
                assert place.database is not None
                back_up(place.database, new / DATABASE_BACKUP)
                os.replace(new / DATABASE_BACKUP, state / DATABASE_BACKUP)
                replace_rows(connection, self._rows, self._wanted_rows)
            names = tuple(dict.fromkeys((*self._before.names, *self._payload)))
            write_manifest(replace(self._wanted, names=names), state)
            for unit in self._units:
                path = place.root / unit
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    os.rename(path, old)
                os.replace(new / unit, path)
                _discard(old)
        except BaseException:
            with contextlib.suppress(OSError):
                _discard(new)
                if not (state / MANIFEST).exists():
                    _discard_state(place)
            raise


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
    for unit in units:
        path = root / unit
        is_folder = is_package(unit) and path.is_dir() and not path.is_symlink()
        for entry in _entries(path) if is_folder else filter(os.path.lexists, [path]):
            name = entry.relative_to(root).as_posix()
            if entry.is_symlink() or entry.is_dir() or name not in names:
                raise OutputError(
                    f"{entry}: was not installed by this command; move it elsewhere, then repeat"
                    " the command"
                )


def _entries(folder: Path) -> Iterator[Path]:
    """Yield every file and link below a folder, without what Python compiled."""
    for path in folder.rglob("*"):
        if path.suffix != ".pyc" and (path.is_symlink() or not path.is_dir()):
            yield path


def _discard(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _discard_state(place: Place) -> None:
    """Remove our own folder, the manifest last; the folder around it goes if it is empty."""
    names = (_NEW, _OLD, f"{MANIFEST}.new", DATABASE_BACKUP, MANIFEST)
    _discard(*(place.state / name for name in names))
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


def _unit_line(action: str, unit: str, names: Collection[str]) -> str:
    count = sum(unit_of(name) == unit for name in names)
    return f"  {action:<9} {unit}" + (f"/ ({count} files)" if is_package(unit) else "")
