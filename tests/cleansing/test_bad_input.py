"""Each message: what, where, what to do; and nothing is written."""

from __future__ import annotations

import os
import re

import pytest

from nnabla_influence.cleansing import cleanse
from nnabla_influence.errors import DatasetError, InfluenceError, ScoreError
from tests.cleansing.common import LABELS, N, write_ranking, write_table
from tests.dataset.common import write_csv


@pytest.fixture(autouse=True)
def _nothing_is_written(table):
    before = {path.name: path.read_bytes() for path in table.folder.iterdir()}
    yield
    after = {path.name: path.read_bytes() for path in table.folder.iterdir() if path.is_file()}
    assert {name: after.get(name) for name in before} == before
    assert "clean.csv" not in after
    assert "clean.removed.csv" not in after
    assert not [name for name in after if name.startswith(".")]


# ------------------------------------------------------------------------ choices


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({}, "give one of n, below and decisions"),
        ({"n": 1, "below": 0}, "give one of n, below and decisions"),
        ({"n": 0}, "n 0 is neither a number of rows from 1 nor a fraction between 0 and 1"),
        ({"n": 1.0}, "n 1.0 is neither"),
        ({"n": True}, "n True is neither"),
        ({"n": float("nan")}, "n nan is neither"),
        ({"below": float("nan")}, "below nan is not a finite number"),
        ({"n": 13}, r"13 rows cannot be removed, since .*ranking\.csv ranks 12; choose fewer"),
        ({"n": 0.01}, r"0\.01 of the 12 rows of .*ranking\.csv is no row; choose more"),
        ({"n": 12}, "all 12 rows would be removed, so nothing would be left; choose fewer"),
        ({"below": 9}, "all 12 rows would be removed"),
        (
            {"n": 3},
            r"class 3 \(2 rows\) would vanish; choose fewer rows, or allow it with"
            " --allow-empty-class",
        ),
        ({"n": 10}, r"the classes 2, 3 \(5 rows\) would vanish"),
        ({"n": 1, "label_column": "label"}, r"train.csv: has no column 'label' .* 'x', 'y'"),
    ],
)
def test_choices(table, choice, message):
    with pytest.raises(InfluenceError, match=message):
        table.cleanse(**choice, train=table.train)


def test_a_label_column_that_is_several(tmp_path, table):
    train = write_csv(tmp_path / "t.csv", ["y__0", "y__1"], [[k % 2, 1 - k % 2] for k in range(N)])
    ranking = write_ranking(train, tmp_path / "r.csv")
    with pytest.raises(DatasetError, match=r"r\.csv: has 2 columns 'y' to take labels from; name"):
        cleanse(ranking, output=tmp_path / "c.csv", n=1, label_column="y")


@pytest.mark.parametrize("with_train", [True, False])
@pytest.mark.parametrize("name", ["#true_label", "#true_label:hand"])
def test_a_label_column_that_is_a_comment(tmp_path, name, with_train):
    rows = [[k, label, label] for k, label in enumerate(LABELS)]
    train = write_csv(tmp_path / "t.csv", ["x", "y", name], rows)
    ranking = write_ranking(train, tmp_path / "r.csv")
    message = (
        r"[tr]\.csv: the column '#true_label' is a comment, which nnabla does not read, and so"
        " holds no labels; name one of 'x', 'y'"
    )
    more = {"train": train} if with_train else {}
    with pytest.raises(DatasetError, match=message):
        cleanse(ranking, output=tmp_path / "c.csv", n=1, label_column="#true_label", **more)


def test_relabelling_may_empty_a_class(table):
    with pytest.raises(DatasetError, match=r"class 3 \(2 rows\) would vanish"):
        table.decide("datasource_index,decision,label\n7,remove,\n9,relabel,2\n")


# ---------------------------------------------------------------------- decisions

HEADER = "datasource_index,decision,label\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "decisions.csv: is empty; it needs a header line with 'datasource_index' and"),
        ("\n\n", "decisions.csv: is empty"),
        (
            "datasource_index;verdict\n1;remove\n",
            "has no column 'decision'; it has 'datasource_index', 'verdict'; add it to the header",
        ),
        ("row,decision\n1,remove\n", "has no column 'datasource_index'; it has 'row', 'decision'"),
        (
            "datasource_index,decision,Decision\n",
            "decisions.csv: has more than one column 'decision'; keep one of them",
        ),
        (
            HEADER + "1,delete,\n",
            "decisions.csv, line 2, column 'decision': 'delete' is none of keep, remove and"
            " relabel; correct it",
        ),
        (
            HEADER + "\n\n12,remove,\n",
            "line 4, column 'datasource_index': '12' is not the number of a row from 0 to 11",
        ),
        (HEADER + "-1,remove,\n", "'-1' is not the number of a row"),
        (HEADER + "1.5,remove,\n", "'1.5' is not the number of a row"),
        (HEADER + "1_0,remove,\n", "'1_0' is not the number of a row"),
        (HEADER + "1.000,remove,\n", "'1.000' is not the number of a row"),
        (HEADER + "1.2E+00,remove,\n", "'1.2E\\+00' is not the number of a row"),
        (HEADER + "1e1,remove,\n", "'1e1' is not the number of a row"),
        (HEADER + "nan,remove,\n", "'nan' is not the number of a row"),
        (HEADER + ",remove,\n", "column 'datasource_index': the cell is not the number of a row"),
        (
            HEADER + "1,remove,\n2,keep\n1,keep,\n",
            "line 4, column 'decision': 'keep' is not what line 2 decides about datasource_index 1;"
            " keep one of them",
        ),
        (HEADER + "1,relabel,2\n1,relabel,3\n", "is not what line 2 decides"),
        (
            HEADER + "1,relabel,\n",
            "column 'label': the cell is empty; give the new label, or decide otherwise",
        ),
        (HEADER + "1,relabel\n", "column 'label': the cell is empty"),
        (
            "datasource_index,decision\n1,relabel\n",
            "column 'decision': 'relabel' needs a column 'label' with the new label; add it",
        ),
        (
            HEADER + "1,relabel,cat\n",
            "column 'label': 'cat' is no class of the column 'y', which holds 0 to 3; give one of"
            " them",
        ),
        (HEADER + "1,relabel,3.5\n", "'3.5' is no class of the column 'y'"),
        (HEADER + "1,relabel,-1\n", "'-1' is no class of the column 'y'"),
        (HEADER + "1,relabel,4\n", "'4' is no class of the column 'y'"),
        (
            HEADER + "1,relabel,1\n",
            "'1' is the row's label already; write keep, or another label",
        ),
        (
            HEADER + "1,,2\n",
            "column 'label': '2' has no decision beside it; write relabel there, or clear it",
        ),
        (
            HEADER + "1,keep,2\n",
            "line 2, column 'label': '2' is not the row's label, but the decision beside it is"
            " keep, which changes nothing; write relabel there, or clear the label",
        ),
        (HEADER + "1,keep,cat\n", "'cat' is not the row's label, but"),
        ("sep=;\n" + HEADER + "1,delete,\n", "line 3, column 'decision': 'delete' is none"),
        ("sep=;\n", "decisions.csv: is empty"),
        (HEADER + "1,delete,\n2,x,\n99,keep,\n", r"'delete' is none of .* \(2 more cells are wron"),
        (HEADER + '1,"remove,\n2,keep', r"is none of keep, remove and relabel"),
        ("datasource_index,decision\n1,\x00\n", r"cannot be read as CSV \(.*NUL"),
        (
            (HEADER + "1,keep,\n").encode("utf-16") + b"1",
            "is broken UTF-16 text; save it as 'CSV UTF-8'",
        ),
        ((HEADER + "1,削除,\n").encode("cp932"), "column 'decision': '削除' is none of keep"),
        ((HEADER + "1,relabel,猫\n").encode("cp932"), "column 'label': '猫' is no class"),
    ],
)
def test_decisions(table, text, message):
    with pytest.raises(DatasetError, match=message) as caught:
        table.decide(text)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    line.encode()  # it can be shown
    table.folder.joinpath("decisions.csv").unlink()


def test_decisions_that_are_not_there(table):
    with pytest.raises(DatasetError, match=r"gone\.csv: cannot be read \(No such file"):
        table.cleanse(decisions=table.folder / "gone.csv")
    with pytest.raises(DatasetError, match=r"cannot be read \(Is a directory\)"):
        table.cleanse(decisions=table.folder)
    with pytest.raises(DatasetError, match="/dev/null: is a pipe or a device, which is not read"):
        table.cleanse(decisions="/dev/null")
    os.mkfifo(table.folder / "pipe.csv")
    with pytest.raises(DatasetError, match=r"pipe\.csv: is a pipe or a device, which is not read"):
        table.cleanse(decisions=table.folder / "pipe.csv")


@pytest.mark.parametrize(
    ("labels", "decided", "message"),
    [
        ([k / 2 for k in range(N)], "cat", "'cat' is not a finite number; correct it"),
        ([k / 2 for k in range(N)], "inf", "'inf' is not a finite number; correct it"),
        ([k / 2 for k in range(N)], "1,5", "'1' is the row's label|is not a finite number"),
        ([f"{k}.png" for k in range(N)], "1", "holds files or text; name the column of the labels"),
        (None, "1", "there is no column 'y'; name the column of the labels with --label-column"),
    ],
)
def test_labels_of_other_kinds(tmp_path, table, labels, decided, message):
    train = write_table(tmp_path / "t.csv", labels)
    if labels is None:
        train.write_text(train.read_text().replace("y", "target", 1))
    write_ranking(train, tmp_path / "r.csv")
    (tmp_path / "d.csv").write_text(f'datasource_index,decision,label\n2,relabel,"{decided}"\n')
    with pytest.raises(DatasetError, match=message):
        cleanse(tmp_path / "r.csv", output=tmp_path / "c.csv", decisions=tmp_path / "d.csv")


# ----------------------------------------------------------- rankings and their CSV


def test_rankings_that_cannot_be_read(table):
    for text, message in [
        ("", "is empty; it needs a header line"),
        ("x,y\n1,2\n", "is not a ranking: it has no column 'influence'"),
        ("x;y;influence;datasource_index\n1;2;-0,5;0\n", "separated by semicolons"),
        ("x\ty\tinfluence\tdatasource_index\n1\t2\t-1\t0\n", "its columns are separated by tabs"),
        ("x,influence,datasource_index\n1,nan,0\n", "'nan' is not a finite number"),
        ("x,influence,datasource_index\n1,1,0\n1,2,0\n", "0 occurs a second time"),
        ("influence,datasource_index,x\n-1.0,0,2\n", "no column stands before 'influence'"),
        ("x,Decision,influence,datasource_index\n1,,-1.0,0\n", "column 'Decision' stands among"),
    ]:
        path = table.folder / "saved.csv"
        path.write_text(text)
        with pytest.raises(DatasetError, match=message):
            cleanse(path, output=table.output, n=1)
    path.write_bytes("x,influence,datasource_index\n1,-1,0\n".encode("utf-16"))
    with pytest.raises(DatasetError, match="is not UTF-8 text; save the file as 'CSV UTF-8'"):
        cleanse(path, output=table.output, n=1)
    path.write_text("x,influence,datasource_index\n1,0,0\n")
    with pytest.raises(ScoreError, match="every influence is zero"):
        cleanse(path, output=table.output, n=1)


def test_a_ranking_that_lacks_rows(table):
    lines = table.ranking.read_text().splitlines(keepends=True)
    path = table.folder / "saved.csv"
    path.write_text("".join(lines[:1] + lines[3:]))
    message = (
        "lacks 2 rows of the training CSV, the first of them datasource_index 2; give the whole"
        " ranking, and choose the rows to remove by number or by decisions"
    )
    with pytest.raises(DatasetError, match=message):
        cleanse(path, output=table.output, n=1)
    with pytest.raises(DatasetError, match=r"ranks 10 rows up to datasource_index 11, but .* 12"):
        cleanse(path, output=table.output, n=1, train=table.train)
    path.write_text("x,influence,datasource_index\n1,-1.0,1999999999\n")
    with pytest.raises(DatasetError, match="lacks 1999999999 rows of the training CSV; give"):
        cleanse(path, output=table.output, n=1)


def test_a_ranking_that_another_program_saved_needs_the_training_csv(table):
    path = table.folder / "saved.csv"
    path.write_text(table.ranking.read_text().replace("-1.5e-07", "-1.50E-07"))
    message = (
        r"saved\.csv, line 4, column 'influence': '-1.50E-07' is not as `score` writes it, so"
        " another program .* give the training CSV with -t"
    )
    with pytest.raises(DatasetError, match=message):
        cleanse(path, output=table.output, n=1)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (N - 1, ["x", "y"], r"ranks 12 rows up to datasource_index 11, but .*other\.csv has 11"),
        (N + 1, ["x", "y"], r"ranks 12 rows up to datasource_index 11, but .*other\.csv has 13"),
        (N, ["y", "x"], r"ranking.csv: does not belong to .*other\.csv, whose column 'x' it lacks"),
        (N, ["x", "y:label"], "whose column 'y:label' it lacks or has at another place"),
    ],
)
def test_a_ranking_of_another_csv(tmp_path, table, rows, header, message):
    other = write_csv(tmp_path / "other.csv", header, [[k / 8, k % 4] for k in range(rows)])
    with pytest.raises(DatasetError, match=message):
        table.cleanse(n=1, train=other)


@pytest.mark.parametrize(("row", "cell"), [(0, "1"), (5, "0.6251"), (11, "1.375.png")])
def test_a_ranking_of_other_rows(tmp_path, table, row, cell):
    cells = [[str(k / 8), label] for k, label in enumerate(LABELS)]
    original, cells[row][0] = cells[row][0], cell
    other = write_csv(tmp_path / "other.csv", ["x", "y"], cells)
    message = (
        rf"ranking\.csv, line \d+, column 'x': '{re.escape(original)}' is not the"
        rf" '{re.escape(cell)}' of datasource_index {row} in .*other\.csv; give a ranking of the"
    )
    with pytest.raises(DatasetError, match=message):
        table.cleanse(n=1, train=other)
