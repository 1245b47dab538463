"""Into an NNCD: files in its bucket, rows in its table of plugins, and out again."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import shutil
import sqlite3
import uuid
from pathlib import Path

import pytest

from nnabla_influence.console.registration import DESKTOP_PLUGINS
from nnabla_influence.errors import OutputError
from nnabla_influence.installation import (
    Installing,
    Place,
    Uninstalling,
    installing,
    recognise,
    registry,
)
from nnabla_influence.installation.payload import Source
from tests.installation.consoles import (
    IMAGE_ID,
    SAMPLE_TENANT,
    TABLE_ID,
    TABLES,
    dump,
    insert,
    nncd_home,
    row,
    source,
    table,
    tree,
)
from tests.installation.test_windows import install, says, uninstall


@pytest.fixture
def database(japanese_path: Path) -> Path:
    return nncd_home(japanese_path)


@pytest.fixture
def place(database: Path) -> Place:
    return recognise(database)


@pytest.fixture
def first(tmp_path) -> Source:
    return source(tmp_path / "source")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(registry, "PATIENCE", 0.05)


def state(database: Path) -> tuple[dict[str, object], list[str]]:
    return tree(database.parents[2]), dump(database)


def test_twice_and_away_again(database: Path, place: Place, first: Source):
    before = state(database)
    shown = Installing(place, first)
    assert f"  new       SGD Influence ({IMAGE_ID})" in shown.lines()
    assert "  new       nnabla_influence/ (3 files)" in shown.lines()
    assert state(database) == before
    assert shown.do()[-1].startswith("Installed nnabla-influence 1.0. NNCD has them at once")
    once = state(database)
    rows = table(database)
    assert [told["plugin_name"] for told in rows.values()] == [
        *("Grad-CAM", "SGD Influence", "SGD Influence (tabular)"),
    ]
    for id_, says_ in ((IMAGE_ID, "Image 1.0\n"), (TABLE_ID, "Table 1.0\n")):
        told = rows[id_]
        assert str(uuid.UUID(id_)) == id_
        assert (told["owner_tenant_id"], told["deleted"]) == (SAMPLE_TENANT, 0)
        assert told["computing_service"] is None
        assert Path(str(told["plugin_file"])).is_absolute()
        assert says(Path(str(told["plugin_file"]))) == says_
        # As NNCD's own rows have it: a field that can be changed has no key for it.
        assert json.loads(str(told["parameters"])) == [
            {
                "name": "model",
                "direction": "input",
                "description": "the model",
                "format": "path",
                "default": "result.nnp",
                "readonly": True,
            },
            {
                "name": "output",
                "direction": "output",
                "description": "the result",
                "format": "path",
                "default": "影響",
            },
        ]
        for time in ("create_datetime", "update_datetime"):
            written = datetime.datetime.strptime(str(told[time]), "%Y-%m-%d %H:%M:%S.%f")
            now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
            assert abs(now - written) < datetime.timedelta(minutes=10)
    assert rows[IMAGE_ID]["description"] == "ranks"
    again = install(place, first)
    assert again == [f"nnabla-influence 1.0 is already installed: NNCD in {place.root}"]
    assert state(database) == once
    assert f"  removed   SGD Influence ({IMAGE_ID})" in uninstall(place)
    assert state(database) == before
    assert uninstall(place) == [f"nnabla-influence is not installed: NNCD in {place.root}"]


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


def test_the_menu_that_a_person_changed_is_repaired(database: Path, place: Place, first: Source):
    install(place, first)
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("DELETE FROM plugins WHERE plugin_id = ?", [TABLE_ID])
        connection.execute(
            "UPDATE plugins SET deleted = 1, plugin_name = 'x', update_datetime = ?"
            " WHERE plugin_id = ?",
            ["2024-01-01 00:00:00", IMAGE_ID],
        )
    connection.close()
    created = table(database)[IMAGE_ID]["create_datetime"]
    lines = install(place, first)
    assert f"  updated   SGD Influence ({IMAGE_ID})" in lines
    assert f"  new       SGD Influence (tabular) ({TABLE_ID})" in lines
    told = table(database)[IMAGE_ID]
    assert (told["deleted"], told["plugin_name"]) == (0, "SGD Influence")
    assert told["create_datetime"] == created
    assert told["update_datetime"] > "2024-01-01 00:00:00"
    assert TABLE_ID in table(database)


def test_rows_of_others_are_not_touched(database: Path, place: Place, first: Source):
    own = "11111111-2222-4333-8444-555555555555"
    insert(
        database,
        row("33333333-cccc-4ccc-8ccc-333333333333", "SGD Influence", "/x.py", owner=own),
        row("44444444-dddd-4ddd-8ddd-444444444444", "SGD Influence", "/y.py", deleted=1),
    )
    before = table(database)
    install(place, first)
    after = table(database)
    assert {id_: after[id_] for id_ in before} == before
    uninstall(place)
    assert table(database) == before


def test_what_somebody_registered_by_hand_comes_back(
    database: Path, place: Place, first: Source, tmp_path
):
    """One still works; another was soft-deleted; what a third names is gone, and stays gone."""
    script = tmp_path / "checkout.py"
    script.touch()
    insert(database, row(IMAGE_ID, "mine", str(script), deleted=1), row(TABLE_ID, "lost", "/x.py"))
    before = table(database)
    lines = install(place, first)
    assert f"  updated   SGD Influence ({IMAGE_ID})" in lines
    assert table(database)[IMAGE_ID]["deleted"] == 0
    install(place, first)
    lines = uninstall(place)
    assert f"  put back  SGD Influence ({IMAGE_ID})" in lines
    assert f"  removed   SGD Influence (tabular) ({TABLE_ID})" in lines
    del before[TABLE_ID]
    assert table(database) == before


def test_an_upgrade_takes_old_rows_away(database: Path, place: Place, first: Source, tmp_path):
    before = state(database)
    install(place, first)
    created = table(database)[IMAGE_ID]["create_datetime"]
    second = source(tmp_path / "source", "2.0")
    renamed = dataclasses.replace(second.registered[0], name="Influence")
    second = dataclasses.replace(second, registered=(renamed,))
    lines = install(place, second)
    assert f"  removed   SGD Influence (tabular) ({TABLE_ID})" in lines
    assert "  removed   ours_tabular.py" in lines
    rows = table(database)
    assert TABLE_ID not in rows
    assert rows[IMAGE_ID]["plugin_name"] == "Influence"
    assert rows[IMAGE_ID]["create_datetime"] == created
    uninstall(place)
    assert state(database) == before


def test_rows_whose_files_were_deleted_by_hand(database: Path, place: Place, first: Source):
    before = state(database)
    install(place, first)
    shutil.rmtree(place.root)
    lines = Uninstalling(place, first).do()
    assert lines == ["Nothing of nnabla-influence is left in NNCD."]
    assert state(database) == before


def test_files_whose_rows_were_lost_with_the_database(database: Path, place: Place, first: Source):
    install(place, first)
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("DELETE FROM plugins WHERE plugin_id IN (?, ?)", [IMAGE_ID, TABLE_ID])
    connection.close()
    assert install(place, first)[0].startswith("Repairs nnabla-influence 1.0")
    assert {IMAGE_ID, TABLE_ID} < set(table(database))


def test_a_folder_of_somebody_elses_with_our_name(database: Path, place: Place, first: Source):
    (place.root / "data").mkdir(parents=True)
    (place.root / "index.csv").write_text("x,y\n")
    before = state(database)
    install(place, first)
    uninstall(place)
    assert state(database) == before


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


def test_a_bucket_of_another_user(place: Place, first: Source, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "x")

    work = Installing(place, first)
    monkeypatch.setattr(shutil, "copyfile", refuse)
    message = r"^x: cannot be changed \(Permission denied\); run this as the user who runs NNCD$"
    with pytest.raises(OutputError, match=message):
        work.do()


def test_the_real_plugins_can_be_registered():
    """Scripts of two folders share one in NNCD; what its dialog demands of fields."""
    names = [plugin.script.rsplit("/", 1)[1] for plugin in DESKTOP_PLUGINS]
    assert len(set(names)) == len(names)
    for plugin in DESKTOP_PLUGINS:
        assert str(uuid.UUID(plugin.id)) == plugin.id
        assert [p.name for p in plugin.parameters if p.direction == "output"] == ["output"]
        assert all(p.default for p in plugin.parameters)
