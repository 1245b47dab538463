"""Bad input to ``score``: one line, exit code 1, and the output folder stays as it was.

Which faults are found, and how a message names them, is tested beside what finds them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.commands.common import run


def assert_refused(capsys, net: Path, named: str, *more: object) -> None:
    folder = net.parent / "out"
    folder.mkdir()
    kept = folder / "influence.csv"
    kept.write_text("influence,datasource_index\n")
    given = more or ("-p", net.parent / "net.h5")
    code, out, err = run(capsys, "score", "-m", net, *given, "-o", kept)
    assert (code, out, len(err)) == (1, "", 1), err
    assert re.search(f"^nnabla-influence score: .*{named}", err[0]), err[0]
    assert kept.read_text() == "influence,datasource_index\n"
    assert [entry.name for entry in folder.iterdir()] == ["influence.csv"]


def no_training_csv(folder: Path) -> None:
    (folder / "training.csv").unlink()


def not_finite(folder: Path) -> None:
    lines = (folder / "training.csv").read_text().splitlines()
    lines[5] = lines[5].replace(lines[5].split(",")[2], "nan")
    (folder / "training.csv").write_text("\n".join(lines) + "\n")


def damaged(folder: Path) -> None:
    (folder / "net.h5").write_bytes(b"\x89HDF")


REFUSED = [  # how the folder of a table is spoilt, and what the line names
    (no_training_csv, r"training\.csv: .*net\.nntxt .* -t"),
    (not_finite, r"training\.csv, line 6, datasource_index 4, column 'x__2': 'nan'"),
    (damaged, r"net\.h5: "),
]


@pytest.mark.parametrize(("spoil", "named"), REFUSED)
def test_bad_files(capsys, table: Path, spoil, named: str):
    spoil(table.parent)
    assert_refused(capsys, table, named)


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("none/x.csv", "No such file or directory.* make its folder first"),
        ("net.h5/x.csv", "Not a directory"),
        ("", "is a folder"),
        ("/dev/null", "is a device"),
    ],
)
def test_an_output_that_cannot_be_written(capsys, table: Path, output: str, named: str):
    path = table.parent / output
    code, out, err = run(capsys, "score", "-m", table, "-p", table.parent / "net.h5", "-o", path)
    assert (code, out, len(err)) == (1, "", 1)
    assert re.search(f"^nnabla-influence score: {path}: .*{named}", err[0]), err[0]
    assert Path("/dev/null").is_char_device()


def test_training_that_fails_leaves_nothing(capsys, table: Path):
    (table.parent / "training.csv").write_text("x,y\n")
    run_folder = table.parent / "runs" / "run"
    run_folder.parent.mkdir()
    code, out, err = run(capsys, "train", "-m", table, "-o", run_folder)
    assert (code, out, len(err)) == (1, "", 1)
    assert re.search(r"^nnabla-influence train: .*training\.csv: ", err[0])
    assert list(run_folder.parent.iterdir()) == []


def test_a_failure_is_one_line_and_debug_shows_where_it_is_from(capsys, table: Path, monkeypatch):
    from nnabla_influence.scoring import inputs

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("first\nsecond")

    for named in (
        r"none\.nnp: does not exist",
        r"unexpected ZeroDivisionError: first second \(test_refusals\.py, line \d",
    ):
        words = ("score", "-m", table.parent / "none.nnp", "-o", table.parent / "out.csv")
        code, out, err = run(capsys, *words)
        assert (code, out, len(err)) == (1, "", 1)
        assert re.search(f"^nnabla-influence score: .*{named}", err[0]), err[0]
        code, _, err = run(capsys, *words, "--debug")
        assert code == 1
        assert err[0] == "Traceback (most recent call last):"
        assert err[-1].startswith("nnabla-influence score: ")
        monkeypatch.setattr(inputs, "choose_device", fail)
