"""The plugins' rows in NNCD's table of plugins, which is its menu."""

from __future__ import annotations

import datetime
import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from nnabla_influence.console.registration import Plugin
from nnabla_influence.installation.database import SAMPLE_TENANT, TOLD
from nnabla_influence.installation.manifest import Row

INSERT = "new"
UPDATE = "updated"
DELETE = "removed"
RESTORE = "put back"


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
        elif any(not _same(column, before[column], row[column]) for column in TOLD):
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
