"""Into a folder laid out like Windows NNC, and out again."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nnabla_influence.errors import InfluenceError, OutputError
from nnabla_influence.installation import Installing, Place, Uninstalling, recognise
from nnabla_influence.installation import payload as payload_module
from nnabla_influence.installation.payload import Source, own_source, payload
from nnabla_influence.installation.places import WINDOWS
from tests.installation.consoles import IMAGE, TABLE, source, tree, windows_nnc

XAI = "_Post_Process/_XAI"
COPY = f"{XAI}/_Image/nnabla_influence"


@pytest.fixture
def plugins(japanese_path: Path) -> Path:
    return windows_nnc(japanese_path)


@pytest.fixture
def place(plugins: Path) -> Place:
    return recognise(plugins)


@pytest.fixture
def first(tmp_path) -> Source:
    return source(tmp_path / "source")


def install(place: Place, what: Source) -> list[str]:
    work = Installing(place, what)
    return work.lines() + ([] if work.is_done else work.do())


def uninstall(place: Place) -> list[str]:
    work = Uninstalling(place)
    return work.lines() + ([] if work.is_done else work.do())


def says(script: Path) -> str:
    """Run a script as the Console does, with nothing but what lies beside it."""
    done = subprocess.run(
        [sys.executable, "-E", "-s", "-B", str(script)],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout or done.stderr


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


def test_a_linked_folder_of_the_console_is_used(plugins: Path, place: Place, first: Source):
    elsewhere = plugins.parents[2] / "elsewhere"
    (plugins / XAI).rename(elsewhere)
    (plugins / XAI).symlink_to(elsewhere)
    before = tree(elsewhere)
    install(place, first)
    assert says(elsewhere / "_Image" / "ours.py") == "Image 1.0\n"
    uninstall(place)
    assert tree(elsewhere) == before


def test_a_file_put_there_between_showing_and_doing(plugins: Path, place: Place, first: Source):
    work = Installing(place, first)
    (plugins / IMAGE).write_text("mine\n")
    before = tree(plugins)
    with pytest.raises(OutputError, match="is in the way, and not of nnabla-influence"):
        work.do()
    assert tree(plugins) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"manifest\.json: is damaged \(.*\); remove it, install again"),
        ("[]", r"manifest\.json: is damaged"),
        ('{"format": 1}', r"manifest\.json: is damaged"),
        (
            '{"format": 2, "version": "9.1"}',
            r"manifest\.json: was written by nnabla-influence 9\.1; use that version, or a later",
        ),
        (
            '{"format": 1, "version": "1", "complete": true, "folders": [],'
            ' "files": {"../../x": ["0"]}}',
            r"manifest\.json: is damaged \('\.\./\.\./x' leads out of the folder\)",
        ),
    ],
)
def test_a_manifest_that_cannot_be_read(place: Place, first: Source, text: str, message: str):
    place.state.mkdir()
    (place.state / "manifest.json").write_text(text)
    for work in (Installing, Uninstalling):
        with pytest.raises(InfluenceError, match=message):
            work(place, first)


def test_a_manifest_that_is_a_folder(place: Place, first: Source):
    (place.state / "manifest.json").mkdir(parents=True)
    with pytest.raises(InfluenceError, match=r"manifest\.json: cannot be read \(.*\)"):
        Installing(place, first)


def test_the_manifest_says_what_is_there(plugins: Path, place: Place, first: Source):
    install(place, first)
    told = json.loads((place.state / "manifest.json").read_text(encoding="utf-8"))
    assert (told["version"], told["complete"]) == ("1.0", True)
    assert set(told["files"]) == set(payload(first, WINDOWS))
    assert all((plugins / folder).is_dir() for folder in told["folders"])
    assert [entry.name for entry in place.state.iterdir()] == ["manifest.json"]


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


# ------------------------------------------------- what the Console brings


def test_what_the_consoles_python_lacks_is_said(place: Place, first: Source):
    python = place.root.parent / "Miniconda3"
    site = python / "Lib" / "site-packages"
    for name in ("nnabla", "numpy", "PIL", "h5py", "nnabla-1.29.0.dist-info"):
        (site / name).mkdir(parents=True)
    (python / "python38.dll").touch()
    (python / "python3.dll").touch()
    lines = Installing(place, first).lines()
    assert "Note: libs/Miniconda3 has no tqdm; the plugins will not run there." in lines
    older = [line for line in lines if "is Python 3.8" in line]
    assert len(older) == 1
    assert older[0].endswith("need 3.9 or 3.10 to run.")
    (site / "tqdm").mkdir()
    (python / "python38.dll").rename(python / "python310.dll")
    lines = Installing(place, first).lines()
    assert (
        lines[-2].endswith("imports: h5py, nnabla, numpy, pillow, tqdm.") or "import:" in lines[-2]
    )
    assert lines[-1] == "Found there: nnabla 1.29.0, in libs/Miniconda3."
