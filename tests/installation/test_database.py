"""NNCD's database: in use, locked, of another kind, and what it says when it refuses."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from nnabla_influence.errors import OutputError
from nnabla_influence.installation import (
    Installing,
    Place,
    Uninstalling,
    installing,
    recognise,
)
from nnabla_influence.installation import (
    database as databases,
)
from nnabla_influence.installation.payload import Source
from tests.installation.consoles import (
    SAMPLE_TENANT,
    TABLES,
    dump,
    install,
    source,
    state,
    tree,
    uninstall,
)


@pytest.fixture
def place(database: Path) -> Place:
    return recognise(database)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(databases, "PATIENCE", 0.05)


def test_a_server_that_runs_sees_it_at_once(database: Path, place: Place, first: Source):
    """It keeps one connection for ever."""
    server = sqlite3.connect(database)
    count = "SELECT COUNT(*) FROM plugins"
    assert server.execute(count).fetchone() == (1,)
    install(place, first)
    assert server.execute(count).fetchone() == (3,)
    uninstall(place)
    assert server.execute(count).fetchone() == (1,)
    server.close()


def test_a_backup_of_the_database(database: Path, place: Place, first: Source):
    before = dump(database)
    server = sqlite3.connect(database)  # with it open, what was written is in the log alone
    server.execute("SELECT 1 FROM plugins").fetchone()
    lines = install(place, first)
    copy = place.state / "nncd.db.backup"
    assert f"A backup of the database: {copy}" in lines
    assert dump(copy) == before
    server.close()


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_locked_database(database: Path, place: Place, first: Source, journal: str, lock: str):
    other = sqlite3.connect(database, isolation_level=None)
    other.execute(f"PRAGMA journal_mode = {journal}")
    installed = source(database.parents[2].parent / "another", "0.5")
    for attempt in (
        lambda: Installing(place, first).do(),
        lambda: Uninstalling(place).do(),
    ):
        before = state(database)
        other.execute(f"BEGIN {lock}")
        message = rf"{re.escape(str(database))}: is locked by another program; wait until NNCD has"
        with pytest.raises(OutputError, match=message):
            attempt()
        other.execute("ROLLBACK")
        assert state(database) == before
        install(place, installed)
    other.close()


def broken(database: Path, statement: str) -> None:
    connection = sqlite3.connect(database)
    connection.executescript(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DROP TABLE plugins", "has no table `plugins`; start NNCD once"),
        (
            "ALTER TABLE plugins DROP COLUMN computing_service",
            "its table `plugins` has no column computing_service, unlike NNCD 0.2.1's",
        ),
        (
            "DROP TABLE plugins;"
            + TABLES.split(";")[1].replace("deleted INTEGER", "deleted INTEGER, extra TEXT"),
            "its table `plugins` needs a column extra, unlike NNCD 0.2.1's",
        ),
        ("DELETE FROM tenants", f"its table `tenants` lacks {SAMPLE_TENANT}"),
        ("DROP TABLE tenants", r"is no database of NNCD \(no such table: tenants\)"),
    ],
)
def test_another_schema_is_refused(database: Path, place: Place, first: Source, statement, message):
    if "extra" in statement:
        statement = statement.replace("deleted INTEGER, extra TEXT", "deleted INTEGER, extra TEXT")
    broken(database, statement)
    before = state(database)
    with pytest.raises(OutputError, match=rf"nncd\.db: {message}"):
        Installing(place, first)
    assert state(database) == before


def test_a_column_more_that_may_stay_empty(database: Path, place: Place, first: Source):
    broken(database, 'ALTER TABLE plugins ADD COLUMN "order" INTEGER')
    before = state(database)
    install(place, first)
    install(place, source(place.root.parents[2] / "another", "2.0"))
    uninstall(place)
    assert state(database) == before


@pytest.mark.parametrize("content", [b"", b"this is no database, but long enough to look at" * 9])
def test_no_database(database: Path, place: Place, first: Source, content: bytes):
    database.write_bytes(content)
    message = r"nncd\.db: (is no database of NNCD \(.*\)|has no table `plugins`)"
    with pytest.raises(OutputError, match=message):
        Installing(place, first)
    assert database.read_bytes() == content
    assert not place.root.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "attempt to write a readonly database",
            r"cannot be written \(.*\); run this as the user who runs NNCD",
        ),
        (
            "unable to open database file",
            r"cannot be written \(.*\); run this as the user who runs NNCD",
        ),
        ("database or disk is full", r"cannot be written \(.*\); make room, then try again"),
        ("disk I/O error", r"cannot be changed \(disk I/O error\)"),
    ],
)
def test_what_the_database_says(place: Place, first: Source, monkeypatch, text: str, message: str):
    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError(text)

    work = Installing(place, first)
    before = tree(place.root.parent)
    monkeypatch.setattr(installing, "write_rows", refuse)
    with pytest.raises(OutputError, match=rf"nncd\.db: {message}$"):
        work.do()
    assert tree(place.root.parent) == before
