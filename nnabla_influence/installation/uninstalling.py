"""Uninstall: compare, show, and take away."""

from __future__ import annotations

import sqlite3
from typing import Optional

from nnabla_influence.files import file_hash
from nnabla_influence.installation.changing import Workshop, remove_files, writable
from nnabla_influence.installation.database import opened, writing
from nnabla_influence.installation.manifest import Manifest, Row, read_manifest
from nnabla_influence.installation.payload import Source, own_source, payload
from nnabla_influence.installation.places import Place
from nnabla_influence.installation.recovery import recovered
from nnabla_influence.installation.registry import (
    RowChange,
    present_rows,
    rows_to_remove,
    write_rows,
)
from nnabla_influence.installation.showing import removal_lines, row_lines
from nnabla_influence.installation.tree import located


class Uninstalling:
    """The removal of all that was installed.

    Args:
        place: The Console.
        source: Names the plugins whose rows are removed where the manifest is lost.

    Raises:
        InfluenceError: The manifest or the database cannot be read.
    """

    def __init__(self, place: Place, source: Source | None = None):
        self._place = place
        self._source = source or own_source()
        ids = [plugin.id for plugin in self._source.registered]
        self._manifest = read_manifest(place.state)
        if self._manifest is None:
            self._manifest = recovered(place, payload(self._source, place.kind), ids)
        with writable(place), opened(place.database) as connection:
            self._rows = self._compare(connection)

    def _compare(self, connection: sqlite3.Connection | None) -> list[RowChange]:
        if connection is None:
            return []
        # Those that work stay: somebody registered them by hand.
        ids = [plugin.id for plugin in self._source.registered]
        before: dict[str, Optional[Row]] = {**present_rows(connection, ids)}
        if self._manifest is not None:
            before.update(self._manifest.rows)
        return rows_to_remove(connection, before, self._place.root)

    @property
    def is_done(self) -> bool:
        """Whether nothing is installed."""
        return self._manifest is None and not self._rows and not Workshop(self._place).is_there

    def lines(self) -> list[str]:
        """Return what will be changed."""
        where = f"{self._place.kind} in {self._place.root}"
        if self.is_done:
            return [f"nnabla-influence is not installed: {where}"]
        lines = [f"Removes what is left of an interrupted installation: {where}"]
        if self._manifest is not None:
            version = self._manifest.version or "whose list of files is lost or damaged"
            comma = "" if self._manifest.version else ","
            lines = [f"Removes nnabla-influence{comma} {version}: {where}"]
            lines += self._file_lines(self._manifest)
        if self._place.database is not None:
            lines += row_lines(self._rows, self._place.database)
        return lines

    def _file_lines(self, manifest: Manifest) -> list[str]:
        there, changed = [], []
        for name, hashes in manifest.files.items():
            path = located(self._place.root, name)
            if path.is_file():
                there.append(name)
                if hashes and not manifest.knows(name, file_hash(path)):
                    changed.append(name)
        names = dict.fromkeys([*there, *manifest.replaced])
        return removal_lines(names, manifest.replaced, changed)

    def do(self) -> list[str]:
        """Take everything away, the rows first, and put back what stood there before.

        Returns:
            What to tell the user.

        Raises:
            OutputError: It could not be done; the same again goes on with it.
        """
        shop = Workshop(self._place)
        kept = []
        with writable(self._place):
            with opened(self._place.database) as connection, writing(connection):
                if connection is not None:
                    write_rows(connection, self._compare(connection))
            if self._manifest is not None:
                kept = remove_files(shop, self._manifest)
            shop.discard()
        return [
            *(f"Kept what was changed: {path}" for path in kept),
            f"Nothing of nnabla-influence is left in {self._place.kind}"
            + (" but what was kept." if kept else "."),
        ]
