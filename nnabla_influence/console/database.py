"""NNCD's database, whose table ``plugins`` is its menu. NNCD has it open, too."""

from __future__ import annotations

import contextlib
import datetime
import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnabla_influence.console.registration import Plugin
from nnabla_influence.errors import OutputError

SAMPLE_TENANT = "ccbf15a0-bcb6-4ba6-b10e-27fc877c4348"
"""Its plugins are shown to every user of NNCD."""
PATIENCE = 5.0
"""Seconds to wait for another program that is writing."""

Row = dict[str, Any]


@contextlib.contextmanager
def opened(path: Path | None, *, write: bool = False) -> Iterator[sqlite3.Connection | None]:
    """Open NNCD's database; what the block writes is committed as a whole, or not at all.

    Args:
        path: None for a Console without a database; that yields None.
        write: Keep other programs from writing until the block ends.

    Raises:
        OutputError: It is locked, or is not NNCD's.
    """
    if path is None:
        yield None
        return
    try:
        with contextlib.closing(_connected(path)) as connection:
            if write:
                connection.execute("BEGIN IMMEDIATE")
            yield connection
            if write:
                connection.execute("COMMIT")
    except sqlite3.Error as error:
        if "locked" in str(error) or "busy" in str(error):
            raise OutputError(
                f"{path}: is locked by another program; wait until NNCD has finished writing, or"
                " close it, and try again"
            ) from error
        raise OutputError(
            f"{path}: cannot be used ({error}); give the folder of NNCD 0.2.1, and run the"
            " command as a user with write access"
        ) from error


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(str(path), timeout=PATIENCE, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def back_up(database: Path, target: Path) -> None:
    """Copy the database to a new file, including what is still in its write-ahead log."""
    with (
        contextlib.closing(_connected(database)) as source,
        contextlib.closing(_connected(target)) as copy,
    ):
        source.backup(copy)


def check_tenant(connection: sqlite3.Connection) -> None:
    """Refuse a database in which nobody would see the plugins.

    Raises:
        OutputError: The sample tenant is missing.
    """
    tenant = "SELECT 1 FROM tenants WHERE tenant_id = ?"
    if not connection.execute(tenant, [SAMPLE_TENANT]).fetchone():
        raise OutputError(f"NNCD's table `tenants` lacks {SAMPLE_TENANT}; start NNCD once")


def rows_of(plugins: Sequence[Plugin], folder: Path) -> list[Row]:
    """Return the rows that register plugins, whose scripts lie in a folder."""
    return [
        {
            "plugin_id": plugin.id,
            "owner_tenant_id": SAMPLE_TENANT,
            "plugin_name": plugin.name,
            "plugin_file": str(folder / plugin.script_name),
            # NNCD's own rows have `readonly` only where it is true.
            "parameters": json.dumps(
                [
                    {name: value for name, value in asdict(field).items() if value is not False}
                    for field in plugin.parameters
                ]
            ),
            "description": plugin.description,
            "computing_service": None,
            "deleted": 0,
        }
        for plugin in plugins
    ]


def registered(
    connection: sqlite3.Connection, ids: Collection[str], folder: Path
) -> tuple[list[Row], list[Row]]:
    """Return the rows of ours, and rows with one of our ids that name an existing script elsewhere.

    A row of ours whose script is missing works for nobody, wherever it was.
    """
    ours: list[Row] = []
    foreign: list[Row] = []
    for row in map(dict, connection.execute("SELECT * FROM plugins ORDER BY create_datetime")):
        script = Path(str(row["plugin_file"]))
        if script.parent == folder:
            ours.append(row)
        elif row["plugin_id"] in ids:
            (foreign if script.is_file() else ours).append(row)
    return ours, foreign


def are_same(rows: Sequence[Row], wanted: Sequence[Row]) -> bool:
    """Return whether rows are as wanted, apart from their times."""
    return len(rows) == len(wanted) and all(
        row.get(name) == value for row, other in zip(rows, wanted) for name, value in other.items()
    )


def replace_rows(connection: sqlite3.Connection, old: Sequence[Row], new: Sequence[Row]) -> None:
    """Delete rows, and write others; those without times are in the menu in their order."""
    for row in old:
        connection.execute("DELETE FROM plugins WHERE plugin_id = ?", [row["plugin_id"]])
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    for position, row in enumerate(new):
        time = now + datetime.timedelta(microseconds=position)
        text = time.strftime("%Y-%m-%d %H:%M:%S.%f")
        row = {"create_datetime": text, "update_datetime": text, **row}
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" * len(row))
        statement = f"INSERT OR REPLACE INTO plugins ({names}) VALUES ({marks})"
        connection.execute(statement, list(row.values()))
