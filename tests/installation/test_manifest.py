"""The list of what was installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnabla_influence.errors import InfluenceError
from nnabla_influence.installation import (
    Installing,
    Place,
    Uninstalling,
    recognise,
)
from nnabla_influence.installation.payload import Source, payload
from nnabla_influence.installation.places import WINDOWS
from tests.installation.consoles import (
    install,
)


@pytest.fixture
def place(plugins: Path) -> Place:
    return recognise(plugins)


def test_the_manifest_says_what_is_there(plugins: Path, place: Place, first: Source):
    install(place, first)
    told = json.loads((place.state / "manifest.json").read_text(encoding="utf-8"))
    assert (told["version"], told["complete"]) == ("1.0", True)
    assert set(told["files"]) == set(payload(first, WINDOWS))
    assert all((plugins / folder).is_dir() for folder in told["folders"])
    assert [entry.name for entry in place.state.iterdir()] == ["manifest.json"]


def test_a_manifest_of_a_later_version(place: Place, first: Source):
    place.state.mkdir()
    (place.state / "manifest.json").write_text('{"format": 2, "version": "9.1"}')
    message = r"manifest\.json: was written by nnabla-influence 9\.1; use that version, or a later"
    for work in (Installing, Uninstalling):
        with pytest.raises(InfluenceError, match=message):
            work(place, first)


def test_a_manifest_that_is_a_folder(place: Place, first: Source):
    (place.state / "manifest.json").mkdir(parents=True)
    with pytest.raises(InfluenceError, match=r"manifest\.json: cannot be read \(.*\)"):
        Installing(place, first)
