"""Decisions about another ranking are refused, whatever file they are in."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnabla_influence.cleansing import cleanse
from nnabla_influence.cleansing.decisions import ranking_id
from nnabla_influence.cleansing.table import is_near
from nnabla_influence.errors import DatasetError
from nnabla_influence.review.reviewed import read_reviewed
from nnabla_influence.review.workbook import write_workbook
from tests.cleansing.common import INFLUENCE, N, read_cells, write_ranking
from tests.dataset.common import write_csv

pytestmark = pytest.mark.filterwarnings("ignore:.*extension is not supported")

DECIDED = (3, 10)
HEADER = ["x", "ranking", "y"]  # with a column that is called like that of the ids


def decide_in_workbook(ranking: Path, path: Path) -> None:
    write_workbook(read_reviewed(ranking), path, thumbnails=0)
    book = openpyxl.load_workbook(path)
    sheet = book["Ranking"]
    at = [cell.value for cell in sheet[1]]
    for line in sheet.iter_rows(min_row=2):
        if line[at.index("datasource_index")].value in DECIDED:
            line[at.index("decision")].value = "remove"
    book.save(path)


def with_columns(ranking: Path, path: Path) -> None:
    header, *rows = read_cells(ranking)
    at = header.index("datasource_index")
    decided = [[*row, "remove" if int(row[at]) in DECIDED else "", ""] for row in rows]
    write_csv(path, [*header, "decision", "label"], decided)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ranking and decisions about it; and a ranking of fewer rows, and another of the same."""
    folder = tmp_path_factory.mktemp("decided")
    train = write_csv(folder / "train.csv", HEADER, [[k / 8, k, k % 2] for k in range(N)])
    ranking = write_ranking(train, folder / "ranking.csv")
    decide_in_workbook(ranking, folder / "decided.xlsx")
    with_columns(ranking, folder / "decided.csv")
    cleanse(ranking, output=folder / "clean.csv", decisions=folder / "decided.csv")
    write_ranking(folder / "clean.csv", folder / "fewer.csv", INFLUENCE[2:])
    write_ranking(train, folder / "again.csv", INFLUENCE + 0.5)
    return folder


KEPT_IN = ["decided.xlsx", "decided.csv", "clean.removed.csv"]


@pytest.mark.parametrize("kept_in", KEPT_IN)
def test_decisions_about_this_ranking_are_used(folder, kept_in, tmp_path):
    done = cleanse(folder / "ranking.csv", output=tmp_path / "c.csv", decisions=folder / kept_in)
    assert sorted(done.removed) == list(DECIDED)
    assert done.notes == ()


@pytest.mark.parametrize("kept_in", KEPT_IN)
@pytest.mark.parametrize("other", ["fewer.csv", "again.csv"])
def test_decisions_about_another_ranking_are_refused(folder, kept_in, other, tmp_path):
    with pytest.raises(DatasetError) as caught:
        cleanse(folder / other, output=tmp_path / "c.csv", decisions=folder / kept_in)
    message = str(caught.value)
    assert message.startswith(f"{folder / kept_in}, line ")
    column = "influence" if kept_in == "decided.csv" else "ranking"
    assert f"column {column!r}" in message
    assert "another ranking" in message
    assert not list(tmp_path.iterdir())


def decided(path: Path, header: str, *lines: str) -> Path:
    path.write_text("\n".join([header, *lines, ""]))
    return path


def test_an_id_in_any_line_and_case_counts(folder, tmp_path):
    ours, other = ranking_id(folder / "ranking.csv"), ranking_id(folder / "again.csv")
    header, output = "datasource_index,Ranking,decision", tmp_path / "c.csv"
    path = decided(tmp_path / "d.csv", header, f"3, {ours.upper()},remove", f"4,{other},")
    assert cleanse(folder / "ranking.csv", output=output, decisions=path).removed == (3,)
    # It comes before cells that cannot be used, and a row may be gone.
    path = decided(path, header, "99,,remove", f"3,{ours},remove", f"99,{other},keep")
    with pytest.raises(DatasetError, match=r"d\.csv, line 4, column 'ranking'"):
        cleanse(folder / "ranking.csv", output=tmp_path / "c2.csv", decisions=path)


@pytest.mark.parametrize("form", ["r", ".3e", ".17f", "comma"])
def test_without_an_id_the_influence_is_compared(folder, tmp_path, form):
    """As in a ranking with columns added that a spreadsheet has saved."""
    value = float(INFLUENCE[6])
    shown = repr(value) if form == "r" else format(value, form.replace("comma", ".5g"))
    shown = f'"{shown.replace(".", ",")}"' if form == "comma" else shown
    path = decided(tmp_path / "d.csv", "datasource_index,decision,influence", f"6,remove,{shown}")
    done = cleanse(folder / "ranking.csv", output=tmp_path / "c.csv", decisions=path)
    assert (done.removed, done.notes) == ((6,), ())
    with pytest.raises(DatasetError, match=r"d\.csv, line 2, column 'influence': .* another rank"):
        cleanse(folder / "again.csv", output=tmp_path / "c2.csv", decisions=path)


def test_without_either_it_is_said(folder, tmp_path):
    path = decided(tmp_path / "d.csv", "datasource_index,decision,ranking", "3,remove,7")
    done = cleanse(folder / "ranking.csv", output=tmp_path / "c.csv", decisions=path)
    assert done.removed == (3,)
    assert [note for note in done.notes if str(path) in note and "another ranking" in note]


@given(
    value=st.floats(-1e300, 1e300),
    form=st.sampled_from([".3e", ".9g", ".0e", ".15g", ".20f", "r"]),
    comma=st.booleans(),
)
def test_a_number_is_near_however_it_was_rounded(value, form, comma):
    shown = repr(value) if form == "r" else format(value, form)
    assert is_near(shown.replace(".", ",") if comma else shown, value)


@given(value=st.floats(-1e6, 1e6), off=st.floats(0.01, 1e6), down=st.booleans())
def test_another_number_is_not(value, off, down):
    other = value - off if down else value + off
    assert is_near(f"{other:.17e}", value) is (abs(other - value) <= 1e-5 * abs(value))
