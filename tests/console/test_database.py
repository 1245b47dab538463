"""NNCD's database while NNCD uses it, locked, and of another schema."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from nnabla_influence.console import database as databases
from nnabla_influence.console.installation import Installation
from nnabla_influence.console.places import Place, recognise
from nnabla_influence.console.release import Release
from nnabla_influence.errors import OutputError
from tests.console.consoles import (
    IMAGE_ID,
    SAMPLE_TENANT,
    TABLES,
    dump,
    install,
    release,
    state,
    uninstall,
)


@pytest.fixture
def place(database: Path) -> Place:
    return recognise(database)


@pytest.fixture
def _impatient(monkeypatch):
    monkeypatch.setattr(databases, "PATIENCE", 0.05)


def test_a_running_server_sees_it_at_once(database: Path, place: Place, first: Release):
    """It keeps one connection, whose changes are in the log alone: the backup has them too."""
    server = sqlite3.connect(database)
    with server:
        server.execute("UPDATE plugins SET description = 'of late'")
    before = dump(database)
    install(place, first)
    assert server.execute("SELECT COUNT(*) FROM plugins").fetchone() == (3,)
    assert dump(place.state / "nncd.db.backup") == before
    with server:  # the lock is released
        server.execute("UPDATE plugins SET description = 'x' WHERE plugin_id = ?", [IMAGE_ID])
    uninstall(place)
    assert server.execute("SELECT COUNT(*) FROM plugins").fetchone() == (1,)
    server.close()


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_locked_database(database: Path, place: Place, first: Release, journal: str, lock: str):
    other = sqlite3.connect(database, isolation_level=None)
    other.execute(f"PRAGMA journal_mode = {journal}")
    installed = release(database.parents[2].parent / "another", "0.5")
    for remove in (False, True):
        before = state(database)
        other.execute(f"BEGIN {lock}")
        with pytest.raises(OutputError, match=rf"{re.escape(str(database))}: is locked"):
            Installation(place, first, remove=remove).apply()
        other.execute("ROLLBACK")
        assert state(database) == before
        install(place, installed)
    other.close()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DROP TABLE plugins", "plugins"),
        ("ALTER TABLE plugins DROP COLUMN computing_service", "computing_service"),
        (
            "DROP TABLE plugins;"
            + TABLES.split(";")[1].replace("deleted INTEGER", "extra TEXT NOT NULL, deleted INT"),
            "extra",
        ),
        ("DELETE FROM tenants", SAMPLE_TENANT),
        ("DROP TABLE tenants", "tenants"),
        (None, "not a database"),
    ],
)
def test_another_schema_is_refused(database: Path, place: Place, first: Release, statement, named):
    if statement is None:
        database.write_bytes(b"not a database, but long enough to be read as one" * 9)
    else:
        connection = sqlite3.connect(database)
        connection.executescript(statement)
        connection.close()
    before = database.read_bytes()
    with pytest.raises(OutputError, match=named):
        Installation(place, first).apply()
    assert database.read_bytes() == before
    assert not place.root.exists()
