from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnabla_influence.dataset import open_dataset
from nnabla_influence.dataset import records as records_module
from nnabla_influence.dataset.records import RecordReader
from nnabla_influence.errors import DatasetError

# Everything that may surprise a reader of lines: quotes, line ends of every kind, Unicode's own.
PIECES = [*'a1,"\n\r é猫😀', "\r\n", "\u2028", "\x85", "\x0c", "\t"]
TEXT = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


@st.composite
def tables(draw):
    width = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(TEXT, min_size=width, max_size=width), min_size=1, max_size=6))
    return [[f"#c{i}" for i in range(width)], *rows]


@given(
    tables(), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.booleans(), st.integers(1, 9)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_cells_are_those_of_the_csv_module(
    tmp_path, monkeypatch, table, line_end, bom, ended, block
):
    text = io.StringIO(newline="")
    # All quoted: the writer itself leaves some line ends without quotes.
    csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows(table)
    content = text.getvalue() if ended else text.getvalue()[: -len(line_end)]
    path = tmp_path / "table.csv"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + content.encode())
    monkeypatch.setattr(records_module, "_BLOCK", block)

    dataset = open_dataset(path, [])

    expected = list(csv.reader(io.StringIO(content, newline="")))
    assert list(dataset.header) == expected[0]
    assert len(dataset) == len(expected) - 1
    assert list(dataset.iter_cells()) == expected[1:]
    backwards = [dataset.cells(row) for row in reversed(range(len(dataset)))]
    assert backwards[::-1] == expected[1:]


@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([b"\xef\xbb\xbf", b"a", b",", b"\r", b"\n", b'"', b"\0"])).map(
        b"".join
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_any_bytes_are_read_as_the_csv_module_reads_them_or_refused(tmp_path, content):
    path = tmp_path / "any.csv"
    path.write_bytes(content)
    try:
        text = content.decode("utf-8-sig")
        expected = list(csv.reader(io.StringIO(text, newline="")))
    except (UnicodeDecodeError, csv.Error):
        expected = None
    if expected is None:
        with pytest.raises(DatasetError, match=r"any\.csv, line \d+"):
            list(RecordReader(path))
    else:
        assert [record.cells for record in RecordReader(path)] == expected


def test_lines_are_numbered_as_an_editor_numbers_them(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_bytes(b'a,b\n1,"two\r\nlines"\n3,4\n')
    assert [record.line for record in RecordReader(path)] == [1, 2, 4]


def test_a_changed_file_is_not_read_at_old_offsets(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n2\n")
    dataset = open_dataset(path, [])
    path.write_text("a\n10\n2\n")
    with pytest.raises(DatasetError, match=r"x\.csv: has changed since it was opened"):
        dataset.cells(1)
    path.unlink()
    with pytest.raises(DatasetError, match=r"x\.csv: .*No such file"):
        dataset.cells(0)
