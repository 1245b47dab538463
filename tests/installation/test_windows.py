"""Into a folder laid out like Windows NNC, and out again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from nnabla_influence.installation import (
    Installing,
    Place,
    recognise,
)
from nnabla_influence.installation.payload import Source, payload
from nnabla_influence.installation.places import WINDOWS
from tests.installation.consoles import (
    COPY,
    IMAGE,
    TABLE,
    XAI,
    install,
    says,
    source,
    tree,
    uninstall,
)


@pytest.fixture
def place(plugins: Path) -> Place:
    return recognise(plugins)


def test_twice_and_away_again(plugins: Path, place: Place, first: Source):
    before = tree(plugins)
    shown = Installing(place, first)
    assert tree(plugins) == before  # to show is not to do
    assert f"  new       {COPY}/ (3 files)" in shown.lines()
    assert f"  new       {IMAGE}" in shown.lines()
    assert shown.do()[-1].startswith("Installed nnabla-influence 1.0. Restart Neural Network")
    once = tree(plugins)
    assert set(before) < set(once)
    assert {name: once[name] for name in before} == before
    files = {name for name in once if once[name] != "folder"} - set(before)
    inner = ("__init__.py", "inner/__init__.py", "inner/part.py")
    assert {name for name in files if "nnabla_influence_installed" not in name} == {
        *(IMAGE, TABLE),
        *(
            f"{XAI}/{folder}/nnabla_influence/{name}"
            for folder in ("_Image", "_Table")
            for name in inner
        ),
    }
    assert says(plugins / IMAGE) == "Image 1.0\n"
    assert says(plugins / TABLE) == "Table 1.0\n"
    again = install(place, first)
    assert again == [f"nnabla-influence 1.0 is already installed: Windows NNC in {plugins}"]
    assert tree(plugins) == once
    lines = uninstall(place)
    assert lines[0] == f"Removes nnabla-influence 1.0: Windows NNC in {plugins}"
    assert f"  removed   {COPY}/ (3 files)" in lines
    assert tree(plugins) == before
    assert uninstall(place) == [f"nnabla-influence is not installed: Windows NNC in {plugins}"]


def test_menus_that_are_missing_are_made_and_removed(plugins: Path, place: Place, first: Source):
    shutil.rmtree(plugins / "_Post_Process")
    before = tree(plugins)
    install(place, first)
    assert (plugins / TABLE).is_file()
    uninstall(place)
    assert tree(plugins) == before


def test_capitals_of_the_folders_stay(plugins: Path, place: Place, first: Source):
    (plugins / XAI).rename(plugins / "_Post_Process" / "_xai")
    before = tree(plugins)
    install(place, first)
    assert (plugins / IMAGE.replace("_XAI", "_xai")).is_file()
    assert not (plugins / XAI).exists()
    uninstall(place)
    assert tree(plugins) == before


def test_what_the_console_compiled_goes_too(plugins: Path, place: Place, first: Source):
    before = tree(plugins)
    install(place, first)
    compiled = plugins / COPY / "inner" / "__pycache__"
    compiled.mkdir()
    (compiled / "part.cpython-38.pyc").write_bytes(b"compiled")
    uninstall(place)
    assert tree(plugins) == before


def test_a_menu_never_has_a_script_without_its_package(
    plugins: Path, place: Place, first: Source, monkeypatch
):
    """Wherever it is cut off: the package comes first, and goes last."""
    changed: list[tuple[str, bool]] = []

    def note(path: Path) -> None:
        if path.suffix == ".py":
            changed.append((path.parent.name, path.name in (Path(IMAGE).name, Path(TABLE).name)))

    replace, unlink = os.replace, Path.unlink
    monkeypatch.setattr(os, "replace", lambda a, b: (replace(a, b), note(Path(b))))
    monkeypatch.setattr(Path, "unlink", lambda p, **k: (unlink(p, **k), note(p)))
    install(place, first)
    are_scripts = [is_script for _, is_script in changed]
    assert are_scripts == sorted(are_scripts)
    assert sum(are_scripts) == 2
    changed.clear()
    uninstall(place)
    are_scripts = [is_script for _, is_script in changed]
    assert are_scripts == sorted(are_scripts, reverse=True)
    assert sum(are_scripts) == 2


def test_damage_is_repaired(plugins: Path, place: Place, first: Source):
    install(place, first)
    once = tree(plugins)
    (plugins / COPY / "inner" / "part.py").unlink()
    shutil.rmtree(plugins / XAI / "_Table" / "nnabla_influence")
    lines = install(place, first)
    assert lines[0].startswith("Repairs nnabla-influence 1.0: ")
    assert f"  new       {COPY}/ (1 file)" in lines
    assert {name: told and told[0] for name, told in tree(plugins).items()} == {
        name: told and told[0] for name, told in once.items()
    }


def test_a_changed_file_is_kept_beside(plugins: Path, place: Place, first: Source):
    before = tree(plugins)
    install(place, first)
    script = plugins / IMAGE
    script.write_text("mine\n")
    lines = install(place, first)
    note = "changed since it was installed: that is kept beside it, as .changed"
    assert f"  replaced  {IMAGE}; {note}" in lines
    assert f"Kept what was changed: {script}.changed" in lines
    assert says(script) == "Image 1.0\n"
    script.write_text("mine again\n")
    lines = uninstall(place)
    assert f"  removed   {IMAGE}; {note}" in lines
    assert f"Kept what was changed: {script}.changed2" in lines
    assert lines[-1].endswith("but what was kept.")
    left = tree(plugins)
    assert left.pop(f"{IMAGE}.changed")[0] == b"mine\n"
    assert left.pop(f"{IMAGE}.changed2")[0] == b"mine again\n"
    assert left == before


def test_a_changed_file_is_kept_once(plugins: Path, place: Place, first: Source):
    """Also where its copy was made already, before something was interrupted."""
    install(place, first)
    script = plugins / IMAGE
    script.write_text("mine\n")
    script.with_name(f"{script.name}.changed").write_text("mine\n")
    install(place, first)
    assert [path.name for path in script.parent.glob("*.changed*")] == [f"{script.name}.changed"]


def test_an_upgrade_removes_what_is_no_longer_there(
    plugins: Path, place: Place, first: Source, tmp_path
):
    before = tree(plugins)
    install(place, first)
    second = source(
        tmp_path / "source",
        "2.0",
        without="nnabla_influence/inner/__init__.py",
        nnabla_influence__inner__part="VERSION = 'two'\n",
        nnabla_influence__newer__part="",
    )
    shutil.rmtree(second.package / "inner")
    (second.plugins / TABLE).unlink()
    for script in (second.plugins / IMAGE,):
        script.write_text("import nnabla_influence\nprint(nnabla_influence.__version__)\n")
    lines = install(place, second)
    assert lines[0] == f"Replaces nnabla-influence 1.0 by 2.0: Windows NNC in {plugins}"
    assert f"  removed   {TABLE}" in lines
    assert says(plugins / IMAGE) == "2.0\n"
    assert not (plugins / COPY / "inner").exists()
    assert not (plugins / XAI / "_Table" / "nnabla_influence").exists()
    assert (plugins / COPY / "newer" / "part.py").is_file()
    assert install(place, second)[0].startswith("nnabla-influence 2.0 is already installed")
    uninstall(place)
    assert tree(plugins) == before


def test_a_copy_made_by_hand_comes_back(plugins: Path, place: Place, first: Source, tmp_path):
    """Of an earlier version, with a module that the new one lacks."""
    old = source(tmp_path / "source", "0.9", nnabla_influence__gone="OLD = 1\n")
    for name, path in payload(old, WINDOWS).items():
        (plugins / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, plugins / name)
    shutil.copy2(first.plugins / TABLE, plugins / TABLE)  # one of them is the new one
    before = tree(plugins)
    lines = install(place, first)
    assert f"  replaced  {COPY}/ (3 files); was there before: a backup is kept" in lines
    assert says(plugins / IMAGE) == "Image 1.0\n"
    assert not (plugins / COPY / "gone.py").exists()
    assert install(place, first)[0].startswith("nnabla-influence 1.0 is already installed")
    assert f"  put back  {COPY}/ (4 files)" in uninstall(place)
    assert tree(plugins) == before
