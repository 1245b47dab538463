"""What is refused: the message names the file, line and column, and nothing is written."""

from __future__ import annotations

import re

import pytest

from nnabla_influence.cleansing import cleanse
from nnabla_influence.errors import DatasetError, InfluenceError
from tests.cleansing.common import LABELS, N, write_ranking, write_table
from tests.dataset.common import write_csv


@pytest.fixture(autouse=True)
def _nothing_is_written(table):
    before = {path.name: path.read_bytes() for path in table.folder.iterdir()}
    yield
    after = {path.name: path.read_bytes() for path in table.folder.iterdir() if path.is_file()}
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if name.startswith((".", "clean"))]


def refused(names: str, function, *arguments, **named) -> str:
    """Call a function that must fail with one line that has these words, in this order."""
    with pytest.raises(InfluenceError) as caught:
        function(*arguments, **named)
    line = str(caught.value)
    assert re.search(".*".join(map(re.escape, names.split(" | "))), line), line
    assert "\n" not in line
    line.encode()  # it can be shown
    return line


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({}, "n, below and decisions"),
        ({"n": 1, "below": 0}, "n, below and decisions"),
        *(({"n": n}, f"n {n!r}") for n in (0, 1.0, True, float("nan"))),
        ({"below": float("nan")}, "below nan"),
        ({"n": 13}, "all 12 rows"),
        ({"below": 9}, "all 12 rows"),
        ({"n": 3}, "class 3 (2 rows) | --allow-empty-class"),
        ({"n": 10}, "classes 2, 3 (5 rows)"),
        ({"n": 1, "label_column": "label"}, "train.csv: | 'label' | 'x', 'y'"),
    ],
)
def test_choices(table, choice, names):
    refused(names, table.cleanse, **choice, train=table.train)


HEADER = "datasource_index,decision,label\n"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "no column 'datasource_index' and 'decision'"),
        ("\n\n", "no column 'datasource_index'"),
        ("sep=;\n", "no column 'datasource_index'"),
        ("datasource_index;verdict\n1;remove\n", "no column 'decision' | 'verdict'"),
        ("datasource_index,decision,Decision\n", "several columns 'decision'"),
        (HEADER + "1,delete,\n", "line 2, column 'decision': 'delete'"),
        ("sep=;\n" + HEADER + "1,delete,\n", "line 3, column 'decision': 'delete'"),
        (HEADER + "\n\n12,remove,\n", "line 4, column 'datasource_index': '12' | 0 to 11"),
        *(
            (HEADER + f"{cell},remove,\n", f"column 'datasource_index': '{cell}'")
            for cell in ("-1", "1.5", "1.000", "1.2E+00", "nan")
        ),
        (HEADER + ",remove,\n", "column 'datasource_index': the cell"),
        (HEADER + "1,remove,\n2,keep\n1,keep,\n", "line 4, column 'decision': 'keep' | line 2"),
        (HEADER + "1,relabel,2\n1,relabel,3\n", "line 3, column 'decision' | line 2"),
        (HEADER + "1,relabel,\n", "column 'label': the cell is empty"),
        ("datasource_index,decision\n1,relabel\n", "column 'decision': 'relabel' | 'label'"),
        (HEADER + "1,relabel,cat\n", "column 'label': 'cat' | 'y' | 0, 1, 2, 3"),
        (HEADER + "1,relabel,4\n", "column 'label': '4'"),
        (HEADER + "1,relabel,1\n", "column 'label': '1' is the row's label already"),
        (HEADER + "1,,2\n", "column 'label': '2' has no decision"),
        (HEADER + "1,keep,2\n", "line 2, column 'label': '2' | keep"),
        (HEADER + "1,delete,\n2,x,\n99,keep,\n", "'delete' | (2 more cells are wrong)"),
        ("datasource_index,decision\n1,\x00\n", "cannot be read as CSV"),
        ((HEADER + "1,keep,\n").encode("utf-16") + b"1", "UTF-16"),
        ((HEADER + "1,削除,\n").encode("cp932"), "column 'decision': '削除'"),
        ((HEADER + "1,relabel,猫\n").encode("cp932"), "column 'label': '猫'"),
        (HEADER + "7,remove,\n9,relabel,2\n", "class 3 (2 rows)"),
    ],
)
def test_decisions(table, text, names):
    line = refused(names, table.decide, text)
    assert line.startswith((f"{table.folder / 'decisions.csv'}", "class 3"))
    table.folder.joinpath("decisions.csv").unlink()


@pytest.mark.parametrize(
    ("labels", "decided", "names"),
    [
        ([k / 2 for k in range(N)], "inf", "column 'label': 'inf'"),
        ([k / 2 for k in range(N)], "1,5", "column 'label': '1,5'"),
        ([f"{k % 3}.0" for k in range(N)], "5", "column 'label': '5' | 0.0, 1.0, 2.0"),
        ([f"{k}.png" for k in range(N)], "1", "column 'y' holds files or text"),
        (None, "1", "no column 'y' | --label-column"),
    ],
)
def test_labels_of_other_kinds(tmp_path, table, labels, decided, names):
    train = write_table(tmp_path / "t.csv", labels)
    if labels is None:
        train.write_text(train.read_text().replace("y", "target", 1))
    write_ranking(train, tmp_path / "r.csv")
    (tmp_path / "d.csv").write_text(f'datasource_index,decision,label\n2,relabel,"{decided}"\n')
    output, decisions = tmp_path / "c.csv", tmp_path / "d.csv"
    refused(names, cleanse, tmp_path / "r.csv", output=output, decisions=decisions)


def test_rankings_that_cannot_be_read(table):
    path = table.folder / "saved.csv"
    for text in (
        "x,y\n1,2\n",
        "influence,datasource_index,x\n-1.0,0,2\n",
        "x,Decision,influence,datasource_index\n1,,-1.0,0\n",
    ):
        path.write_text(text)
        with pytest.raises(DatasetError, match=r"saved\.csv"):
            cleanse(path, output=table.output, n=1)


def test_a_ranking_that_lacks_rows(table):
    lines = table.ranking.read_text().splitlines(keepends=True)
    path = table.folder / "saved.csv"
    path.write_text("".join(lines[:1] + lines[3:]))
    refused("lacks 2 rows | datasource_index 2;", cleanse, path, output=table.output, n=1)
    refused("10 rows | 11 | 12", cleanse, path, output=table.output, n=1, train=table.train)
    path.write_text("x,influence,datasource_index\n1,-1.0,1999999999\n")
    refused("lacks 1999999999 rows", cleanse, path, output=table.output, n=1)


def test_a_ranking_that_another_program_saved_needs_the_training_csv(table):
    path = table.folder / "saved.csv"
    path.write_text(table.ranking.read_text().replace("-1.5e-07", "-1.50E-07"))
    names = "saved.csv, line 4, column 'influence': '-1.50E-07' | -t"
    refused(names, cleanse, path, output=table.output, n=1)


@pytest.mark.parametrize(
    ("rows", "header", "names"),
    [
        (N - 1, ["x", "y"], "12 rows | other.csv has 11"),
        (N + 1, ["x", "y"], "12 rows | other.csv has 13"),
        (N, ["y", "x"], "other.csv: | column 'x'"),
        (N, ["x", "y:label"], "other.csv: | column 'y:label'"),
    ],
)
def test_a_ranking_of_another_csv(tmp_path, table, rows, header, names):
    other = write_csv(tmp_path / "other.csv", header, [[k / 8, k % 4] for k in range(rows)])
    refused(f"ranking.csv: | {names}", table.cleanse, n=1, train=other)


@pytest.mark.parametrize(("row", "cell"), [(0, "1"), (5, "0.6251"), (11, "1.375.png")])
def test_a_ranking_of_other_rows(tmp_path, table, row, cell):
    cells = [[str(k / 8), label] for k, label in enumerate(LABELS)]
    original, cells[row][0] = cells[row][0], cell
    other = write_csv(tmp_path / "other.csv", ["x", "y"], cells)
    names = f"column 'x': '{original}' | '{cell}' | datasource_index {row} in {other}"
    refused(names, table.cleanse, n=1, train=other)
