"""Decisions of another ranking are refused, whatever they were kept in; those of this one are not.

The old rows are those of the training CSV; the new ones lack two of them, so that the numbers
behind mean other rows.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from nnabla_influence.cleansing import cleanse
from nnabla_influence.dataset import open_dataset
from nnabla_influence.errors import DatasetError
from nnabla_influence.ranking import Ranking, Scores
from nnabla_influence.review.reviewed import read_reviewed
from nnabla_influence.review.workbook import write_workbook
from tests.cleansing.common import read_cells
from tests.dataset.common import noise, save_image, write_csv

pytestmark = pytest.mark.filterwarnings("ignore:.*extension is not supported")

N = 16
DECIDED = (3, 10)
HEADER = ["x:image", "v__0:length", "v__1:width", "y:label;cat;dog", "#id"]


@dataclass(frozen=True)
class Old:
    """A folder with an old ranking and what was decided on it."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


def ranked(train: Path, path: Path, seed: int) -> Path:
    dataset = open_dataset(train, [])
    influence = np.random.default_rng(seed).normal(size=len(dataset)) * 1e-3
    predicted = np.arange(len(dataset)) % 2
    Ranking(dataset, Scores(influence, loss=abs(influence), predicted=predicted)).write(path)
    return path


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
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([[*header, "decision", "label"], *decided])


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Old:
    folder = tmp_path_factory.mktemp("old")
    rows = []
    for k in range(N):
        save_image(folder / f"絵/{k}.png", noise(4, 4, seed=k))
        # The first eight rows have the same features, two by two.
        rows.append([f"絵/{k}.png", f"{min(k, 7) // 2}.125", "1.5", k // 2 % 2, f"=id {k}"])
    train = write_csv(folder / "train.csv", HEADER, rows, encoding="utf-8-sig")
    ranking = ranked(train, folder / "ranking.csv", 1)
    decide_in_workbook(ranking, folder / "decided.xlsx")
    with_columns(ranking, folder / "decided.csv")
    cleanse(ranking, output=folder / "clean.csv", decisions=folder / "decided.csv", train=train)
    ranked(folder / "clean.csv", folder / "new.csv", 2)
    ranked(train, folder / "again.csv", 3)
    return Old(folder)


KEPT_IN = ["decided.xlsx", "decided.csv", "clean.removed.csv"]


@pytest.mark.parametrize("kept_in", KEPT_IN)
@pytest.mark.parametrize("given", [True, False])
def test_of_the_same_ranking_they_are_done(old, kept_in, given, tmp_path):
    train = old / "train.csv" if given else None
    done = cleanse(
        old / "ranking.csv", output=tmp_path / "c.csv", decisions=old / kept_in, train=train
    )
    assert sorted(done.removed) == list(DECIDED)
    assert not any("influences" in note for note in done.notes)


@pytest.mark.parametrize("kept_in", KEPT_IN)
@pytest.mark.parametrize("given", [True, False])
def test_of_an_earlier_ranking_of_the_same_rows_they_are_done_and_it_is_said(
    old, kept_in, given, tmp_path
):
    train = old / "train.csv" if given else None
    done = cleanse(
        old / "again.csv", output=tmp_path / "c.csv", decisions=old / kept_in, train=train
    )
    assert sorted(done.removed) == list(DECIDED)
    assert done.notes[0].startswith(f"{old / kept_in}: has other influences than {old / 'again'}")


@pytest.mark.parametrize("kept_in", KEPT_IN)
@pytest.mark.parametrize("given", [True, False])
def test_of_a_ranking_of_other_rows_they_are_refused(old, kept_in, given, tmp_path):
    train = old / "clean.csv" if given else None
    output = tmp_path / "c.csv"
    message = (
        rf"^{re.escape(str(old / kept_in))}, line [0-9]+, column '[^']*': .* is not the .* of"
        " datasource_index (3|10); the decisions are of another ranking, so decide with this one"
    )
    with pytest.raises(DatasetError, match=message):
        cleanse(old / "new.csv", output=output, decisions=old / kept_in, train=train)
    assert not output.exists()


# What stands beside the numbers 3 and 10: of the old rows, of the new ones, or of either.
BESIDE = {
    "given": ("11", False),
    "label_before": ("11", False),
    "y:label;cat;dog": ("11", False),
    "#id": (["=id 3", "=id 10"], False),
    "ID": (["=id 3", "=id 10"], True),  # a name that no column has
    "file x": (["絵/3.png", "絵/10.png"], False),
    "X:Image ": (["../old/絵/3.png", "絵\\10.png"], False),
    "Length": (["1,125", "3.125"], False),
    "width": (["1.5", "1.5"], True),
    "predicted": (["7", "7"], True),
    "rank": (["7", "7"], True),
}


@pytest.mark.parametrize(("column", "beside"), BESIDE.items())
def test_each_column_of_the_row_tells(old, tmp_path, column, beside):
    cells, is_taken = beside
    path = tmp_path / "d.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        lines = [[index, "remove", cell] for index, cell in zip(DECIDED, cells)]
        csv.writer(file).writerows([["datasource_index", "decision", column], *lines])
    cleanse(old / "ranking.csv", output=tmp_path / "c.csv", decisions=path)
    if is_taken:
        cleanse(old / "new.csv", output=tmp_path / "d2.csv", decisions=path)
    else:
        with pytest.raises(DatasetError, match=r"of datasource_index (3|10); the decisions are of"):
            cleanse(old / "new.csv", output=tmp_path / "d2.csv", decisions=path)


def influence_of(ranking: Path, index: int) -> float:
    header, *rows = read_cells(ranking)
    at, value = header.index("datasource_index"), header.index("influence")
    return next(float(row[value]) for row in rows if row[at] == str(index))


@pytest.mark.parametrize("form", ["r", ".3e", ".17f"])
def test_an_influence_tells_where_nothing_else_does(old, tmp_path, form):
    value = influence_of(old / "ranking.csv", 3)
    shown = repr(value) if form == "r" else format(value, form)
    path = tmp_path / "d.csv"
    path.write_text(f"datasource_index,decision,influence\n3,remove,{shown}\n")
    assert cleanse(old / "ranking.csv", output=tmp_path / "c.csv", decisions=path).notes == ()
    message = (
        rf"d\.csv, line 2, column 'influence': '{re.escape(shown)}' is not that of"
        rf" datasource_index 3, {influence_of(old / 'again.csv', 3)!r}; the decisions are of"
        " another ranking, so decide with this one, or clear this column if both are of the same"
        " rows$"
    )
    with pytest.raises(DatasetError, match=message):
        cleanse(old / "again.csv", output=tmp_path / "c.csv", decisions=path)
    path.write_text("datasource_index,decision,influence\n3,remove,\n")
    assert cleanse(old / "again.csv", output=tmp_path / "c.csv", decisions=path).removed == (3,)


@pytest.mark.parametrize(
    ("columns", "is_taken"),
    [
        ("given", False),  # as other rows have it
        ("length,width,given", False),
        ("length,width,given,#id", True),
        ("x", True),
    ],
)
def test_beside_another_influence_the_own_cells_must_be_of_one_row(
    old, tmp_path, columns, is_taken
):
    own = dict(zip(["x", "length", "width", "given", "#id"], read_cells(old / "train.csv")[4]))
    cells = ",".join(own[name] for name in columns.split(","))
    path = tmp_path / "d.csv"
    path.write_text(
        f"datasource_index,decision,influence,{columns}\n3,remove,0.5,{cells}\n", encoding="utf-8"
    )
    if is_taken:
        assert cleanse(old / "again.csv", output=tmp_path / "c.csv", decisions=path).removed == (3,)
    else:
        with pytest.raises(DatasetError, match=r"column 'influence': '0\.5' is not that of"):
            cleanse(old / "again.csv", output=tmp_path / "c.csv", decisions=path)


def test_the_own_cells_must_be_there_for_each_of_the_rows(old, tmp_path):
    path = tmp_path / "d.csv"
    text = (
        "datasource_index,decision,influence,x,given\n3,remove,0.5,絵/3.png,\n10,remove,0.5,{},1\n"
    )
    path.write_text(text.format("絵/10.png"), encoding="utf-8")
    assert len(cleanse(old / "again.csv", output=tmp_path / "c.csv", decisions=path).removed) == 2
    path.write_text(text.format(""), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"column 'influence': '0\.5' is not that of"):
        cleanse(old / "again.csv", output=tmp_path / "c.csv", decisions=path)


@pytest.mark.parametrize("kept_in", ["decided.xlsx", "decided.csv"])
def test_names_that_may_mean_something_else_tell_nothing(tmp_path, kept_in):
    """Columns that are called as those of the workbook are, or as each other."""
    header = ["x__0:rank", "x__1:v", "x__2:v", "x__3:loss", "given", "y"]
    rows = [[k + 0.5, k, -k, k * 7, 5 - k % 2, k % 2] for k in range(N)]
    train = write_csv(tmp_path / "t.csv", header, rows)
    ranking = ranked(train, tmp_path / "r.csv", 0)
    decide_in_workbook(ranking, tmp_path / "decided.xlsx")
    with_columns(ranking, tmp_path / "decided.csv")
    done = cleanse(ranking, output=tmp_path / "c.csv", decisions=tmp_path / kept_in)
    assert sorted(done.removed) == list(DECIDED)
    path = tmp_path / "d.csv"
    path.write_text("datasource_index,decision,v,given,x__0,x__0\n3,remove,-3,1,3.5,7\n")
    assert cleanse(ranking, output=tmp_path / "c.csv", decisions=path).removed == (3,)


def test_rows_that_are_the_same_throughout_may_stand_for_each_other(tmp_path):
    train = write_csv(tmp_path / "t.csv", ["x", "y"], [[k // 2, k % 2 // 2] for k in range(6)])
    ranked(train, tmp_path / "r.csv", 0)
    path = tmp_path / "d.csv"
    path.write_text("datasource_index,decision,influence,x,y\n2,remove,0.5,1,0\n")
    assert cleanse(tmp_path / "r.csv", output=tmp_path / "c.csv", decisions=path).removed == (2,)


def test_what_contradicts_comes_before_what_cannot_be_used(old, tmp_path):
    """A row that has gone has a number that is none any more, too."""
    path = tmp_path / "d.csv"
    path.write_text(
        "datasource_index,decision,label,#id\n15,remove,,=id 15\n10,remove,,=id 10\n3,keep,,=id 3\n"
    )
    message = r"line 3, column '#id': '=id 10' is not .* with this one \(and 1 more lines\)$"
    with pytest.raises(DatasetError, match=message):
        cleanse(old / "new.csv", output=tmp_path / "c.csv", decisions=path)
