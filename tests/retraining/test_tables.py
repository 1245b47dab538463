"""results.csv: the same bytes in whatever order the trainings came, and read back as written."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnabla_influence.errors import RunError
from nnabla_influence.retraining.plan import NONE
from nnabla_influence.retraining.tables import (
    ORDER,
    CellResult,
    read_results,
    results_frame,
    write_table,
)

PLAIN = CellResult(0, NONE, 0, "all", 32, 0.9, 0.3, None, 1.5)


def removed(ranking: str, n: int, **more) -> CellResult:
    return dataclasses.replace(PLAIN, **{"ranking": ranking, "n": n, **more})


MIXED = [
    removed("random", 20, seed=1),
    removed("random", 20, seed=0, accuracy=None, loss=math.nan),
    removed("random", 3),
    removed("final", 100, cache_bytes=2**40),
    removed("final", 20, batch_size=256),
    removed("final", 20, protocol="last"),
    removed("exact-last", 5, loss=math.inf, accuracy=0.1 + 0.2),
    dataclasses.replace(PLAIN, seed=10, accuracy=1.0),
    dataclasses.replace(PLAIN, seed=2, loss=1e-300),
]
WRITTEN = """\
seed,ranking,n,protocol,batch_size,accuracy,loss,cache_bytes,seconds
2,none,0,all,32,0.9,1e-300,,1.5
10,none,0,all,32,1.0,0.3,,1.5
0,final,100,all,32,0.9,0.3,1099511627776,1.5
0,exact-last,5,all,32,0.30000000000000004,inf,,1.5
0,random,3,all,32,0.9,0.3,,1.5
0,random,20,all,32,,nan,,1.5
1,random,20,all,32,0.9,0.3,,1.5
0,final,20,all,256,0.9,0.3,,1.5
0,final,20,last,32,0.9,0.3,,1.5
"""


@pytest.mark.parametrize("turned", [0, 4, 7])
def test_the_file_depends_on_the_trainings_alone(turned: int, tmp_path: Path):
    write_table(tmp_path / "results.csv", results_frame(MIXED[turned:] + MIXED[:turned]))
    assert (tmp_path / "results.csv").read_bytes() == WRITTEN.encode()


SOME_FLOAT = st.floats(allow_nan=False)
CELLS = st.builds(
    removed,
    ranking=st.sampled_from(ORDER[1:]),
    n=st.integers(1, 10**9),
    seed=st.integers(0, 2**62),
    protocol=st.sampled_from(["all", "last"]),
    batch_size=st.integers(1, 10**6),
    accuracy=st.none() | st.floats(0, 1),
    loss=SOME_FLOAT,
    cache_bytes=st.none() | st.integers(0, 2**62),
    seconds=st.floats(0, 1e9),
)


@settings(max_examples=40)
@given(
    st.lists(
        CELLS, max_size=4, unique_by=lambda c: (c.seed, c.ranking, c.n, c.protocol, c.batch_size)
    )
)
def test_what_is_read_is_what_was_written(tmp_path_factory, cells: list[CellResult]):
    path = tmp_path_factory.getbasetemp() / "results.csv"
    write_table(path, results_frame(cells))
    frame = read_results(path)
    assert dict(frame.dtypes) == dict(results_frame(MIXED).dtypes)
    read = {CellResult(**{k: _python(v) for k, v in line.items()}) for line in _lines(frame)}
    assert read == set(cells)
    write_table(path.with_name("again.csv"), frame)
    assert path.with_name("again.csv").read_bytes() == path.read_bytes()


def _lines(frame):
    return frame.astype(object).to_dict("records")


def _python(value):
    return None if repr(value) == "<NA>" or value != value else value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ranking": "tracin"}, "'tracin' is none of the rankings none, final"),
        ({"protocol": "half"}, "'half' is none of the protocols all, last"),
        ({"n": 3}, "3 rows cannot be removed by the ranking 'none'"),
        ({"ranking": "final"}, "0 rows cannot be removed by the ranking 'final'"),
        ({"ranking": "final", "n": -1}, "-1 rows cannot be removed"),
        ({"accuracy": 91.5}, "an accuracy is between 0 and 1, not 91.5"),
        ({"accuracy": math.nan}, "an accuracy is between 0 and 1, not nan"),
    ],
)
def test_a_result_that_cannot_be(change: dict, words: str):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(PLAIN, **change)


def test_one_training_has_one_result():
    twice = [PLAIN, removed("final", 5), dataclasses.replace(PLAIN, loss=7.0)]
    with pytest.raises(ValueError, match="two results of seed 0, none, 0 removed, protocol all"):
        results_frame(twice)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, r"results\.csv: cannot be read"),
        ("", r"its first line is not seed,ranking"),
        ("a,b\n1,2\n", r"its first line is not seed,ranking"),
        (WRITTEN.replace("1.0,0.3,,1.5", "1.0,0.3,1.5"), "line 3 has 8 cells, not 9"),
        (WRITTEN.replace("1e-300", "low"), r"line 2: could not convert .*'low'"),
        (WRITTEN.replace("final,100", "final,0"), r"line 4: 0 rows cannot be removed"),
    ],
)
def test_what_is_no_results_csv(text: str | None, words: str, tmp_path: Path):
    if text is not None:
        (tmp_path / "results.csv").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=words):
        read_results(tmp_path / "results.csv")
