from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnabla_influence.errors import RunError
from nnabla_influence.runs.steps import Step, line_of_step, read_steps, write_steps

HEADER = "step,epoch,learning_rate,rows\n"

batches = st.lists(st.lists(st.integers(0, 10**12), min_size=1, max_size=5), min_size=1, max_size=3)
rates = st.floats(allow_nan=False, allow_infinity=False)


def plain(steps):
    return [
        (s.step, s.epoch, s.learning_rate, [batch.tolist() for batch in s.batches]) for s in steps
    ]


@given(st.lists(st.tuples(rates, batches), min_size=1, max_size=6), st.integers(0, 10**6))
def test_what_is_written_reads_back_exactly(tmp_path_factory, content, first):
    path = tmp_path_factory.mktemp("steps") / "steps.csv"
    expected = [(first + i, i // 2, rate, rows) for i, (rate, rows) in enumerate(content)]
    write_steps(path, [Step(*item) for item in expected])
    assert plain(read_steps(path)) == expected


def test_the_file_is_a_plain_csv_of_the_documented_form(tmp_path):
    write_steps(
        tmp_path / "steps.csv",
        [Step(7, 3, 0.1, (np.array([2, 0]),)), Step(8, 3, 1e-05, ([1, 2], [3, 1]))],
    )
    assert (tmp_path / "steps.csv").read_bytes() == (
        b"step,epoch,learning_rate,rows\n7,3,0.1,2 0\n8,3,1e-05,1 2 | 3 1\n"
    )


def test_a_spreadsheets_version_is_accepted(tmp_path):
    path = tmp_path / "steps.csv"
    path.write_bytes(
        "\ufeffnote, epoch ,step,learning_rate,rows\r\n"
        '"first, ok", 0 ,5, 0.5 , 3   1 |2\r\n'
        "\r\n"
        "二,1,6,.25,0\r\n"
        ",,,,\r\n".encode()
    )
    assert plain(read_steps(path)) == [(5, 0, 0.5, [[3, 1], [2]]), (6, 1, 0.25, [[0]])]
    assert line_of_step(path, 6) == 4


def test_a_full_batch_longer_than_the_csv_modules_limit(tmp_path):
    limit = csv.field_size_limit()
    rows = np.arange(60_000)
    write_steps(tmp_path / "steps.csv", [Step(0, 0, 0.1, (rows,))])
    (step,) = read_steps(tmp_path / "steps.csv")
    assert np.array_equal(step.rows, rows)
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: .*column step"),
        ("step,epoch,rows\n", "line 1: .*column learning_rate"),
        (HEADER, "no steps"),
        (HEADER + "0,0,.1,1\n1,0,.1\n", "line 3: .*3 values"),
        (HEADER + "0,0,.1,1 2.5\n", "line 2, column rows: '2.5'"),
        (HEADER + "0,0,.1,1 -2\n", "line 2, column rows: '-2'"),
        (HEADER + "0,0,.1,1_0\n", "line 2, column rows: '1_0'"),
        (HEADER + "0,0,.1,99999999999999999999\n", "column rows: '9+'"),
        (HEADER + "0,0,.1,1 | \n", "line 2, column rows: .*empty"),
        (HEADER + "0,0,nan,1\n", "line 2, column learning_rate: nan"),
        (HEADER + "0,0,x,1\n", "line 2, column learning_rate: 'x'"),
        (HEADER + "a,0,.1,1\n", "line 2, column step: 'a'"),
        (HEADER + "0,-1,.1,1\n", "line 2, column epoch: '-1'"),
        (HEADER + "3,0,.1,1\n5,0,.1,1\n", "line 3, column step: 5 follows 3"),
        (HEADER + "3,1,.1,1\n4,0,.1,1\n", "line 3, column epoch: 0 follows 1"),
        (b"\x89PNG\xff\xfe\x00\x00", "UTF-8"),
    ],
)
def test_each_fault_is_one_line_with_its_place(tmp_path, text, message):
    path = tmp_path / "steps.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunError, match=message) as caught:
        read_steps(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_step_is_not_changed_through_the_callers_array():
    rows = np.array([1, 2])
    step = Step(0, 0, 0.1, (rows,))
    rows[0] = 9
    assert step.rows.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        step.batches[0][0] = 9
