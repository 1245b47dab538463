"""Influence summed by a column: the numbers in closed form, and which columns make groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nnabla_influence.dataset import open_dataset
from nnabla_influence.errors import DatasetError
from nnabla_influence.ranking import Ranking, Scores, read_ranking
from nnabla_influence.report import group_lines
from tests.dataset.common import write_csv

HEADER = ["x:image", "y:label", "#注釈 者:who", "#note", "v__0", "v__1"]
WHO = ["=Ann", " 花子 ", "花子", "=Ann", "", "花子", "花子", "花子"]
FILES = ["a b\\0.png", "a b/1.png", "./a b/2.png", "絵/3.png", *(f"{k}.png" for k in range(4, 8))]
INFLUENCE = [0.5, -1.0, -2.0, 0.25, 0.0, -4.0, 3.0, -1.5]


def ranking(folder: Path, influence: Sequence[float] = INFLUENCE, **scores) -> Ranking:
    """Eight rows, whose notes are all different numbers."""
    rows = [[FILES[k], k % 2, WHO[k], k / 7, k, k % 3 + 0.5] for k in range(8)]
    (folder / "my データ").mkdir()
    path = write_csv(folder / "my データ" / "train.csv", HEADER, rows)
    return Ranking(open_dataset(path, []), Scores(np.array(influence), **scores))


def test_sums_means_and_intervals_are_those_of_the_formula(tmp_path):
    ann, hanako, nobody = sorted(
        ranking(tmp_path).groups("#注釈 者:who").groups, key=lambda group: -len(group.value)
    )
    assert (ann.value, ann.rows, ann.harmful, ann.sum) == ("=Ann", 2, 0, 0.75)
    assert (nobody.value, nobody.rows, nobody.sum, nobody.interval) == ("", 1, 0.0, None)
    own = np.array([-1.0, -2.0, -4.0, 3.0, -1.5])
    assert (hanako.value, hanako.rows, hanako.harmful) == ("花子", 5, 4)
    assert hanako.sum == pytest.approx(own.sum())
    assert hanako.mean == pytest.approx(own.mean())
    error = math.sqrt(((own - own.mean()) ** 2).sum() / 4 / 5)
    expected = stats.t.interval(0.95, 4, own.mean(), error)
    assert hanako.interval == pytest.approx(expected, rel=0.01)


def test_rows_that_were_not_judged_do_not_move_the_mean(tmp_path):
    seen = [1, 1, 0, 1, 0, 1, 1, 1]
    influence = np.where(seen, INFLUENCE, 0.0)
    groups = ranking(tmp_path, influence, times_seen=seen).groups("y").groups
    even = next(group for group in groups if group.value == "0")
    assert (even.rows, even.mean, even.margin) == (4, pytest.approx(3.5 / 2), None)
    assert [group.sum for group in groups] == sorted(group.sum for group in groups)


@pytest.mark.parametrize(
    ("column", "name", "values"),
    [
        ("y", "y:label", ["0", "1"]),
        ("注釈 者", "#注釈 者:who", ["", "=Ann", "花子"]),
        ("x", "folder of x:image", [".", "a b", "絵"]),
        ("v__1", "v__1", ["0.5", "1.5", "2.5"]),
    ],
)
def test_a_ranking_read_back_has_the_same_groups(tmp_path, column, name, values):
    made = ranking(tmp_path)
    groups = made.groups(column)
    assert groups.name == name
    assert sorted(group.value for group in groups.groups) == values
    made.write(tmp_path / "my データ" / "ranking.csv")
    read = read_ranking(tmp_path / "my データ" / "ranking.csv")
    again = read.groups(column)
    assert again.groups == groups.groups
    assert again.of_rows[read.rows].tolist() == groups.of_rows[made.rows].tolist()


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("annotator", "train.csv: has no column 'annotator'; name one of 'x:image', 'y:label'"),
        ("v", "has 2 columns 'v'; name one of 'v__0', 'v__1' with --group-by"),
        ("note", "column '#note': holds measured numbers, so its rows make no groups"),
    ],
)
def test_columns_that_make_no_groups(tmp_path, column, said):
    with pytest.raises(DatasetError) as raised:
        ranking(tmp_path).groups(column)
    assert said in str(raised.value)


def test_more_than_a_hundred_values(tmp_path):
    path = write_csv(tmp_path / "t.csv", ["x", "#id"], [[k, f"r{k}"] for k in range(101)])
    made = Ranking(open_dataset(path, []), Scores(np.arange(101) - 3.0))
    with pytest.raises(DatasetError, match=r"'#id': holds 101 different values, more than 100"):
        made.groups("id")


def test_the_table_for_a_terminal(tmp_path):
    _, titles, *lines = group_lines(ranking(tmp_path).groups("注釈 者"))
    assert titles.split() == ["sum", "mean", "95", "%", "interval", "harmful", "rows"]
    assert [line.split()[-1] for line in lines] == ["花子", "(empty)", "=Ann"]
    assert lines[0].split() == ["-5.5", "-1.1", "-4.27", "to", "2.07", "4", "5", "花子"]
