"""An installation by 0.1.0 is upgraded, and uninstalled with what it had put aside."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nnabla_influence.console.places import recognise
from nnabla_influence.console.release import Release
from tests.console.consoles import (
    COPY,
    IMAGE,
    IMAGE_ID,
    TABLE,
    TABLE_ID,
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
from tests.console.older import copy_by_hand, install_0_1_0


@pytest.fixture
def old(tmp_path: Path) -> Release:
    return release(tmp_path / "source", "0.1.0", nnabla_influence__gone="OLD = 1\n")


@pytest.mark.parametrize("is_upgraded", [False, True])
def test_windows_nnc(plugins: Path, first: Release, old: Release, is_upgraded: bool):
    shutil.rmtree(plugins / "_Post_Process" / "_XAI" / "_Table")
    before = tree(plugins)
    place = recognise(plugins)
    install_0_1_0(place, old)
    assert says(plugins / TABLE) == "Table 0.1.0\n"
    if is_upgraded:
        lines = install(place, first)
        assert lines[0].startswith("Replaces nnabla-influence 0.1.0 by 1.0: ")
        assert says(plugins / IMAGE) == "Image 1.0\n"
        assert not (plugins / COPY / "gone.py").exists()
        assert "is already installed" in install(place, first)[0]
    uninstall(place)
    assert tree(plugins) == before


@pytest.mark.parametrize("is_upgraded", [False, True])
def test_a_copy_by_hand_comes_back(plugins: Path, first: Release, old, tmp_path, is_upgraded: bool):
    place = recognise(plugins)
    copy_by_hand(place, old)
    before = tree(plugins)
    removed = [f"{COPY}/gone.py", f"{COPY}/gone.py".replace("_Image", "_Table")]
    install_0_1_0(place, release(tmp_path / "source", "0.1.1"), removed)
    assert not (plugins / removed[0]).exists()
    if is_upgraded:
        install(place, first)
        assert says(plugins / IMAGE) == "Image 1.0\n"
    assert f"  restored  {IMAGE}" in uninstall(place)
    assert tree(plugins) == before


def test_a_file_in_the_place_of_what_comes_back(plugins: Path, tmp_path):
    place = recognise(plugins)
    copy_by_hand(place, release(tmp_path / "source", "0.1.0"))
    kept = (plugins / TABLE).read_bytes()
    install_0_1_0(place, release(tmp_path / "source", "0.1.1"))
    second = release(tmp_path / "source", "2.0")
    (second.plugins / TABLE).unlink()
    install(place, second)
    (plugins / TABLE).write_text("mine\n")
    uninstall(place)
    assert (plugins / TABLE).read_text() == "mine\n"
    assert (plugins / f"{TABLE}.before").read_bytes() == kept


def test_it_was_killed_while_it_made_backups(plugins: Path, old: Release):
    """What they are of still stands there."""
    place = recognise(plugins)
    copy_by_hand(place, old)
    before = tree(plugins)
    backup = place.state / "backup" / f"{TABLE}.backup"
    backup.parent.mkdir(parents=True)
    shutil.copy2(plugins / TABLE, backup)
    (place.state / "staging").mkdir()
    content = {"format": 1, "version": "0.1.0", "complete": False, "files": {}, "rows": {}}
    text = json.dumps({**content, "folders": [], "replaced": {}})
    (place.state / "manifest.json").write_text(text)
    uninstall(place)
    assert tree(plugins) == before


@pytest.mark.parametrize("is_upgraded", [False, True])
def test_nncd(database: Path, first: Release, old: Release, tmp_path, is_upgraded: bool):
    """With a row of before whose script exists, and one whose script does not."""
    script = tmp_path / "by hand.py"
    script.touch()
    insert(database, row(IMAGE_ID, "by hand", str(script)), row(TABLE_ID, "lost", "/x.py"))
    before = table(database)
    files = state(database)[0]
    place = recognise(database)
    install_0_1_0(place, old)
    if is_upgraded:
        assert install(place, first)[0].startswith("Replaces nnabla-influence 0.1.0 by 1.0: ")
        assert says(place.root / "ours.py") == "Image 1.0\n"
        assert table(database)[IMAGE_ID]["plugin_name"] == "SGD Influence"
    uninstall(place, first)
    del before[TABLE_ID]
    assert table(database) == before
    assert state(database)[0] == files
