"""Install: compare, show, and make the changes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import PurePosixPath
from typing import Optional

from nnabla_influence.installation.changing import (
    DATABASE_BACKUP,
    Swap,
    Workshop,
    announce,
    remove_folders,
    stage,
    writable,
)
from nnabla_influence.installation.database import back_up, opened, writing
from nnabla_influence.installation.libraries import library_lines
from nnabla_influence.installation.manifest import Manifest, Row, read_manifest, write_manifest
from nnabla_influence.installation.payload import (
    Source,
    check_lengths,
    own_source,
    payload,
    script_in_desktop,
)
from nnabla_influence.installation.places import DESKTOP, WINDOWS, Place
from nnabla_influence.installation.recovery import has_traces, recovered
from nnabla_influence.installation.registry import (
    RowChange,
    present_rows,
    rows_to_install,
    wanted_rows,
    write_rows,
)
from nnabla_influence.installation.showing import file_lines, row_lines
from nnabla_influence.installation.tree import plan_files

_NEXT = {
    DESKTOP: "NNCD has them at once, in the menu of a job that was evaluated, under Plugins.",
    WINDOWS: "Restart Neural Network Console; right-click the results of an evaluation, and find"
    " them in Post Process, XAI.",
}


class Installing:
    """An installation into a Console, an upgrade, or a repair.

    Args:
        place: The Console.
        source: What to install; this version by default.

    Raises:
        InfluenceError: Something is in the way, or the database is not to be used.
    """

    def __init__(self, place: Place, source: Source | None = None):
        self._place = place
        self._source = source or own_source()
        self._payload = payload(self._source, place.kind)
        check_lengths(place.root, list(self._payload))
        with writable(place), opened(place.database) as connection:
            self._compare(connection)

    def _compare(self, connection: sqlite3.Connection | None) -> None:
        self._manifest = read_manifest(self._place.state)
        self._is_noted = self._manifest is not None
        self._is_new = not has_traces(self._place)
        if self._manifest is None:
            ids = [plugin.id for plugin in self._source.registered]
            self._manifest = recovered(self._place, self._payload, ids)
        self._files = plan_files(self._place, self._manifest, self._payload)
        self._rows: list[RowChange] = []
        rows: dict[str, Optional[Row]] = dict(self._manifest.rows if self._manifest else {})
        if connection is not None:
            root = self._place.root
            plugins = self._source.registered
            scripts = {plugin.id: root / script_in_desktop(plugin) for plugin in plugins}
            wanted = wanted_rows(plugins, scripts)
            self._rows = rows_to_install(connection, wanted, rows, root)
            rows = {
                **dict.fromkeys(wanted),
                **present_rows(connection, list(wanted)),
                **rows,
            }
        self._wanted = Manifest(
            version=self._source.version,
            complete=True,
            files={name: (hash_,) if hash_ else () for name, hash_ in self._files.files.items()},
            folders=self._files.folders,
            replaced=self._files.replaced,
            rows=rows,
        )

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do."""
        return not self._files.changes and not self._rows and self._manifest == self._wanted

    def lines(self) -> list[str]:
        """Return what will be changed."""
        version = self._source.version
        where = f"{self._place.kind} in {self._place.root}"
        if self.is_done:
            return [f"nnabla-influence {version} is already installed: {where}"]
        before = self._manifest.version if self._manifest else None
        if before == "" and self._is_new:
            what = f"Takes charge of nnabla-influence {version}, which is there already"
        elif before == "":
            what = f"Repairs nnabla-influence {version}, whose list of files is lost or damaged"
        elif before is None:
            what = f"Installs nnabla-influence {version}"
        elif before != version:
            what = f"Replaces nnabla-influence {before} by {version}"
        else:
            what = f"Repairs nnabla-influence {version}"
        lines = [f"{what}: {where}", *file_lines(self._files.changes)]
        if self._rows and self._place.database is not None:
            lines += row_lines(self._rows, self._place.database)
            lines.append(f"A backup of the database: {self._place.state / DATABASE_BACKUP}")
        return [*lines, *library_lines(self._place)]

    def do(self) -> list[str]:
        """Make the changes.

        Returns:
            What to tell the user.

        Raises:
            OutputError: It could not be done; everything is as it was.
        """
        shop = Workshop(self._place)
        with writable(self._place), opened(self._place.database) as connection:
            swap = Swap(shop)
            try:
                with writing(connection):
                    self._compare(connection)  # time has passed since it was shown
                    shop.open()
                    if not self._is_noted:
                        # From here on, backups without a manifest mean that it was lost.
                        nothing = Manifest(self._source.version, complete=False, files={})
                        known = self._manifest or nothing
                        write_manifest(known, self._place.state, shop.staging)
                    staged = stage(shop, self._files.changes)
                    if self._place.database is not None and self._rows:
                        back_up(self._place.database, shop.staging / DATABASE_BACKUP)
                        os.replace(
                            shop.staging / DATABASE_BACKUP, self._place.state / DATABASE_BACKUP
                        )
                    announce(shop, self._manifest, self._wanted)
                    swap.make(self._files.changes, staged)
                    if connection is not None:
                        write_rows(connection, self._rows)
            except BaseException:
                with contextlib.suppress(OSError):
                    self._undo(shop, swap)
                raise
            write_manifest(self._without_old_folders(), self._place.state, shop.staging)
            shop.close()
        return [
            *(f"Kept what was changed: {path}" for path in swap.kept),
            f"Installed nnabla-influence {self._source.version}. {_NEXT[self._place.kind]}",
        ]

    def _undo(self, shop: Workshop, swap: Swap) -> None:
        swap.take_back()
        earlier = self._manifest.folders if self._manifest else ()
        made = [folder for folder in self._wanted.folders if folder not in earlier]
        remove_folders(self._place.root, made)
        if self._is_new:
            shop.discard()
        elif self._manifest is not None and shop.staging.is_dir():
            write_manifest(self._manifest, self._place.state, shop.staging)
            shop.close()

    def _without_old_folders(self) -> Manifest:
        needed = {str(folder) for name in self._payload for folder in PurePosixPath(name).parents}
        old = [folder for folder in self._wanted.folders if folder not in needed]
        left = remove_folders(self._place.root, old)
        folders = tuple(f for f in self._wanted.folders if f in needed or f in left)
        return Manifest(**{**vars(self._wanted), "folders": folders})
