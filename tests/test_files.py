"""Whole or not at all: what is on disk after success, failure, interruption and a hard kill."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nnabla_influence.errors import OutputError
from nnabla_influence.files import (
    check_output,
    check_output_folder,
    check_writable,
    replacing_file,
    replacing_folder,
)
from tests.small_projects import REPOSITORY, environment


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "result.csv"
    path.write_text("old")
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    (path / "old").touch()
    return path


def test_a_file_is_replaced_at_the_end_of_the_block(file: Path):
    with replacing_file(file) as temporary:
        temporary.write_text("new")
        assert file.read_text() == "old"
        assert temporary.parent == file.parent  # so that renaming is one step
        assert temporary.suffix == ".csv"
    assert file.read_text() == "new"
    assert names(file.parent) == ["result.csv"]


def test_a_folder_is_replaced_at_the_end_of_the_block(folder: Path):
    with replacing_folder(folder) as temporary:
        (temporary / "new").touch()
        assert names(folder) == ["old"]
    assert names(folder) == ["new"]
    assert names(folder.parent) == ["run"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit, BrokenPipeError])
def test_a_failed_block_changes_nothing(file: Path, folder: Path, failure):
    def write_half(context) -> None:
        with context as temporary:
            (temporary / "half" if temporary.is_dir() else temporary).write_text("half")
            raise failure

    for context in (replacing_file(file), replacing_folder(folder)):
        with pytest.raises(failure):
            write_half(context)
    assert names(file.parent) == ["result.csv", "run"]
    assert (file.read_text(), names(folder)) == ("old", ["old"])


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "free disk space"), (errno.EIO, "choose another")]
)
def test_what_the_disk_refuses_is_said(file: Path, folder: Path, number: int, advice: str):
    reason = rf"cannot be written \({os.strerror(number)}\); {advice}"
    for path, context in ((file, replacing_file(file)), (folder, replacing_folder(folder))):
        with pytest.raises(OutputError, match=f"^{re.escape(str(path))}: {reason}"), context:
            raise OSError(number, os.strerror(number))
    assert names(file.parent) == ["result.csv", "run"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(folder: Path, monkeypatch):
    real = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if target == folder and self.name.endswith(".tmp"):
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), replacing_folder(folder) as temporary:
        (temporary / "new").touch()
    assert names(folder) == ["old"]
    assert names(folder.parent) == ["run"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("none/x.csv", ".*No such file or directory.* make its folder"),
        ("result.csv/x.csv", ".*Not a directory"),
        ("run", "is a folder"),
        ("x" * 300, ".*File name too long"),
        ("fifo", "is a device"),
    ],
)
def test_where_no_file_can_be_written(file: Path, folder: Path, where: str, message: str):
    os.mkfifo(file.parent / "fifo")
    path = file.parent / where
    before = names(file.parent)
    for enter in (check_writable, lambda path: replacing_file(path).__enter__()):
        with pytest.raises(OutputError, match=f"^{re.escape(str(path))}: {message}"):
            enter(path)
    assert names(file.parent) == before


@pytest.mark.parametrize("link", [None, "link_to", "symlink_to"])
def test_an_input_is_never_an_output(file: Path, link: str | None):
    output = file
    if link == "link_to":
        output = file.with_name("other.csv")
        os.link(file, output)
    elif link:
        output = file.with_name("other.csv")
        output.symlink_to(file)
    with pytest.raises(OutputError, match=f"{output}: is the same file as {file}, which is read"):
        check_output(output, [None, file.with_name("missing.csv"), file])
    check_output(file.with_name("new.csv"), [None, file])


def test_only_a_file_of_the_same_kind_is_replaced(file: Path):
    with pytest.raises(OutputError, match=r"result\.csv: exists and is not a ranking"):
        check_output(file, is_ours=lambda path: False, kind="a ranking")
    check_output(file, is_ours=lambda path: True, kind="a ranking")
    check_output(file.with_name("new.csv"), is_ours=lambda path: False, kind="a ranking")
    file.write_text("")
    check_output(file, is_ours=lambda path: False, kind="a ranking")


def test_only_a_folder_of_the_same_kind_is_replaced(folder: Path, file: Path, monkeypatch):
    monkeypatch.chdir(folder)
    for path, names, mark, message in [
        (folder / "none" / "run", [], "old", "none does not exist; make it first"),
        (file, [], "old", "is a file"),
        (folder, ["old"], "old", "is the current folder"),
    ]:
        with pytest.raises(OutputError, match=message):
            check_output_folder(path, "a run", names, mark)
    monkeypatch.chdir(folder.parent)
    for names, mark in ([], "old"), (["old", "new"], "new"):
        with pytest.raises(OutputError, match="run: holds old, so it is not a run"):
            check_output_folder(folder, "a run", names, mark)
    assert check_output_folder("run", "a run", ["old", "new"], "old") == folder
    assert check_output_folder(folder.parent / "new", "a run", ["old"], "old")


def test_a_locked_file_is_told_before_the_work(file: Path, monkeypatch):
    """Root may do everything and Linux locks nothing: the refusal is Windows'."""

    def locked(self: Path, *_: object, **__: object):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", locked)
    with pytest.raises(OutputError, match=r"Permission denied.* close it"):
        check_writable(file)
    assert names(file.parent) == ["result.csv"]


def test_a_link_stays_a_link(file: Path):
    link = file.parent / "link.csv"
    link.symlink_to(file.name)
    with replacing_file(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert file.read_text() == "new"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(tmp_path, umask: int):
    before = os.umask(umask)
    try:
        with replacing_file(tmp_path / "file") as temporary:
            temporary.touch()
        with replacing_folder(tmp_path / "folder"):
            pass
        plain = tmp_path / "plain"
        plain.touch()
        (tmp_path / "plain folder").mkdir()
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode == plain.stat().st_mode
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "plain folder").stat().st_mode


def test_a_hard_kill_leaves_the_old_and_the_next_success_tidies_up(file: Path, folder: Path):
    code = """if 1:
        import os, signal
        from nnabla_influence.files import replacing_file, replacing_folder
        with replacing_file("result.csv") as one, replacing_folder("run") as two:
            one.write_text("half"), (two / "half").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=file.parent,
        env=environment(PYTHONPATH=str(REPOSITORY)),
        check=False,
    )
    assert (file.read_text(), names(folder)) == ("old", ["old"])
    left = set(names(file.parent)) - {"result.csv", "run"}
    assert len(left) == 2
    assert all(name.startswith(".") for name in left)  # nobody takes them for results
    with replacing_file(file) as temporary:
        temporary.write_text("new")
    with replacing_folder(folder) as temporary:
        (temporary / "new").touch()
    assert (file.read_text(), names(folder)) == ("new", ["new"])
    assert names(file.parent) == ["result.csv", "run"]


def replace_all(folder: Path) -> None:
    for name in ("result.csv", "x" * 70 + "1.csv"):
        with replacing_file(folder / name) as temporary:
            temporary.write_text("new")
        check_writable(folder / name)
    with replacing_folder(folder / "run") as temporary:
        (temporary / "new").touch()


def test_what_a_running_process_writes_is_not_taken_for_left(file: Path, folder: Path):
    code = """if 1:
        import sys
        from nnabla_influence.files import replacing_file, replacing_folder, working_folder
        with (
            replacing_file("result.csv") as one,
            replacing_folder("run") as two,
            working_folder("result.csv") as three,
        ):
            one.write_text("whole"), (two / "whole").touch(), (three / "rows").touch()
            print("writing", flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=file.parent,
        env=environment(PYTHONPATH=str(REPOSITORY)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        before = names(file.parent)
        assert len(before) == 5
        replace_all(file.parent)
        assert set(names(file.parent)) >= set(before)
        assert file.read_text() == "new"
    assert process.returncode == 0
    assert (file.read_text(), names(folder)) == ("whole", ["whole"])
    assert [name for name in names(file.parent) if name.startswith(".")] == []


def test_what_is_somebody_elses_stays(file: Path, tmp_path):
    others = [
        *(".result.csv.backup12.tmp.csv", ".result.csv.nnabla_influence_notes.tmp.csv"),
        *(".result.csv.nnabla_influence_abcd1234.tmp.csv.txt", "nnabla_influence_abcd1234.tmp"),
        *(".result2.csv.nnabla_influence_abcd1234.tmp.csv", ".run.mine.tmp"),
        *(".other.nnabla_influence_abcd1234.tmp", ".other.nnabla_influence_abcd1234.old"),
        # Of another long name with the same beginning.
        f".{'x' * 60}.nnabla_influence_abcd1234.tmp.csv",
        f".{'x' * 60}~00000000.nnabla_influence_abcd1234.tmp.csv",
    ]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data").touch()
    link = ".run.nnabla_influence_abcd1234.tmp"
    (tmp_path / link).symlink_to("precious")
    os.mkfifo(tmp_path / ".run.nnabla_influence_abcd5678.tmp")
    before = set(names(tmp_path))
    replace_all(tmp_path)
    assert before <= set(names(tmp_path))
    assert names(tmp_path / "precious") == ["data"]
