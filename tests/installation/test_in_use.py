"""NNCD runs meanwhile: it has its database open for ever, reads in it, and writes into it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nnabla_influence.console.registration import DESKTOP_PLUGINS
from nnabla_influence.errors import OutputError
from nnabla_influence.installation import Installing, Uninstalling, recognise
from nnabla_influence.installation import database as databases
from nnabla_influence.installation.payload import Source
from tests.installation.consoles import IMAGE_ID, install, state, table, uninstall
from tests.small_projects import REPOSITORY, environment

SECONDS = 30  # for a busy machine
# The command, with less patience.
COMMAND = (
    "import sys; from nnabla_influence.commands.main import main;"
    " from nnabla_influence.installation import database;"
    " database.PATIENCE = float(sys.argv.pop(1)); main()"
)


def started(database: Path, *more: str, patience: float = 20) -> subprocess.Popen:
    command = [sys.executable, "-c", COMMAND, str(patience), "install", "--console", str(database)]
    return subprocess.Popen(
        [*command, "--yes", *more],
        cwd=REPOSITORY,
        env=environment(PYTHONUTF8="1", PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_open_connection_is_no_obstacle(database: Path):
    server = sqlite3.connect(database)
    assert server.execute("SELECT COUNT(*) FROM plugins").fetchone() == (1,)
    before = state(database)
    ids = {plugin.id for plugin in DESKTOP_PLUGINS}
    _, err = (done := started(database)).communicate(timeout=SECONDS)
    assert (done.returncode, err) == (0, "")
    assert ids < {row[0] for row in server.execute("SELECT plugin_id FROM plugins")}
    # The lock is given back: the application writes again.
    with server:
        server.execute("UPDATE plugins SET description = 'x' WHERE plugin_id = ?", [IMAGE_ID])
    _, err = (done := started(database, "--uninstall")).communicate(timeout=SECONDS)
    assert (done.returncode, err) == (0, "")
    server.close()
    assert state(database) == before


def test_a_write_that_does_not_end(database: Path):
    """It says so by itself, within seconds, and a signal ends it meanwhile."""
    server = sqlite3.connect(database, isolation_level=None)
    server.execute("BEGIN IMMEDIATE")
    before = state(database)
    running = [started(database, patience=seconds) for seconds in (0.5, 20, 20)]
    for process in running:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("The Console's own Python"):
            assert process.poll() is None
    time.sleep(0.3)  # so that they wait
    patient, interrupted, ended = running
    interrupted.send_signal(signal.SIGINT)
    ended.send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=SECONDS)[1] for process in running]
    locked = f"{database}: is locked by another program; wait until NNCD has finished"
    assert patient.returncode == 1
    assert len(errors[0].splitlines()) == 1
    assert locked in errors[0]
    assert [process.returncode for process in running[1:]] == [130, 143]
    assert all("Traceback" not in text for text in errors)
    server.execute("ROLLBACK")
    server.close()
    assert state(database) == before


@pytest.mark.parametrize(("journal", "succeeds"), [("WAL", True), ("DELETE", False)])
def test_a_read_that_does_not_end(
    database: Path, first: Source, monkeypatch, journal: str, succeeds: bool
):
    monkeypatch.setattr(databases, "PATIENCE", 0.05)
    server = sqlite3.connect(database, isolation_level=None)
    server.execute(f"PRAGMA journal_mode = {journal}")
    server.execute("BEGIN")
    server.execute("SELECT * FROM plugins").fetchone()
    before, place = state(database), recognise(database)
    if succeeds:
        install(place, first)
        assert IMAGE_ID in table(database)
        uninstall(place)
    else:
        with pytest.raises(OutputError, match=r"nncd\.db: is locked by another program; wait"):
            Installing(place, first).do()
    assert state(database) == before
    server.execute("ROLLBACK")
    server.close()
    assert Uninstalling(place, first).is_done


def test_it_waits_for_seconds_and_not_for_minutes():
    assert 1 < databases.PATIENCE <= 10
    assert databases._STEP <= 0.5  # by which Ctrl-C may be late


def test_a_write_that_ends_is_waited_for(database: Path, first: Source, monkeypatch):
    monkeypatch.setattr(databases, "PATIENCE", SECONDS)
    server = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    server.execute("BEGIN IMMEDIATE")
    end = threading.Timer(0.4, server.execute, ["COMMIT"])
    end.start()
    install(recognise(database), first)
    end.join()
    server.close()
    assert IMAGE_ID in table(database)


def test_nobody_else_writes_while_files_change(database: Path):
    with databases.opened(database) as connection, databases.writing(connection):
        other = sqlite3.connect(database, timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_a_backup_does_not_wait_for_ever(database: Path, tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "PATIENCE", 0.05)
    server = sqlite3.connect(database, isolation_level=None)
    server.execute("PRAGMA journal_mode = DELETE")
    server.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        databases.back_up(database, tmp_path / "copy")
    server.close()
