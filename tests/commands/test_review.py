"""``nnabla-influence review``: its options, what it prints, and what it refuses."""

from __future__ import annotations

import csv
import os
import shlex

import pytest
from openpyxl import load_workbook

from nnabla_influence.commands.main import main
from tests.commands.common import run
from tests.dataset.common import write_csv
from tests.review.common import write_pictures
from tests.review.test_page import data_of, page_of


def command(capsys, *words: object) -> tuple[int, list[str], list[str]]:
    """Return exit code, and the lines of the output and of the errors."""
    code, out, err = run(capsys, "review", *words)
    return code, out.splitlines(), err


@pytest.fixture
def ranking(tmp_path):
    folder = tmp_path / "my データ"
    folder.mkdir()
    return write_pictures(folder)


def test_a_page(ranking, capsys):
    output = ranking.with_name("review.html")
    code, lines, _ = command(capsys, "-i", ranking, "-o", output, "--thumbnails", 3)
    assert code == 0
    size = f"{output.stat().st_size / 1e6:.1f} MB"
    assert lines == [
        f"{output}: 5 rows, the most harmful first; thumbnails of the first 3; {size}",
        "not judged: 2 of 5 rows, which are not in the window or are ignored by the loss; their"
        " influence of 0 has no meaning",
        f"Decide in {output} what to keep, remove or relabel, save the decisions, and run:",
        f"  nnabla-influence cleanse -i '{ranking}' -o '{ranking.with_name('clean.csv')}'"
        " --decisions decisions.csv",
    ]
    assert len(data_of(page_of(output))["thumbnails"]) == 3


def test_what_it_says_comes_after_it_drives_cleanse(ranking, capsys, monkeypatch):
    _, lines, _ = command(capsys, "-i", ranking, "-o", ranking.with_name("r.html"))
    monkeypatch.chdir(ranking.parent)
    write_csv(ranking.with_name("decisions.csv"), ["datasource_index", "decision"], [[3, "remove"]])
    main(shlex.split(lines[-1])[1:])
    with open("clean.csv", encoding="utf-8-sig", newline="") as file:
        cells = list(csv.reader(file))
    assert [row[2] for row in cells[1:]] == ["note 1", "note 4", "note 2", "note 3"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:openpyxl")
def test_page_and_workbook_at_once_with_every_option(ranking, capsys):
    page, workbook = ranking.with_name("r.html"), ranking.with_name("r.xlsx")
    words = ["-o", page, "--xlsx", workbook, "--title", "Whiskers & co", "--thumbnails", "all"]
    more = ["--class-names", "猫,犬", "--label-column", "y"]
    code, lines, _ = command(capsys, "-i", ranking, *words, *more)
    assert code == 0
    assert [line.partition(";")[0] for line in lines[:2]] == [
        f"{path}: 5 rows, the most harmful first" for path in (page, workbook)
    ]
    assert [line.partition(", save ")[2] for line in lines[-4::2]] == [
        "the decisions, and run:",
        "it, and run:",
    ]
    assert lines[-3].endswith("clean.csv' --label-column y --decisions decisions.csv")
    assert lines[-1].endswith(f"clean.csv' --label-column y --decisions '{workbook}'")
    data = data_of(page_of(page))
    assert data["title"] == "Whiskers & co"
    assert [c["name"] for c in data["classes"]] == ["猫", "犬"]
    assert len(data["thumbnails"]) == 5
    assert load_workbook(workbook).worksheets[0].max_row == 6


def test_proposals_are_read_as_decisions_are(ranking, capsys):
    page, proposals = ranking.with_name("r.html"), ranking.with_name("d.csv")
    write_csv(proposals, ["datasource_index", "decision", "label"], [[3, "relabel", 1]])
    words = ["-i", ranking, "-o", page, "--proposals", proposals]
    assert command(capsys, *words)[0] == 0
    assert data_of(page_of(page))["proposals"] == [[0, "relabel", "1"]]
    write_csv(proposals, ["datasource_index", "decision", "ranking"], [[3, "keep", f"r{7:016}"]])
    code, _, err = command(capsys, *words)
    assert code == 1
    assert f"{proposals}, line 2, column 'ranking'" in err[0]


def test_proposals_are_not_overwritten(ranking, capsys):
    book = ranking.with_name("r.xlsx")
    book.write_bytes(b"decisions")
    code, _, _ = command(capsys, "-i", ranking, "--xlsx", book, "--proposals", book)
    assert (code, book.read_bytes()) == (1, b"decisions")


def test_pictures_that_cannot_be_shown_are_reported(ranking, capsys):
    for name in ("1.png", "3.png"):
        (ranking.parent / "画像" / name).unlink()
    code, lines, _ = command(capsys, "-i", ranking, "-o", ranking.with_name("r.html"))
    assert code == 0
    gone = ranking.parent / "画像" / "1.png"
    assert lines[1].startswith(f"2 pictures could not be shown, the first of them: {gone}: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--xlsx"),
        (["-o", "r.html", "--thumbnails", "few"], "'few'"),
        (["-o", "r.html", "--thumbnails", "-1"], "'-1'"),
        (["-o", "r.html", "--explain", "gradcam"], "-m"),
        (["-o", "r.html", "-m", "net.nntxt"], "--explain"),
        (["-o", "r.html", "--explain", "lime", "-m", "net.nntxt", "--rows-explained", "0"], "'0'"),
    ],
)
def test_wrong_usage(ranking, capsys, monkeypatch, words, message):
    monkeypatch.chdir(ranking.parent)
    code, lines, err = command(capsys, "-i", ranking, *words)
    assert (code, lines) == (2, [])
    assert message in err[-1]
    assert not ranking.with_name("r.html").exists()


@pytest.mark.parametrize("option", ["-o", "--xlsx"])
def test_what_is_read_is_never_overwritten(ranking, capsys, option):
    before = ranking.read_bytes()
    suffix = {"-o": ".html", "--xlsx": ".xlsx"}[option]
    train = write_csv(ranking.with_name("train.csv"), ["x", "y"], [["1", "0"]])
    link = ranking.with_name(f"link{suffix}")
    link.symlink_to(train)
    alias = ranking.with_name(f"alias{suffix}")
    os.link(ranking, alias)
    for output, message in [
        (ranking, "is the same file as"),
        (alias, "is the same file as"),
        (train, f"must end with {suffix}"),
        (link, f"must end with {suffix}"),
        (ranking.with_name("review"), f"must end with {suffix}"),
    ]:
        code, lines, err = command(capsys, "-i", ranking, option, output)
        assert (code, lines) == (1, [])
        (line,) = err
        assert line.startswith(f"nnabla-influence review: {output}: ")
        assert message in line
    assert ranking.read_bytes() == before
    assert train.read_text(encoding="utf-8") == "x,y\n1,0\n"


def test_an_output_that_cannot_be_written_is_reported_before_the_work(ranking, capsys):
    output = ranking.parent / "no" / "folder" / "r.html"
    code, lines, err = command(capsys, "-i", ranking.with_name("none.csv"), "-o", output)
    assert (code, lines) == (1, [])
    assert "make its folder first" in err[0]
