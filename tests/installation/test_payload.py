"""What is put into a Console."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from nnabla_influence.errors import InfluenceError
from nnabla_influence.installation import (
    Installing,
    Place,
    recognise,
)
from nnabla_influence.installation import payload as payload_module
from nnabla_influence.installation.payload import Source, own_source, payload
from nnabla_influence.installation.places import WINDOWS
from tests.installation.consoles import (
    COPY,
    source,
)


@pytest.fixture
def place(plugins: Path) -> Place:
    return recognise(plugins)


def test_a_version_without_its_plugins(place: Place, tmp_path):
    lost = dataclasses.replace(source(tmp_path / "source"), plugins=tmp_path / "none")
    message = f"{tmp_path / 'none'}: is missing; install nnabla-influence again, with its plugins"
    with pytest.raises(InfluenceError, match=f"^{re.escape(message)}"):
        Installing(place, lost)


def test_a_path_too_long_for_windows(place: Place, first: Source, monkeypatch):
    monkeypatch.setattr(payload_module.os, "name", "nt")
    monkeypatch.setattr(payload_module, "_LONGEST_ON_WINDOWS", 60)
    with pytest.raises(InfluenceError, match=r"characters, more than the 60 that Windows can open"):
        payload_module.check_lengths(place.root, list(payload(first, WINDOWS)))


def test_the_real_paths_leave_room_for_the_folder_of_the_console():
    longest = max(payload(own_source(), WINDOWS), key=len)
    assert len(longest) < 120, longest


def test_what_is_real_has_no_tests_and_nothing_compiled():
    names = payload(own_source(), WINDOWS)
    assert f"{COPY}/scoring/scoring.py" in names
    odd = [n for n in names if "__pycache__" in n or "tests" in n.split("/") or n.endswith(".pyc")]
    assert odd == []
    # A folder that begins with a line would be a menu.
    assert not any(part.startswith("_") for n in names for part in n.split("/")[3:-1])
