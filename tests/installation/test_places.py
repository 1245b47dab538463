"""Which paths mean a Console."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nnabla_influence.errors import InfluenceError
from nnabla_influence.installation import recognise
from nnabla_influence.installation.places import DESKTOP, WINDOWS
from tests.installation.consoles import nncd_home, windows_nnc


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """An empty home folder, so that nothing is suggested from ours."""
    folder = tmp_path / "home of nobody"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    return folder


@pytest.mark.parametrize("below", ["", "neural_network_console", "*/libs", "*/libs/plugins"])
def test_windows_nnc(japanese_path: Path, below: str):
    plugins = windows_nnc(japanese_path)
    given = plugins.parents[2].joinpath(below.replace("*", "neural_network_console"))
    place = recognise(given)
    assert (place.kind, place.root, place.database) == (WINDOWS, plugins, None)
    assert place.state.parent == plugins
    assert not place.state.name.startswith("_")  # which would be a menu


@pytest.mark.parametrize("below", ["", "nncd_bucket", "nncd_bucket/db", "nncd_bucket/db/nncd.db"])
def test_nncd(japanese_path: Path, below: str):
    database = nncd_home(japanese_path)
    place = recognise(str(japanese_path / below))
    assert (place.kind, place.database) == (DESKTOP, database)
    assert place.root == japanese_path / "nncd_bucket" / "nnabla-influence"


def test_relative_paths_and_the_home_sign(home: Path, monkeypatch):
    database = nncd_home(home)
    monkeypatch.chdir(home / "nncd_bucket")
    assert recognise(".").database == recognise("~").database == database


def test_capitals_are_as_on_windows(tmp_path):
    plugins = windows_nnc(tmp_path)
    plugins.rename(plugins.with_name("Plugins")).parent.rename(tmp_path / "Libs")
    assert recognise(tmp_path).root == tmp_path / "Libs" / "Plugins"


def test_a_link_to_a_console(tmp_path):
    database = nncd_home(tmp_path / "somebody")
    link = tmp_path / "my database"
    link.symlink_to(database)
    assert recognise(link).database == database


def test_a_new_console_whose_plugins_were_deleted(tmp_path):
    """As Sony's manual has it done before newer ones are put there."""
    plugins = tmp_path / "libs" / "plugins"
    plugins.mkdir(parents=True)
    with pytest.raises(InfluenceError, match="no Neural Network Console"):
        recognise(tmp_path)
    (tmp_path / "neural_network_console.exe").touch()
    assert recognise(tmp_path).root == plugins


def test_something_else(tmp_path):
    (tmp_path / "project" / "plugins").mkdir(parents=True)
    message = (
        f"{tmp_path}: is no Neural Network Console: neither libs/plugins (Windows NNC) nor"
        " nncd_bucket/db/nncd.db (NNCD) was found in it"
    )
    with pytest.raises(InfluenceError, match=f"^{re.escape(message)}$"):
        recognise(tmp_path)


def test_a_file(tmp_path):
    file = tmp_path / "notes.txt"
    file.touch()
    with pytest.raises(InfluenceError, match=r"notes\.txt: is a file, and no Neural Network"):
        recognise(file)


def test_no_such_folder(tmp_path):
    with pytest.raises(InfluenceError, match=r"none: no such folder; give a Console's folder$"):
        recognise(tmp_path / "none")


def test_a_name_that_no_system_reads(tmp_path):
    with pytest.raises(InfluenceError, match=r"xxx: cannot be read \(File name too long\)$"):
        recognise(tmp_path / ("x" * 300))


def test_what_is_there_is_suggested(tmp_path, home: Path):
    plugins = windows_nnc(home / "Downloads")
    nncd_home(home)
    found = rf"; found here: {home / 'nncd_bucket'}, {plugins.parents[1]}$"
    with pytest.raises(InfluenceError, match=found):
        recognise(tmp_path / "none")
    with pytest.raises(InfluenceError, match=found):
        recognise(tmp_path)


def test_two_consoles(tmp_path):
    plugins = windows_nnc(tmp_path)
    nncd_home(tmp_path)
    message = f"more than one Console; give {plugins.parents[1]} or {tmp_path / 'nncd_bucket'}$"
    with pytest.raises(InfluenceError, match=message):
        recognise(tmp_path)
    assert recognise(plugins.parents[1]).kind == WINDOWS
    assert recognise(tmp_path / "nncd_bucket").kind == DESKTOP
