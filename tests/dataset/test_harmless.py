"""Cells that a spreadsheet would run: none is left, and none is lost."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nnabla.utils.data_iterator import data_iterator_csv_dataset

from nnabla_influence.dataset.csv_output import line_writer, spreadsheet_line_writer
from nnabla_influence.dataset.harmless import (
    harmless,
    harmless_row,
    restored,
    restored_row,
)
from nnabla_influence.dataset.header import parse_column

DATA, COMMENT = parse_column(0, "x"), parse_column(1, "#note")
COLUMNS = st.sampled_from([DATA, COMMENT])

ALPHABET = "=+-@\t\r\n;,\"' ./\\1e_aZ\u3000\uff1d\uff0d\uff0b\uff20\uff11猫"
CELLS = st.one_of(
    st.text(ALPHABET, max_size=8),
    st.floats().map(repr),
    st.sampled_from(
        ["-inf", "+nan", " -inf", "-1_000", "-\uff11\uff12", "./-inf", "'-5", "././=x"]
    ),
)


def may_be_run(cell: str) -> bool:
    """By OWASP's list of beginnings for CSV files, but for what is plainly a number."""
    try:
        if np.isfinite(float(cell)) and cell.isascii() and "_" not in cell:
            return False
    except ValueError:
        pass
    return cell.lstrip("\"'")[:1] in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20") and cell[:1] != "'"


@given(COLUMNS, CELLS)
@example(DATA, "=cmd.png")
@example(COMMENT, "-1.5e-3")
def test_no_cell_is_left_that_a_spreadsheet_may_run(column, cell):
    assert not may_be_run(harmless(column, cell))


@given(COLUMNS, CELLS)
@example(DATA, " =x.png")
@example(DATA, "./=x.png")
@example(COMMENT, "'=x")
@example(COMMENT, "\t;'=x")
def test_every_cell_comes_back(column, cell):
    assert restored(column, harmless(column, cell)) == cell


@given(st.lists(st.tuples(COLUMNS, CELLS), min_size=1, max_size=4))
def test_a_row_is_its_cells(row):
    columns, cells = [c for c, _ in row], [c for _, c in row]
    made = [harmless(column, cell) for column, cell in row]
    assert harmless_row(columns, cells) == made
    assert restored_row(columns, made) == cells


@given(CELLS)
def test_a_number_stays_the_number_and_a_path_leads_to_the_same_file(cell):
    made = harmless(DATA, cell)
    try:
        expected = float(cell)
    except ValueError:
        assert made in (cell, "./" + cell)
        with pytest.raises(ValueError, match="could not convert"):
            float(made)
    else:
        np.testing.assert_equal(float(made), expected)


@pytest.mark.parametrize(
    ("cell", "in_data", "in_comment"),
    [
        ("-1.5e-3", "-1.5e-3", "-1.5e-3"),
        ("+7", "+7", "+7"),
        (" -.5 ", " -.5 ", " -.5 "),
        ("-inf", " -inf", "'-inf"),
        ("-1_000", " -1_000", "'-1_000"),
        ("=1+1", "./=1+1", "'=1+1"),
        ("@home.png", "./@home.png", "'@home.png"),
        ("-1.png", "./-1.png", "'-1.png"),
        ("\t=1", "./\t=1", "'\t'=1"),
        ('"=1', './"=1', "'\"=1"),
        ("\uff1d1", "./\uff1d1", "'\uff1d1"),
        (" +cmd", "./ +cmd", "' +cmd"),
        ("'=1", "./'=1", "''=1"),
        ("./=1", "././=1", "./=1"),
        # Where decimal commas are used, semicolons begin a new cell.
        ("a;=1;b", "a;=1;b", "a;'=1;b"),
        ('a\n"=1"', 'a\n"=1"', 'a\n\'"=1"'),
        ("a; -1", "a; -1", "a; -1"),
        ("a-b", "a-b", "a-b"),
        ("", "", ""),
        ("画像/1.png", "画像/1.png", "画像/1.png"),
    ],
)
def test_what_stands_there(cell, in_data, in_comment):
    assert harmless(DATA, cell) == in_data
    assert harmless(COMMENT, cell) == in_comment


NAMES = ["=1+1", "+a", "-1", "@SUM(1)", "\t=1", " -x", '"=1"', "\uff1d1", "'=1", "plain", "a;=1;b"]


def test_nnabla_reads_the_same_from_harmless_cells(tmp_path):
    """The values of files of such names, and numbers, as nnabla's own data iterator gives them."""
    for k, name in enumerate(NAMES):
        np.save(tmp_path / f"{name}.npy", np.full(2, k + 0.5))
    numbers = ["-inf", "+7", "-1.5e-3", " -12", "-1_000", "\t-3", "+nan", "1", "-0", "-9", "+.5"]
    rows = [[f"{name}.npy", number] for name, number in zip(NAMES, numbers)]
    columns = [parse_column(k, name) for k, name in enumerate("xy")]
    read = []
    for name, made in (
        ("given.csv", rows),
        ("made.csv", [list(map(harmless, columns, row)) for row in rows]),
    ):
        with open(tmp_path / name, "w", newline="", encoding="utf-8") as file:
            file.writelines(map(spreadsheet_line_writer(), [["x", "y"], *made]))
        with data_iterator_csv_dataset(str(tmp_path / name), len(rows), shuffle=False) as iterator:
            read.append(dict(zip(iterator.variables, iterator.next())))
    np.testing.assert_array_equal(read[0]["x"][:, 0], np.arange(len(NAMES)) + 0.5)
    for name in "xy":
        np.testing.assert_array_equal(read[0][name], read[1][name])


@given(st.lists(CELLS, min_size=1, max_size=4))
def test_a_line_reads_back_with_quotes_around_other_separators(cells):
    line = spreadsheet_line_writer()(cells)
    assert next(csv.reader(io.StringIO(line, newline=""), strict=True)) == cells
    unquoted = re.sub(r'"(?:[^"]|"")*"', "", line)
    assert not re.search(r"[;\t\r]", unquoted)


def test_a_line_without_other_separators_is_as_ever():
    cells = ["a b", 'say "x"', "1,5", "", "two\r\nlines"]
    assert spreadsheet_line_writer()(cells) == line_writer()(cells)
