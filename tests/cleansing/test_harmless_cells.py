"""A dataset with cells that spreadsheets would run: shown in the lists, as they were in the CSV."""

from __future__ import annotations

import os

import numpy as np
import pytest
from nnabla.utils.data_iterator import data_iterator_csv_dataset

from nnabla_influence.cleansing import cleanse
from nnabla_influence.dataset import open_dataset
from nnabla_influence.ranking import Ranking, Scores
from tests.cleansing.common import read_cells
from tests.dataset.common import write_csv

NAMES = ["=1+1", "./=2", "-3", "+a/@b", "@SUM(1)", " =x", "\uff1d1", "plain"]
NOTES = ["=1+1", "'=2", "-3", "- new", "a;=1;b", "\t+1", "two\r\nlines", "ok"]
NUMBERS = ["-1.5e-3", "+7", "-1_000", " -2", "3", "-0", "-.5", "1"]
N = len(NAMES)
INFLUENCE = np.linspace(-1, 1, N) ** 3


@pytest.fixture
def train(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for k, name in enumerate(NAMES):
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / f"{name}.npy", np.full(2, k + 0.5))
    rows = [[f"{a}.npy", b, c, k % 2] for k, (a, b, c) in enumerate(zip(NAMES, NOTES, NUMBERS))]
    return write_csv(folder / "train.csv", ["x", "#note", "v", "y"], rows)


def ranked(train, path):
    Ranking(open_dataset(train, []), Scores(INFLUENCE)).write(path)
    return path


def files_by_nnabla(path):
    n_rows = len(read_cells(path)) - 1
    with data_iterator_csv_dataset(str(path), n_rows, shuffle=False) as iterator:
        return dict(zip(iterator.variables, iterator.next()))


@pytest.mark.parametrize("where", [".", "../elsewhere", "../=1+1"])
@pytest.mark.parametrize("given", [True, False])
def test_the_dataset_gets_its_own_cells_back(train, where, given):
    folder = train.parent / where
    folder.mkdir(exist_ok=True)
    ranking = ranked(train, folder / "ranking.csv")
    cells = [cell for row in read_cells(ranking)[1:] for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=@\t\uff1d")]
    for name, values in files_by_nnabla(train).items():
        np.testing.assert_array_equal(files_by_nnabla(ranking)[name], values)

    output = train.parent / "clean.csv"
    cleanse(ranking, output=output, n=1, train=train if given else None)
    rows = read_cells(train)
    if given or where == ".":
        assert read_cells(output) == [rows[0], *rows[2:]]
    else:
        for got, row in zip(read_cells(output)[1:], rows[2:]):
            assert got[1:] == row[1:]
            assert os.path.samefile(train.parent / got[0], train.parent / row[0])


def test_the_list_of_removed_rows_shows_them_and_is_read_again(train):
    ranking = ranked(train, train.parent / "ranking.csv")
    first, again = train.parent / "clean.csv", train.parent / "again.csv"
    cleanse(ranking, output=first, n=N - 1, train=train, allow_empty_class=True)
    header, *rows = read_cells(train.parent / "clean.removed.csv")
    assert header[-4:] == ["x", "#note", "v", "y"]
    assert rows[0][-4:-1] == ["./=1+1.npy", "'=1+1", "-1.5e-3"]
    assert rows[1][-4:-1] == ["././=2.npy", "''=2", "+7"]
    assert rows[4][-4:-1] == ["./@SUM(1).npy", "a;'=1;b", "3"]
    listed = train.parent / "clean.removed.csv"
    cleanse(ranking, output=again, decisions=listed, train=train, allow_empty_class=True)
    assert again.read_bytes() == first.read_bytes()


def test_a_ranking_that_is_a_training_csv_keeps_its_own_cells(train):
    """Somebody trains with a ranking: what stands in it is what cleansing must give back."""
    first = ranked(train, train.parent / "1.csv")
    second = ranked(first, train.parent / "2.csv")
    cleanse(second, output=train.parent / "clean.csv", n=1)
    assert read_cells(train.parent / "clean.csv")[1:] == [row[:4] for row in read_cells(first)[2:]]
