"""Rows that are written at once have the bytes of xlsxwriter's own cells."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import openpyxl
import pytest
import xlsxwriter

from nnabla_influence.review.sheet_rows import SheetRows

NUMBERS = [0.0, -0.0, 1, 10**17, -1 / 3, 5e-324, 1.7e308, 0.1 + 0.2, 123456789.125]
TEXTS = [
    *("plain", "猫 &amp; <b>", "a & b > c", " leading", "trailing ", "two\nlines", "line\n", "\t"),
    *(
        "\x1b[31mred",
        "\x00",
        "_x0041_",
        "_x00e9_é",
        "\ufffe\uffff",
        "=1+1",
        "😀",
        "\x85",
        "\u3000x",
    ),
]


def sheet_of(path: Path, *, at_once: bool) -> str:
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        forms = [book.add_format({"num_format": f"0.{'0' * k}"}) for k in range(3)]
        sheet.set_default_row(51)
        sheet.write_string(0, 0, "header", forms[0])
        rows = SheetRows(sheet)
        values = [*NUMBERS, *TEXTS, None, "the last row has a mark of its own"]
        for line, value in enumerate(values, 1):
            # Columns of one letter, two and three, not all of them, and a format that comes late.
            cells = [(0, value, forms[0]), (30, value, forms[line > 3]), (800, 1.5, forms[2])]
            if at_once:
                rows.write(line, cells)
                continue
            for position, cell, form in cells:
                if cell is None:
                    sheet.write_blank(line, position, None, form)
                elif isinstance(cell, str):
                    sheet.write_string(line, position, cell, form)
                else:
                    sheet.write_number(line, position, cell, form)
    text = zipfile.ZipFile(path).read("xl/worksheets/sheet1.xml").decode()
    # xlsxwriter marks the row that waits when the workbook is closed.
    return re.sub(r'(<row r="\d+"[^>]*) x14ac:dyDescent="0.25"', r"\1", text)


def test_the_bytes_are_those_of_single_cells(tmp_path):
    own = sheet_of(tmp_path / "own.xlsx", at_once=True)
    assert own == sheet_of(tmp_path / "cells.xlsx", at_once=False)
    assert own.count("<row ") == 1 + len(NUMBERS) + len(TEXTS) + 2


@pytest.mark.parametrize("text", ["<r><t>x</t></r>", "<r></c></row></r>"])
def test_what_xlsxwriter_takes_for_its_own_tags_stays_a_text(tmp_path, text: str):
    with xlsxwriter.Workbook(tmp_path / "x.xlsx", {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        form = book.add_format()
        SheetRows(sheet).write(1, [(0, text, form), (1, float("nan"), form)])
    row = openpyxl.load_workbook(tmp_path / "x.xlsx").active[2]
    assert [cell.value for cell in row] == [text, "nan"]
