"""Into an NNCD: files in its bucket, rows in its table of plugins, and out again."""

from __future__ import annotations

import dataclasses
import datetime
import json
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
    recognise,
)
from nnabla_influence.installation.payload import Source
from tests.installation.consoles import (
    IMAGE_ID,
    SAMPLE_TENANT,
    TABLE_ID,
    insert,
    install,
    row,
    says,
    source,
    state,
    table,
    uninstall,
)


@pytest.fixture
def place(database: Path) -> Place:
    return recognise(database)


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
    with_both = Uninstalling(place, first).lines()  # one that fails is of no use to anybody
    assert [line for line in with_both if IMAGE_ID in line or TABLE_ID in line] == [
        f"  removed   lost ({TABLE_ID})"
    ]
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
