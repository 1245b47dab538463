"""Decisions in a workbook, as spreadsheets save it."""

from __future__ import annotations

import re
import sys

import openpyxl
import pytest

from nnabla_influence.errors import DatasetError

HEADER = ["picture", " Decision", "LABEL", "Datasource_Index"]
ROWS = [
    [None, "remove", None, 7],
    [None, None, None, 8],
    [],
    ["x", "Relabel ", 3, 10.0],
    [None, "keep", None, "3"],
    [None, "relabel", "1.0", "\uff10"],
]


def book(path, *sheets):
    made = openpyxl.Workbook()
    made.remove(made.active)
    for number, rows in enumerate(sheets):
        sheet = made.create_sheet(f"sheet {number}")
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


def test_a_workbook_decides_as_the_same_table_in_a_csv_does(table):
    by_csv = table.decide(
        "datasource_index,decision,label\n7,remove,\n10,relabel,3\n3,keep,\n0,relabel,1\n"
    )
    expected = table.output.read_bytes(), table.removed.read_bytes()
    # Whatever it is called, and on whichever sheet the table is.
    path = book(table.folder / "decided.csv", [["notes"], ["of mine"]], [], [HEADER, *ROWS])
    done = table.cleanse(decisions=path, train=table.train)
    assert (done.removed, done.relabelled) == (by_csv.removed, by_csv.relabelled)
    assert (done.removed, done.relabelled) == ((7,), {10: "3", 0: "1"})
    assert (table.output.read_bytes(), table.removed.read_bytes()) == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([HEADER, [None, "drop", None, 7]], ", line 2, column 'decision': 'drop' is none of keep,"),
        (
            [HEADER, [], [None, "remove", None, 0.5]],
            ", line 3, column 'datasource_index': '0.5' is",
        ),
        ([HEADER, [None, True, None, 0]], ", line 2, column 'decision': 'TRUE' is none of"),
        (
            [["datasource_index", "verdict"], [1, "remove"]],
            ": no sheet has the columns 'datasource_index' and 'decision' in its first row; the"
            " first sheet has 'datasource_index', 'verdict'; add 'decision' to it",
        ),
        (
            [],
            ": no sheet has the columns 'datasource_index' and 'decision' in its first row; the"
            " first sheet has nothing; add 'datasource_index' and 'decision' to it",
        ),
    ],
)
def test_a_workbook_that_cannot_be_used_is_refused(table, rows, message):
    path = book(table.folder / "d.xlsx", rows)
    with pytest.raises(DatasetError, match=f"^{re.escape(str(path) + message)}"):
        table.cleanse(decisions=path)
    assert not table.output.exists()


def test_of_sheets_with_the_columns_the_one_that_was_filled_in_counts(table):
    """A copied sheet, and formulas whose results a program did not save."""
    empty = [HEADER, *([None, None, None, k] for k in range(3))]
    done = table.cleanse(decisions=book(table.folder / "d.xlsx", empty, [HEADER, *ROWS]))
    assert done.removed == (7,)
    path = book(table.folder / "d.xlsx", [HEADER, *ROWS], empty, [HEADER, [None, "keep", None, 1]])
    with pytest.raises(DatasetError, match="'sheet 0' and 'sheet 2' both have something in the co"):
        table.cleanse(decisions=path)
    formulas = [HEADER, [None, '=IF(1>0,"remove","")', None, 7]]
    done = table.cleanse(decisions=book(table.folder / "d.xlsx", empty, formulas))
    assert done.removed == ()
    assert done.notes == (
        f"{path}: decides about no row; its column 'decision' is empty, or holds formulas whose"
        " results were not saved",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"PK\x03\x04 and nothing else",
            ": cannot be read as a workbook (File is not a zip file);",
        ),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            ": is a workbook of Excel 97-2003, or has a password",
        ),
    ],
)
def test_what_is_no_workbook_after_all(table, content, message):
    path = table.folder / "d.xlsx"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=f"^{re.escape(str(path) + message)}"):
        table.cleanse(decisions=path)


def test_without_the_package_it_says_so(table, monkeypatch):
    path = book(table.folder / "d.xlsx", [HEADER, *ROWS])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DatasetError, match="without the package openpyxl; save the sheet as 'CSV"):
        table.cleanse(decisions=path)
