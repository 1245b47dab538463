"""What lies in the folder of a result: one file to show, the others deeper."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from PIL import Image

from nnabla_influence.console.desktop import Result
from nnabla_influence.console.strip import message
from tests.console import nncd
from tests.console.nncd import rank
from tests.console.scripts import names_in

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["r", "ranking", "f", "x y'(1).b"])
def test_any_name_works(job: Path, caplog, name: str):
    """NNCD mistakes whatever begins with the result's name for it."""
    call, code, lines = rank(job, caplog, output=name)
    assert code == 0, lines
    assert nncd.shown(call.folder) == [call.picture]
    assert len(list(call.folder.glob("*/influence.csv"))) == 1


@pytest.mark.parametrize("name", [".", "p", "plugin"])
def test_a_name_for_which_another_file_is_shown(job: Path, caplog, name: str):
    """The server accepts ``.``, and mistakes the log for a result called ``p``."""
    _, code, lines = rank(job, caplog, output=name)
    assert code == 1
    assert "NNCD would show another file" in lines[-1]
    left = [p.name for p in (job / "plugins").rglob("*") if p.is_file()]
    assert left == ["plugin_log.txt"]


def test_a_result_of_the_same_name_replaces_the_earlier_one_whole(job: Path, caplog):
    """A failure leaves the earlier one's files."""
    call, _, _ = rank(job, caplog)
    kept = (call.folder / "ranking" / "influence.csv").read_bytes()
    first = call.picture.read_bytes()
    assert rank(job, caplog, window="9")[1] == 1
    assert (call.folder / "ranking" / "influence.csv").read_bytes() == kept
    (call.folder / "ranking" / "of the earlier one").touch()
    again, code, _ = rank(job, caplog, rows="1")
    assert (code, again.folder) == (0, call.folder)
    assert nncd.shown(call.folder) == [call.picture]
    assert call.picture.read_bytes() != first
    assert not (call.folder / "ranking" / "of the earlier one").exists()


@pytest.mark.parametrize(
    ("typed", "code", "named"),
    [
        ({"window": "9"}, 1, "9 epochs"),
        ({"method": "best"}, 1, "'best'"),
        ({"rows": "0"}, 2, "'0'"),
        ({"import_dataset": "perhaps"}, 1, "'perhaps' must be yes or no"),
    ],
)
def test_a_failure_is_shown_in_words(job: Path, caplog, typed, code: int, named: str):
    """The exit code is ignored, and an empty file would look like a running plugin."""
    call, got, lines = rank(job, caplog, **typed)
    assert got == code
    assert lines[-1].startswith("SGD influence failed: ")
    assert named in lines[-1]
    assert names_in(call.folder) == {"influence.png", "plugin_log.txt"}
    with Image.open(call.picture) as picture:
        assert picture.height == 100
        assert len(picture.getcolors(10**6)) > 1  # something is written on it


def opened(folder: Path, name: str) -> Result:
    """Make a result's folder with its empty file."""
    placeholder = folder / Path(name).stem / name
    placeholder.parent.mkdir()
    placeholder.touch()
    return Result(placeholder)


def test_the_empty_file_is_removed_once_the_image_is_written(tmp_path: Path, monkeypatch):
    """Without a file NNCD reports an error; of two it may show the empty one."""
    result = opened(tmp_path, "name.nnp")
    result.picture.write_bytes(b"earlier")
    seen = []
    unlink = Path.unlink

    def note(path: Path, *more: object, **named: object) -> None:
        if path.suffix == ".nnp":
            seen.append(result.picture.exists())
        unlink(path, *more, **named)

    monkeypatch.setattr(Path, "unlink", note)
    with result:
        assert nncd.shown(result.folder) == [result.folder / "name.nnp"]  # not the earlier image
        result.show(message("title", "text"))
    assert seen[0] is True
    assert nncd.shown(result.folder) == [result.picture]


@pytest.mark.parametrize(
    ("name", "content", "left"),
    [
        ("name.png", b"", ["name.png"]),  # its extension is that of an input
        ("name.nnp", b"", ["name.png"]),
        ("name.nnp", b"a model", ["name.nnp", "name.png"]),
    ],
)
def test_only_an_empty_file_is_removed(tmp_path: Path, name: str, content: bytes, left: list[str]):
    result = opened(tmp_path, name)
    (result.folder / name).write_bytes(content)
    with result:
        result.show(message("title", "text"))
    assert sorted(path.name for path in result.folder.iterdir()) == left
    assert result.picture.stat().st_size > 0
    if content:
        assert (result.folder / name).read_bytes() == content


def test_unfinished_files_are_removed_with_the_application(tmp_path: Path):
    result = opened(tmp_path, "name.nnp")
    with contextlib.suppress(KeyError), result, result.files("ranking") as staged:
        (staged / "half").touch()
        result.remove_unfinished()
        assert list(result.folder.iterdir()) == []
        raise KeyError
