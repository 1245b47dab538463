"""Decisions in a workbook, as spreadsheets save it."""

from __future__ import annotations

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
    ("sheets", "names"),
    [
        ([[HEADER, [None, "drop", None, 7]]], ["line 2", "'decision'", "'drop'"]),
        ([[HEADER, [], [None, "remove", None, 0.5]]], ["line 3", "'datasource_index'", "'0.5'"]),
        ([[HEADER, [None, True, None, 0]]], ["line 2", "'decision'", "'TRUE'"]),
        ([[["datasource_index", "verdict"], [1, "x"]]], ["no column 'decision'", "'verdict'"]),
        ([[]], ["no column 'datasource_index' and 'decision'"]),
        ([[HEADER, *ROWS], [], [HEADER, *ROWS]], ["'sheet 0' and 'sheet 2'", "'decision'"]),
    ],
)
def test_a_workbook_that_cannot_be_used_is_refused(table, sheets, names):
    path = book(table.folder / "d.xlsx", *sheets)
    with pytest.raises(DatasetError) as caught:
        table.cleanse(decisions=path)
    assert all(name in str(caught.value) for name in [str(path), *names]), caught.value
    assert not table.output.exists()


def test_formulas_whose_results_were_not_saved_decide_nothing(table):
    formulas = [HEADER, [None, '=IF(1>0,"remove","")', None, 7]]
    done = table.cleanse(decisions=book(table.folder / "d.xlsx", formulas))
    assert done.removed == ()
    assert "formulas" in done.notes[0]


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04 and nothing", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"]
)
def test_a_damaged_or_old_workbook_is_refused(table, content):
    path = table.folder / "d.xlsx"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"d\.xlsx: .*workbook"):
        table.cleanse(decisions=path)
