"""Where the list of what was installed is lost: nothing of the user's is, and all of ours goes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nnabla_influence.errors import OutputError
from nnabla_influence.installation import Installing, Place, Uninstalling, recognise
from nnabla_influence.installation.changing import Workshop
from nnabla_influence.installation.manifest import Manifest, write_manifest
from nnabla_influence.installation.payload import Source, payload
from nnabla_influence.installation.places import WINDOWS
from tests.installation.consoles import (
    COPY,
    IMAGE,
    IMAGE_ID,
    TABLE,
    TABLE_ID,
    insert,
    install,
    row,
    says,
    source,
    state,
    tree,
    uninstall,
)

LEADS_OUT = (
    '{"format": 1, "version": "1", "complete": true, "folders": [], "files": {"../../x": ["0"]}}'
)


@pytest.fixture
def place(plugins: Path) -> Place:
    return recognise(plugins)


def copied_by_hand(plugins: Path, what: Source) -> None:
    """Put plugins there as somebody does who has no installer."""
    for name, path in payload(what, WINDOWS).items():
        (plugins / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, plugins / name)


def lose(place: Place, text: str | None) -> None:
    manifest = place.state / "manifest.json"
    manifest.unlink() if text is None else manifest.write_bytes(text.encode("latin-1"))


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", '{"format": 1}', LEADS_OUT, "\xff"], ids=lambda text: str(text)
)
@pytest.mark.parametrize("repairs", [True, False])
def test_what_was_there_before_comes_back(
    plugins: Path, place: Place, first: Source, tmp_path, text: str | None, repairs: bool
):
    """A script of the user's own making; an older copy with notes and a module more; new files."""
    copied_by_hand(plugins, source(tmp_path / "source", "0.9", nnabla_influence__gone="OLD = 1\n"))
    with (plugins / IMAGE).open("a") as script:
        script.write("# my precious edit\n")
    (plugins / COPY / "my_notes.txt").write_text("notes")
    shutil.rmtree((plugins / TABLE).parent / "nnabla_influence")
    (plugins / TABLE).unlink()
    before = tree(plugins)
    install(place, first)
    lose(place, text)
    if repairs:
        lines = install(place, first)
        assert lines[0] == (
            "Repairs nnabla-influence 1.0, whose list of files is lost or damaged:"
            f" Windows NNC in {plugins}"
        )
        assert not any(" kept" in line for line in lines)  # ours are known
        assert says(plugins / IMAGE) == "Image 1.0\n"
        assert install(place, first)[0].startswith("nnabla-influence 1.0 is already installed")
        Uninstalling(place).do()
    else:
        lines = [*Uninstalling(place, first).lines(), *Uninstalling(place, first).do()]
        assert lines[0].startswith("Removes nnabla-influence, whose list of files is lost or dam")
        assert f"  put back  {IMAGE}" in lines
        assert f"  removed   {TABLE}" in lines
    assert tree(plugins) == before


def test_files_of_another_version_are_kept_beside(
    plugins: Path, place: Place, first: Source, tmp_path
):
    """They may be a person's as well: nobody knows any more."""
    (plugins / IMAGE).write_text("print('mine, of nnabla_influence')\n")
    before = tree(plugins)
    old = source(tmp_path / "source", "0.9", nnabla_influence__gone="OLD = 1\n")
    install(place, old)
    lose(place, None)
    install(place, first)
    assert says(plugins / IMAGE) == "Image 1.0\n"
    assert not (plugins / COPY / "gone.py").exists()
    uninstall(place)
    left = tree(plugins)
    kept = {name: left.pop(name) for name in list(left) if name.endswith(".changed")}
    assert kept[f"{COPY}/gone.py.changed"][0] == b"OLD = 1\n"
    assert kept[f"{IMAGE}.changed"][0] == (old.plugins / IMAGE).read_bytes()
    assert {name: told for name, told in left.items() if told != "folder"} == {
        name: told for name, told in before.items() if told != "folder"
    }


@pytest.mark.parametrize("repairs", [True, False])
def test_the_folder_of_our_own_was_deleted(
    plugins: Path, place: Place, first: Source, repairs: bool
):
    before = tree(plugins)
    install(place, first)
    shutil.rmtree(place.state)
    if repairs:
        assert install(place, first)[0].startswith(
            "Takes charge of nnabla-influence 1.0, which is there already: "
        )
        assert install(place, first)[0].startswith("nnabla-influence 1.0 is already installed")
    Uninstalling(place, first).do()
    assert tree(plugins) == before


def test_a_copy_by_hand_stays_where_the_disk_refuses_the_rest(
    plugins: Path, place: Place, first: Source, monkeypatch
):
    copied_by_hand(plugins, first)
    shutil.rmtree((plugins / TABLE).parent)
    before = tree(plugins)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    work = Installing(place, first)
    monkeypatch.setattr(shutil, "copyfile", refuse)
    with pytest.raises(OutputError, match="No space left on device"):
        work.do()
    assert tree(plugins) == before


def test_a_copy_by_hand_with_a_change_is_not_taken_away(plugins: Path, place: Place, first: Source):
    """Nor the half of it that is as this version's: a plugin without its package is none."""
    copied_by_hand(plugins, first)
    (plugins / COPY / "inner" / "part.py").write_text("VERSION = 'mine'\n")
    (plugins / TABLE).parent.joinpath("nnabla_influence", "own.py").write_text("OWN = True\n")
    before = tree(plugins)
    assert Uninstalling(place, first).is_done
    install(place, first)
    assert says(plugins / IMAGE) == "Image 1.0\n"
    uninstall(place)
    assert tree(plugins) == before


@pytest.mark.parametrize("linked", [COPY, "_Post_Process/_XAI", IMAGE])
def test_a_linked_checkout_is_not_ours(plugins: Path, place: Place, first: Source, linked: str):
    copied_by_hand(plugins, first)
    checkout = plugins.parents[2] / "checkout"
    (plugins / linked).rename(checkout)
    (plugins / linked).symlink_to(checkout)
    shutil.rmtree((plugins / TABLE).parent)  # it lacks the other menu
    before, kept = tree(plugins), tree(checkout) if checkout.is_dir() else checkout.read_bytes()
    removal = Uninstalling(place, first)
    assert removal.is_done
    assert tree(plugins) == before
    assert (tree(checkout) if checkout.is_dir() else checkout.read_bytes()) == kept


def test_a_checkout_linked_after_the_installation_stays(
    plugins: Path, place: Place, first: Source, tmp_path
):
    """With the very files that were installed; and what stood there before is not lost either."""
    copied_by_hand(plugins, source(tmp_path / "source", "0.9"))
    install(place, first)
    checkout = plugins.parents[2] / "checkout"
    shutil.copytree(first.package, checkout)
    shutil.rmtree(plugins / COPY)
    (plugins / COPY).symlink_to(checkout)
    before = set(tree(checkout))
    lines = uninstall(place)
    added = {name for name in set(tree(checkout)) - before if name.endswith(".before")}
    assert set(tree(checkout)) == before | added
    assert (checkout / "inner" / "part.py.before").read_text() == "VERSION = '0.9'\n"
    assert f"Kept what was changed: {plugins / COPY / 'inner' / 'part.py.before'}" in lines
    assert says(plugins / TABLE) == "Table 0.9\n"


def test_a_persons_own_in_the_place_of_what_was_taken_away(
    plugins: Path, place: Place, first: Source, tmp_path
):
    copied_by_hand(plugins, source(tmp_path / "source", "0.9", nnabla_influence__gone="OLD = 1\n"))
    before = tree(plugins)
    install(place, first)
    (plugins / COPY / "gone.py").write_text("MINE = 1\n")
    install(place, source(tmp_path / "source", "2.0"))
    assert (plugins / COPY / "gone.py").read_text() == "MINE = 1\n"
    uninstall(place)
    left = tree(plugins)
    assert left[f"{COPY}/gone.py"][0] == b"MINE = 1\n"
    assert left.pop(f"{COPY}/gone.py.before") == before[f"{COPY}/gone.py"]


@pytest.mark.parametrize("text", [None, "{"])
@pytest.mark.parametrize("repairs", [True, False])
def test_rows_of_before_come_back(
    database: Path, first: Source, tmp_path, text: str | None, repairs: bool
):
    """From the backup of the database."""
    script = tmp_path / "by hand.py"
    script.touch()
    insert(database, row(IMAGE_ID, "by hand", str(script), deleted=1))
    before = state(database)
    place = recognise(database)
    install(place, first)
    lose(place, text)
    if repairs:
        install(place, first)
        assert Installing(place, first).is_done
    lines = [*(removal := Uninstalling(place, first)).lines(), *removal.do()]
    assert f"  put back  SGD Influence ({IMAGE_ID})" in lines
    assert f"  removed   SGD Influence (tabular) ({TABLE_ID})" in lines
    assert state(database) == before


def test_a_backup_of_the_database_that_is_damaged_too(database: Path, first: Source):
    before = state(database)
    place = recognise(database)
    install(place, first)
    lose(place, None)
    (place.state / "nncd.db.backup").write_bytes(b"no database")
    install(place, first)
    uninstall(place)
    assert state(database) == before


def test_our_file_is_never_taken_for_a_lost_backup(
    plugins: Path, place: Place, first: Source, tmp_path
):
    copied_by_hand(plugins, source(tmp_path / "source", "0.9"))
    install(place, first)
    shutil.rmtree(place.state / "backup")
    second = source(tmp_path / "source", "2.0")
    install(place, second)
    assert says(plugins / IMAGE) == "Image 2.0\n"
    uninstall(place)
    assert not (plugins / IMAGE).exists()


def test_a_backup_of_an_installation_that_never_was_is_made_anew(
    plugins: Path, place: Place, first: Source
):
    """It was cut off while backups were made; then a person worked on."""
    (plugins / IMAGE).write_text("print('mine, of nnabla_influence, earlier')\n")
    shop = Workshop(place)
    shop.backup(IMAGE).parent.mkdir(parents=True)
    shutil.copy2(plugins / IMAGE, shop.backup(IMAGE))
    write_manifest(Manifest("1.0", complete=False, files={}), place.state, place.state)
    (plugins / IMAGE).write_text("print('mine, of nnabla_influence, later')\n")
    install(place, first)
    assert says(plugins / IMAGE) == "Image 1.0\n"
    uninstall(place)
    assert says(plugins / IMAGE) == "mine, of nnabla_influence, later\n"
