"""What stands in the way stays, and so does all where the disk refuses."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from nnabla_influence.errors import OutputError
from nnabla_influence.installation import (
    Installing,
    Place,
    recognise,
)
from nnabla_influence.installation.payload import Source
from tests.installation.consoles import (
    COPY,
    IMAGE,
    TABLE,
    XAI,
    install,
    says,
    tree,
    uninstall,
)


@pytest.fixture
def place(plugins: Path) -> Place:
    return recognise(plugins)


def in_the_way_script(plugins: Path) -> str:
    (plugins / IMAGE).write_text("print('a plugin of mine')\n")
    return f"{plugins / IMAGE}: is in the way, and not of nnabla-influence"


def in_the_way_capitals(plugins: Path) -> str:
    path = plugins / IMAGE.replace("ours", "Ours")
    path.write_text("print('a plugin of mine')\n")
    return f"{path}: is in the way, and not of nnabla-influence"


def in_the_way_package(plugins: Path) -> str:
    (plugins / COPY).mkdir()
    (plugins / COPY / "__init__.py").write_text("mine = True\n")
    return f"{plugins / COPY / '__init__.py'}: is in the way, and not of nnabla-influence"


def in_the_way_file_for_folder(plugins: Path) -> str:
    (plugins / COPY).write_text("")
    return f"{plugins / COPY}: is in the way, a file where a folder has to be (and 2 more)"


def in_the_way_folder(plugins: Path) -> str:
    (plugins / IMAGE).mkdir()
    return f"{plugins / IMAGE}: is in the way, a folder"


def in_the_way_link(plugins: Path) -> str:
    """A checkout that was linked must not be written into."""
    checkout = plugins.parents[2] / "checkout"
    checkout.mkdir()
    (plugins / COPY).symlink_to(checkout)
    return f"{plugins / COPY}: is in the way, a link to {checkout} (and 2 more)"


def in_the_way_hanging_link(plugins: Path) -> str:
    (plugins / TABLE).symlink_to("nowhere.py")
    return f"{plugins / TABLE}: is in the way, a link to nowhere.py"


@pytest.mark.parametrize(
    "obstacle",
    [
        in_the_way_script,
        in_the_way_capitals,
        in_the_way_package,
        in_the_way_file_for_folder,
        in_the_way_folder,
        in_the_way_link,
        in_the_way_hanging_link,
    ],
)
def test_what_is_in_the_way_stays(plugins: Path, place: Place, first: Source, obstacle):
    message = f"{obstacle(plugins)}; move it to another place, then install again"
    before = tree(plugins)
    with pytest.raises(OutputError, match=f"^{re.escape(message)}$"):
        Installing(place, first)
    assert tree(plugins) == before


def test_a_file_put_there_between_showing_and_doing(plugins: Path, place: Place, first: Source):
    work = Installing(place, first)
    (plugins / IMAGE).write_text("mine\n")
    before = tree(plugins)
    with pytest.raises(OutputError, match="is in the way, and not of nnabla-influence"):
        work.do()
    assert tree(plugins) == before


def test_a_linked_folder_of_the_console_is_used(plugins: Path, place: Place, first: Source):
    elsewhere = plugins.parents[2] / "elsewhere"
    (plugins / XAI).rename(elsewhere)
    (plugins / XAI).symlink_to(elsewhere)
    before = tree(elsewhere)
    install(place, first)
    assert says(elsewhere / "_Image" / "ours.py") == "Image 1.0\n"
    uninstall(place)
    assert tree(elsewhere) == before


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied"), r"denied\); close the Console, and run this as"),
        (OSError(28, "No space left on device"), r"no space left on device\); when that is mended"),
    ],
)
def test_a_disk_that_refuses(place: Place, first: Source, monkeypatch, error, message: str):
    before = tree(place.root)
    work = Installing(place, first)

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(shutil, "copyfile", refuse)
    with pytest.raises(OutputError, match=f"(?i){message}"):
        work.do()
    monkeypatch.undo()
    assert tree(place.root) == before
