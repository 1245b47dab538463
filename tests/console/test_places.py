"""Which paths mean a Console."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nnabla_influence.console.places import NNCD, WINDOWS, recognise
from nnabla_influence.errors import InfluenceError
from tests.console.consoles import nncd_home, windows_nnc


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
    assert (place.kind, place.database) == (NNCD, database)
    assert place.root == japanese_path / "nncd_bucket" / "nnabla-influence"


def test_a_link_to_a_console(tmp_path):
    database = nncd_home(tmp_path / "somebody")
    link = tmp_path / "my database"
    link.symlink_to(database)
    assert recognise(link).database == database


def test_a_new_console_whose_plugins_were_deleted(tmp_path):
    """As Sony's manual has it done before newer ones are put there."""
    plugins = tmp_path / "libs" / "plugins"
    plugins.mkdir(parents=True)
    with pytest.raises(InfluenceError, match="not a Neural Network Console"):
        recognise(tmp_path)
    (tmp_path / "neural_network_console.exe").touch()
    assert recognise(tmp_path).root == plugins


def test_other_paths_are_refused(tmp_path):
    (tmp_path / "project" / "plugins").mkdir(parents=True)
    (tmp_path / "notes.txt").touch()
    for name, reason in {
        "": "is not a Neural Network Console",
        "notes.txt": "is not a Neural Network Console",
        "none": "does not exist",
        "x" * 300: "cannot be read",
    }.items():
        path = tmp_path / name
        with pytest.raises(InfluenceError, match=re.escape(f"{path}: {reason}")):
            recognise(path)


def test_two_consoles(tmp_path):
    libs = windows_nnc(tmp_path).parent
    bucket = nncd_home(tmp_path).parents[1]
    with pytest.raises(InfluenceError, match=re.escape(f"give {libs} or {bucket}")):
        recognise(tmp_path)
    assert recognise(libs).kind == WINDOWS
    assert recognise(bucket).kind == NNCD
