"""NNCD's database, which NNCD has open as well: opened, waited for, backed up."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

from nnabla_influence.errors import OutputError

SAMPLE_TENANT = "ccbf15a0-bcb6-4ba6-b10e-27fc877c4348"
"""Whose plugins NNCD shows to everybody."""
TOLD = (
    *("owner_tenant_id", "plugin_name", "plugin_file", "parameters", "description"),
    *("computing_service", "deleted"),
)
"""Columns of the table ``plugins`` that say what a plugin is."""
PATIENCE = 5.0
"""Seconds to wait for another program that writes into the database."""
_STEP = 0.1  # within SQLite no signal is looked at
_BUSY = (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED
_COLUMNS = ("plugin_id", "update_datetime", "create_datetime", *TOLD)


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
        connection = sqlite3.connect(str(path), timeout=_STEP, isolation_level=None)
        connection.row_factory = sqlite3.Row
        _patiently(functools.partial(_check_tables, connection, path))
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
    _patiently(functools.partial(connection.execute, "BEGIN IMMEDIATE"))
    try:
        yield
        _patiently(functools.partial(connection.execute, "COMMIT"))
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
        opened_ = (sqlite3.connect(str(file), timeout=_STEP) for file in (database, path))
        source, copy = (stack.enter_context(contextlib.closing(one)) for one in opened_)
        source.backup(copy, progress=give_up)


def _patiently(do: Callable[[], object]) -> None:
    """Do something until no other program is in the way, in steps that Ctrl-C can end."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            do()
            return
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > until:
                raise


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


def _is_busy(error: sqlite3.Error) -> bool:
    return "locked" in str(error) or "busy" in str(error)


def _reason(error: sqlite3.Error) -> str:
    text = str(error)
    if _is_busy(error):
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
