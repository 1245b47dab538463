"""Install into both kinds of Console, upgrade, repair, and remove."""

from __future__ import annotations

import dataclasses
import datetime
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from nnabla_influence.console.installation import Installation
from nnabla_influence.console.places import Place, recognise
from nnabla_influence.console.release import Release, payload
from nnabla_influence.errors import OutputError
from tests.console.consoles import (
    COPY,
    IMAGE,
    IMAGE_ID,
    SAMPLE_TENANT,
    TABLE,
    TABLE_ID,
    XAI,
    insert,
    install,
    release,
    row,
    says,
    state,
    table,
    tree,
    uninstall,
)


@pytest.fixture
def place(plugins: Path) -> Place:
    return recognise(plugins)


# ------------------------------------------------------------------------------- Windows NNC


def test_windows_nnc(plugins: Path, place: Place, first: Release):
    """Shown, installed, found installed, removed, found removed."""
    before = tree(plugins)
    shown = Installation(place, first).lines()
    assert f"  new       {COPY}/ (3 files)" in shown
    assert f"  new       {IMAGE}" in shown
    assert tree(plugins) == before
    assert install(place, first)[-1].startswith("Installed nnabla-influence 1.0. Restart")
    once = tree(plugins)
    assert {name: once[name] for name in before} == before
    files = {name for name in once if once[name] != "folder"} - set(before)
    inner = ("__init__.py", "inner/__init__.py", "inner/part.py")
    assert {name for name in files if "nnabla_influence_installed" not in name} == {
        IMAGE,
        TABLE,
        *(f"{COPY}/{name}" for name in inner),
        *(f"{XAI}/_Table/nnabla_influence/{name}" for name in inner),
    }
    assert [path.name for path in place.state.iterdir()] == ["manifest.json"]
    assert says(plugins / IMAGE) == "Image 1.0\n"
    assert says(plugins / TABLE) == "Table 1.0\n"
    compiled = plugins / COPY / "inner" / "__pycache__"
    compiled.mkdir()
    (compiled / "part.cpython-38.pyc").write_bytes(b"compiled by the Console")
    assert install(place, first) == [
        f"nnabla-influence 1.0 is already installed: Windows NNC in {plugins}"
    ]
    lines = uninstall(place)
    assert lines[0] == f"Removes nnabla-influence 1.0: Windows NNC in {plugins}"
    assert f"  removed   {COPY}/ (3 files)" in lines
    assert tree(plugins) == before
    assert "is not installed: " in uninstall(place)[0]


def test_damage_is_repaired(plugins: Path, place: Place, first: Release):
    """A change of ours, too: it is not kept."""
    install(place, first)
    once = tree(plugins)
    (plugins / IMAGE).write_text("changed\n")
    (plugins / COPY / "inner" / "part.py").unlink()
    shutil.rmtree(plugins / XAI / "_Table" / "nnabla_influence")
    lines = install(place, first)
    assert lines[0].startswith("Repairs nnabla-influence 1.0: ")
    assert f"  new       {XAI}/_Table/nnabla_influence/ (3 files)" in lines
    assert tree(plugins) == once


def test_an_upgrade_removes_what_is_obsolete(plugins: Path, place: Place, first: Release, tmp_path):
    before = tree(plugins)
    install(place, first)
    second = release(tmp_path / "source", "2.0", nnabla_influence__newer__part="")
    shutil.rmtree(second.package / "inner")
    (second.plugins / TABLE).unlink()
    (second.plugins / IMAGE).write_text("from nnabla_influence import __version__ as v; print(v)")
    lines = install(place, second)
    assert lines[0] == f"Replaces nnabla-influence 1.0 by 2.0: Windows NNC in {plugins}"
    assert f"  removed   {TABLE}" in lines
    assert says(plugins / IMAGE) == "2.0\n"
    assert not (plugins / COPY / "inner").exists()
    assert not (plugins / XAI / "_Table" / "nnabla_influence").exists()
    assert "already installed" in install(place, second)[0]
    uninstall(place)
    assert tree(plugins) == before


# ------------------------------------------------------------------- files of somebody else


def put(path: Path, kind: str, elsewhere: Path) -> None:
    """Put something of somebody else's at a path; ``elsewhere`` is their folder."""
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "notes.txt").write_text("notes")
    path.parent.mkdir(exist_ok=True)
    if kind == "file":
        path.write_text("mine\n")
    elif kind == "folder":
        path.mkdir()
    else:
        targets = {"link": "notes.txt", "dangling link": "none", "linked folder": "."}
        path.symlink_to(elsewhere / targets[kind])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (IMAGE, "file"),
        (IMAGE, "folder"),
        (TABLE, "dangling link"),
        (COPY, "file"),
        (COPY, "linked folder"),  # a checkout, into which nothing may be written
        (f"{COPY}/__init__.py", "file"),
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
def test_a_file_in_the_way_stays(
    plugins: Path, place: Place, first: Release, tmp_path, name: str, kind: str, is_late: bool
):
    """Whether it is there when the changes are shown, or only when they are made."""
    work = Installation(place, first) if is_late else None
    put(plugins / name, kind, tmp_path / "elsewhere")
    before = tree(plugins)
    with pytest.raises(OutputError) as caught:
        (work or Installation(place, first)).apply()
    assert str(caught.value).startswith(f"{plugins / name}: was not installed by this command")
    assert "is not installed" in uninstall(place)[0]
    assert tree(plugins) == before


@pytest.mark.parametrize("remove", [False, True])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (f"{COPY}/inner/notes.txt", "file"),
        (f"{COPY}/inner/notes.txt", "link"),
        (f"{COPY}/inner/data", "linked folder"),
        (COPY, "linked folder"),
    ],
)
def test_a_file_among_ours_stays(
    plugins: Path, place: Place, first: Release, tmp_path, remove: bool, name: str, kind: str
):
    install(place, first)
    elsewhere = tmp_path / "elsewhere"
    if name == COPY:
        shutil.move(plugins / COPY, elsewhere)
    put(plugins / name, kind, elsewhere)
    before = tree(plugins), tree(elsewhere)
    with pytest.raises(OutputError) as caught:
        Installation(place, release(tmp_path / "source", "2.0"), remove=remove)
    assert str(caught.value).startswith(f"{plugins / name}: was not installed by this command")
    assert (tree(plugins), tree(elsewhere)) == before
    (plugins / name).unlink()
    uninstall(place)
    assert not place.state.exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied", "x"), r"^x: .*denied\); close the Console"),
        (OSError(28, "No space left on device", "x"), r"^x: .*No space .*repeat this command"),
    ],
)
def test_a_disk_that_refuses(plugins: Path, place, first: Release, monkeypatch, error, reason):
    before = tree(plugins)

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(shutil, "copyfile", refuse)
    with pytest.raises(OutputError, match=reason):
        Installation(place, first).apply()
    assert tree(plugins) == before


# --------------------------------------------------------------------------------------- NNCD


def test_nncd(database: Path, first: Release):
    """Shown, installed, found installed, removed, found removed."""
    place = recognise(database)
    before = state(database)
    shown = Installation(place, first).lines()
    assert f"  written   SGD Influence ({IMAGE_ID})" in shown
    assert "  new       nnabla_influence/ (3 files)" in shown
    assert f"A backup of the database: {place.state / 'nncd.db.backup'}" in shown
    assert state(database) == before
    assert install(place, first)[-1].startswith("Installed nnabla-influence 1.0. NNCD shows them")
    once = state(database)
    rows = table(database)
    names = [found["plugin_name"] for found in rows.values()]
    assert names == ["Grad-CAM", "SGD Influence", "SGD Influence (tabular)"]
    for id_, text in ((IMAGE_ID, "Image 1.0\n"), (TABLE_ID, "Table 1.0\n")):
        found = rows[id_]
        assert (found["owner_tenant_id"], found["deleted"]) == (SAMPLE_TENANT, 0)
        assert found["computing_service"] is None
        assert Path(str(found["plugin_file"])).is_absolute()
        assert says(Path(str(found["plugin_file"]))) == text
        fields = json.loads(str(found["parameters"]))
        assert [list(field.values()) for field in fields] == [
            ["model", "input", "the model", "path", "result.nnp", True],
            ["output", "output", "the result", "path", "影響"],
        ]
        # As NNCD's own rows have it: a field that can be changed has no key for it.
        assert list(fields[0]) == [*fields[1], "readonly"]
        written = datetime.datetime.strptime(str(found["create_datetime"]), "%Y-%m-%d %H:%M:%S.%f")
        assert abs(datetime.datetime.utcnow() - written) < datetime.timedelta(minutes=10)
    assert install(place, first) == [
        f"nnabla-influence 1.0 is already installed: NNCD in {place.root}"
    ]
    assert state(database) == once
    assert f"  removed   SGD Influence ({IMAGE_ID})" in uninstall(place)
    assert state(database) == before
    assert "is not installed: " in uninstall(place)[0]


def changed(database: Path, statement: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(statement)
    connection.close()


def test_a_changed_menu_is_repaired(database: Path, first: Release):
    place = recognise(database)
    install(place, first)
    changed(database, f"DELETE FROM plugins WHERE plugin_id = '{TABLE_ID}'")
    changed(database, f"UPDATE plugins SET deleted = 1 WHERE plugin_id = '{IMAGE_ID}'")
    assert install(place, first)[0].startswith("Repairs ")
    rows = list(table(database).values())
    assert [(found["plugin_name"], found["deleted"]) for found in rows[1:]] == [
        ("SGD Influence", 0),
        ("SGD Influence (tabular)", 0),
    ]


def test_rows_of_others_stay(database: Path, first: Release):
    """And files of others in our folder."""
    place = recognise(database)
    place.root.mkdir()
    (place.root / "index.csv").write_text("x,y\n")
    own = "11111111-2222-4333-8444-555555555555"
    insert(
        database,
        row("33333333-cccc-4ccc-8ccc-333333333333", "SGD Influence", "/x.py", owner=own),
        row("44444444-dddd-4ddd-8ddd-444444444444", "SGD Influence", "/y.py", deleted=1),
    )
    rows, before = table(database), state(database)
    install(place, first)
    after = table(database)
    assert {id_: after[id_] for id_ in rows} == rows
    uninstall(place)
    assert state(database) == before


def test_a_plugin_that_somebody_registered_by_hand_stays(database: Path, first: Release, tmp_path):
    """It works; a row whose script is missing does not, and is replaced."""
    place = recognise(database)
    script = tmp_path / "checkout.py"
    script.touch()
    insert(database, row(IMAGE_ID, "mine", str(script)), row(TABLE_ID, "lost", "/x.py"))
    before = state(database)
    with pytest.raises(OutputError, match=rf"{IMAGE_ID}\) is registered for .*checkout\.py"):
        Installation(place, first)
    assert state(database) == before
    script.unlink()
    install(place, first)
    uninstall(place, first)
    assert not {IMAGE_ID, TABLE_ID} & set(table(database))


def test_an_upgrade_removes_obsolete_rows(database: Path, first: Release, tmp_path):
    before = state(database)
    place = recognise(database)
    install(place, first)
    second = release(tmp_path / "source", "2.0")
    renamed = dataclasses.replace(second.registered[0], name="Influence")
    second = dataclasses.replace(second, registered=(renamed,))
    assert "  removed   ours_tabular.py" in install(place, second)
    assert TABLE_ID not in table(database)
    assert table(database)[IMAGE_ID]["plugin_name"] == "Influence"
    uninstall(place)
    assert state(database) == before


def test_rows_whose_files_were_deleted(database: Path, first: Release):
    before = state(database)
    place = recognise(database)
    install(place, first)
    shutil.rmtree(place.root)
    uninstall(place, first)
    assert state(database) == before


# ----------------------------------------------------------------------- manifest and payload


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read"),
        ('{"format": 2}', "cannot be read"),
        ('{"format": 2, "version": "1", "names": ["../x"], "folders": []}', "outside"),
        ('{"format": 1, "version": "0.1.0"}', "nnabla-influence 0.1.0"),
        ('{"format": 3, "version": "9.1"}', "nnabla-influence 9.1"),
    ],
)
@pytest.mark.parametrize("remove", [False, True])
def test_a_manifest_that_cannot_be_used(place: Place, first: Release, text, reason, remove):
    place.state.mkdir()
    (place.state / "manifest.json").write_text(text)
    with pytest.raises(OutputError, match=rf"manifest\.json: .*{reason}"):
        Installation(place, first, remove=remove)


def test_the_real_payload(place: Place, database: Path):
    names = payload(Release(), place)
    assert f"{COPY}/scoring/scoring.py" in names
    assert len(max(names, key=len)) < 120  # leaves space for the Console's folder
    for name in names:
        parts = name.split("/")
        assert not {"__pycache__", "tests"} & set(parts)
        assert not name.endswith(".pyc")
        assert not any(part.startswith("_") for part in parts[3:-1])  # it would be a menu
    scripts = [plugin.script_name for plugin in Release().registered]
    assert sorted(n for n in payload(Release(), recognise(database)) if "/" not in n) == sorted(
        scripts
    )
