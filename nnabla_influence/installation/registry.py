"""The plugins' rows in NNCD's table of plugins, which is its menu."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from nnabla_influence.console.registration import Plugin
from nnabla_influence.errors import OutputError
from nnabla_influence.installation.manifest import Row

SAMPLE_TENANT = "ccbf15a0-bcb6-4ba6-b10e-27fc877c4348"
"""Whose plugins NNCD shows to everybody."""
PATIENCE = 5.0
"""Seconds to wait for another program that writes into the database."""
_BUSY = (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED
INSERT = "new"
UPDATE = "updated"
DELETE = "removed"
RESTORE = "put back"
_TOLD = (
    *("owner_tenant_id", "plugin_name", "plugin_file", "parameters", "description"),
    *("computing_service", "deleted"),
)
_COLUMNS = ("plugin_id", "update_datetime", "create_datetime", *_TOLD)


@dataclass(frozen=True)
class RowChange:
    """What happens to one row.

    Attributes:
        plugin_id: Which one.
        name: The plugin's name, for people.
        action: `INSERT`, `UPDATE`, `DELETE` or `RESTORE`.
        row: What it becomes; its times are added when it is written.
        before: What the table has now.
    """

    plugin_id: str
    name: str
    action: str
    row: Optional[Row]
    before: Optional[Row]


@contextlib.contextmanager
def opened(path: Path | None) -> Iterator[Optional[sqlite3.Connection]]:
    """Open NNCD's database, and say in one line what is wrong with it.

    Args:
        path: None where a Console has none; that gives None.

    Raises:
        OutputError: It is locked, no database, or not one of a NNCD that is known.
    """
    if path is None:
        yield None
        return
    connection = None
    try:
        connection = sqlite3.connect(str(path), timeout=PATIENCE, isolation_level=None)
        connection.row_factory = sqlite3.Row
        _check_tables(connection, path)
        yield connection
    except sqlite3.Error as error:
        raise OutputError(f"{path}: {_reason(error)}") from error
    finally:
        if connection is not None:
            connection.close()


@contextlib.contextmanager
def writing(connection: sqlite3.Connection | None) -> Iterator[None]:
    """Let nobody else write while the block runs; what it writes is there as a whole, or not."""
    if connection is None:
        yield
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def back_up(database: Path, path: Path) -> None:
    """Copy the database to a file, also what still waits in its log.

    While `writing`, in a connection of its own: SQLite waits for one that writes.
    """
    until = time.monotonic() + PATIENCE

    def give_up(status: int, _remaining: int, _total: int) -> None:
        # It would try for ever.
        if status in _BUSY and time.monotonic() > until:
            raise sqlite3.OperationalError("database is locked")

    with contextlib.ExitStack() as stack:
        source = stack.enter_context(contextlib.closing(sqlite3.connect(str(database))))
        copy = stack.enter_context(contextlib.closing(sqlite3.connect(str(path))))
        source.backup(copy, progress=give_up)


def wanted_rows(plugins: Sequence[Plugin], files: Mapping[str, Path]) -> dict[str, Row]:
    """Return what NNCD is to be told.

    Args:
        plugins: In the menu's order.
        files: By id, where the script is.
    """
    rows = {}
    for plugin in plugins:
        parameters = []
        for parameter in plugin.parameters:
            told: dict[str, Any] = {
                "name": parameter.name,
                "direction": parameter.direction,
                "description": parameter.description,
                "format": parameter.format,
                "default": parameter.default,
            }
            parameters.append({**told, "readonly": True} if parameter.readonly else told)
        rows[plugin.id] = {
            "plugin_id": plugin.id,
            "owner_tenant_id": SAMPLE_TENANT,
            "plugin_name": plugin.name,
            "plugin_file": str(files[plugin.id]),
            "parameters": json.dumps(parameters),
            "description": plugin.description,
            "computing_service": None,
            "deleted": 0,
        }
    return rows


def present_rows(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, Row]:
    """Return the rows that the table has of these plugins."""
    marks = ", ".join("?" * len(ids))
    found = connection.execute(f"SELECT * FROM plugins WHERE plugin_id IN ({marks})", list(ids))
    return {row["plugin_id"]: dict(row) for row in found}


def rows_to_install(
    connection: sqlite3.Connection,
    wanted: Mapping[str, Row],
    installed: Mapping[str, Optional[Row]],
    folder: Path,
) -> list[RowChange]:
    """Return the changes that register the plugins, and no others of ours.

    Args:
        connection: To NNCD's database.
        wanted: As of `wanted_rows`.
        installed: As in the manifest.
        folder: Of our files, for rows that are no longer wanted.
    """
    obsolete = {id_: row for id_, row in installed.items() if id_ not in wanted}
    present = present_rows(connection, list(wanted))
    changes = rows_to_remove(connection, obsolete, folder)
    for id_, row in wanted.items():
        before = present.get(id_)
        name = str(row["plugin_name"])
        if before is None:
            changes.append(RowChange(id_, name, INSERT, row, None))
        elif any(not _same(column, before[column], row[column]) for column in _TOLD):
            changes.append(RowChange(id_, name, UPDATE, {**before, **row}, before))
    return changes


def rows_to_remove(
    connection: sqlite3.Connection, installed: Mapping[str, Optional[Row]], folder: Path
) -> list[RowChange]:
    """Return the changes that take the plugins out of the menu.

    What the table had before is put back where its script still exists elsewhere: a plugin that
    somebody had registered by hand. Where it does not, it would only be a menu entry that fails.
    """
    changes = []
    present = present_rows(connection, list(installed))
    for id_, before in installed.items():
        if id_ not in present:
            continue
        row = present[id_]
        name = str(row["plugin_name"])
        if before is None or not _is_elsewhere(str(before["plugin_file"]), folder):
            changes.append(RowChange(id_, name, DELETE, None, row))
        elif before != row:
            changes.append(RowChange(id_, name, RESTORE, dict(before), row))
    return changes


def write_rows(connection: sqlite3.Connection, changes: Sequence[RowChange]) -> None:
    """Make the changes; within `writing`."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    for position, change in enumerate(changes):
        row = change.row
        if row is None:
            connection.execute("DELETE FROM plugins WHERE plugin_id = ?", [change.plugin_id])
            continue
        if change.action != RESTORE:
            # NNCD's menu is in the order of creation.
            moment = _text(now + datetime.timedelta(microseconds=position))
            row = {"create_datetime": moment, **row, "update_datetime": moment}
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" * len(row))
        if change.before is None:
            statement = f"INSERT INTO plugins ({names}) VALUES ({marks})"
            connection.execute(statement, list(row.values()))
        else:
            statement = f"UPDATE plugins SET ({names}) = ({marks}) WHERE plugin_id = ?"
            connection.execute(statement, [*row.values(), change.plugin_id])


def _text(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def _same(column: str, one: object, other: object) -> bool:
    if one == other or column != "parameters":
        return one == other
    try:
        return bool(json.loads(str(one)) == json.loads(str(other)))
    except ValueError:
        return False


def _is_elsewhere(script: str, folder: Path) -> bool:
    return os.path.isfile(script) and folder not in Path(os.path.abspath(script)).parents


def _check_tables(connection: sqlite3.Connection, path: Path) -> None:
    columns = {row["name"]: row for row in connection.execute("PRAGMA table_info(plugins)")}
    if not columns:
        raise OutputError(
            f"{path}: has no table `plugins`; start NNCD once, so that it makes its tables, or give"
            " another folder"
        )
    missing = [name for name in _COLUMNS if name not in columns]
    unknown = [
        name
        for name, row in columns.items()
        if name not in _COLUMNS and row["notnull"] and row["dflt_value"] is None
    ]
    if missing or unknown:
        what = f"has no column {missing[0]}" if missing else f"needs a column {unknown[0]}"
        raise OutputError(
            f"{path}: its table `plugins` {what}, unlike NNCD 0.2.1's; this version of"
            " nnabla-influence cannot be installed into it"
        )
    tenant = "SELECT 1 FROM tenants WHERE tenant_id = ?"
    if not connection.execute(tenant, [SAMPLE_TENANT]).fetchone():
        raise OutputError(
            f"{path}: its table `tenants` lacks {SAMPLE_TENANT}, whose plugins everybody sees;"
            " start NNCD once, or give another folder"
        )


def _reason(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return (
            "is locked by another program; wait until NNCD has finished what it writes, or close"
            " the program that has it open, then try again"
        )
    if "not a database" in text or "malformed" in text or "no such table" in text:
        return f"is no database of NNCD ({text}); give another folder"
    if "readonly" in text or "unable to open" in text:
        return f"cannot be written ({text}); run this as the user who runs NNCD"
    if "full" in text:
        return f"cannot be written ({text}); make room, then try again"
    return f"cannot be changed ({text})"
