"""``nnabla-influence explain``: what it prints, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.commands.common import run


def test_page_and_table(capsys, table: Path):
    page, csv = table.with_name("page.html"), table.with_name("causes.csv")
    words = ("-m", table, "-p", table.with_name("net.h5"), "--rows", "3,17")
    ranking = table.with_name("ranking.csv")
    more = ("--table", csv, "--ranking", ranking)
    code, out, err = run(capsys, "explain", *words, "-o", page, *more)
    assert (code, err) == (0, [])
    first, third, second, *answers = out.splitlines()
    assert third == f"{ranking}: 2 evaluated rows, 20 training rows"
    assert first == f"{page}: 2 evaluated rows, 20 training rows"
    assert second == f"{csv}: 2 evaluated rows, 20 training rows"
    assert [line.split(",")[0] for line in answers] == ["row 3", "row 17"]
    assert "opponents: " in answers[0]
    assert page.exists()
    assert csv.exists()


def other_columns(folder: Path) -> None:
    (folder / "validation.csv").write_text("a,b\n1,2\n")


@pytest.mark.parametrize(
    ("words", "named", "spoil"),
    [
        ("--rows 20 -o page.html", r"validation\.csv: has no row 20; its 20 rows", None),
        ("--rows 3,4,3 -o page.html", r"row 3 is given twice", None),
        ("--rows 3 -o page.csv", r"page\.csv: must end with \.html", None),
        ("--rows 3 --table training.csv", r"training\.csv: .* read", None),
        ("--rows 3 --ranking training.csv", r"training\.csv: .* read", None),
        ("--rows 3 --ranking mine.csv", r"mine\.csv: exists and is not a ranking", None),
        ("--rows 3 --ranking page.html -o page.html", r"page\.html: is the same file", None),
        ("--rows 3 --ranking new.csv --table new.csv", r"new\.csv: is the same file", None),
        ("--rows 3 --table mine.csv", r"mine\.csv: exists and is not a table of explain", None),
        ("--rows 3 -o page.html", r"validation\.csv, line 1: .*'x'", other_columns),
    ],
)
def test_bad_input_is_one_line(capsys, monkeypatch, table: Path, words: str, named: str, spoil):
    monkeypatch.chdir(table.parent)
    Path("mine.csv").write_text("a,b\n1,2\n")
    if spoil is not None:
        spoil(table.parent)
    before = {path: path.read_bytes() for path in table.parent.glob("*.csv")}
    code, out, err = run(capsys, "explain", "-m", table, *words.split())
    assert (code, out, len(err)) == (1, "", 1), err
    assert re.search(f"^nnabla-influence explain: .*{named}", err[0]), err[0]
    assert not Path("page.html").exists()
    assert {path: path.read_bytes() for path in table.parent.glob("*.csv")} == before


@pytest.mark.parametrize("words", ["--rows 3", "-o page.html", "--rows x -o page.html"])
def test_wrong_usage(capsys, table: Path, words: str):
    code, *_ = run(capsys, "explain", "-m", table, *words.split())
    assert code == 2
