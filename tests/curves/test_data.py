from __future__ import annotations

import numpy as np
import pytest

from nnabla_influence.curves.data import csv_of_seed, open_seed
from nnabla_influence.errors import DatasetError
from nnabla_influence.network import load_definition
from nnabla_influence.progress import SilentProgress
from nnabla_influence.samples import Training, mlp, write_definition

HEADER = "x__0,x__1,y"


@pytest.fixture
def definition(tmp_path):
    path = tmp_path / "net.nntxt"
    write_definition(path, mlp((2,), 3, hidden=(2,)), Training(n_rows=4, batch_size=2))
    return load_definition(path)


def written(folder, name, lines, header=HEADER):
    path = folder / f"{name}.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def opened(definition, folder, training, validation, test, *, true_label=None, header=HEADER):
    paths = (
        written(folder, "training", training, header),
        written(folder, "validation", validation),
        written(folder, "test", test),
    )
    return open_seed(definition, paths, true_label, SilentProgress())


A, B, C, D = "1,2,0", "3,4,1", "5,6,2", "7,8,0"


def test_the_seed_of_a_path_is_filled_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert csv_of_seed("split {seed}/a{seed}.csv", 12) == tmp_path / "split 12" / "a12.csv"
    assert csv_of_seed(tmp_path / "plain.csv", 12) == tmp_path / "plain.csv"


def test_disjoint_csvs_have_nothing_to_report(definition, tmp_path):
    data = opened(definition, tmp_path, [A, B], [C], [D])

    assert data.n_rows == 2
    assert data.shared == ()
    assert data.flipped is None


def test_a_row_that_stands_in_two_csvs_is_reported_whatever_its_label_and_its_text(
    definition, tmp_path
):
    data = opened(definition, tmp_path, [A, B, C], ["9,9,0", "3.0,4e0,2"], ["1,2,1", "5,6,2"])

    assert data.shared == (
        f"1 row of the validation CSV {tmp_path / 'validation.csv'} stands in the training CSV"
        f" {tmp_path / 'training.csv'} too (row 1 as its row 1), whatever their label; the curve"
        " is more honest without them",
        f"2 rows of the test CSV {tmp_path / 'test.csv'} stand in the training CSV"
        f" {tmp_path / 'training.csv'} too (row 0 as its row 0, row 1 as its row 2), whatever"
        " their label; the curve is more honest without them",
    )


def test_many_shared_rows_are_counted_and_a_few_named(definition, tmp_path):
    rows = [f"{i},0,0" for i in range(9)]
    data = opened(definition, tmp_path, [A], rows, rows)

    assert "9 rows of the test CSV" in data.shared[0]
    assert "row 2 as its row 2 and 6 more)" in data.shared[0]


def test_the_fingerprint_is_of_the_values_and_not_of_their_text(definition, tmp_path):
    first = opened(definition, tmp_path, [A, B], [C], [D]).fingerprint

    assert opened(definition, tmp_path, ["1.0,2,0", B], [C], [D]).fingerprint == first
    assert opened(definition, tmp_path, ["1,2,1", B], [C], [D]).fingerprint != first
    assert opened(definition, tmp_path, [A, B], [D], [C]).fingerprint != first


def test_flips_are_the_rows_whose_true_label_is_another(definition, tmp_path):
    rows = ["1,2,0,0", "3,4,1,2", "5,6,2,2.0"]
    data = opened(definition, tmp_path, rows, [D], ["9,9,0"], header="x__0,x__1,y,#true_label")

    np.testing.assert_array_equal(data.flipped, [False, True, False])


def test_the_column_of_true_labels_can_be_named(definition, tmp_path):
    data = opened(
        definition, tmp_path, ["1,2,0,1"], [C], [D], header="x__0,x__1,y,right", true_label="right"
    )

    np.testing.assert_array_equal(data.flipped, [True])


def test_a_missing_column_of_true_labels_is_named(definition, tmp_path):
    with pytest.raises(DatasetError, match=r"training.csv: has no column 'right' of true labels"):
        opened(definition, tmp_path, [A], [C], [D], true_label="right")


def test_a_true_label_that_is_no_number_is_named_with_its_place(definition, tmp_path):
    rows = ["1,2,0,0", "3,4,1,cat"]
    with pytest.raises(DatasetError, match=r"line 3, column '#true_label': 'cat' is not a class"):
        opened(definition, tmp_path, rows, [C], [D], header="x__0,x__1,y,#true_label")


def test_a_test_csv_with_other_columns_is_refused(definition, tmp_path):
    training, validation = written(tmp_path, "a", [A]), written(tmp_path, "b", [B])
    shorter = written(tmp_path, "c", ["1,2"], "x__0,y")
    lacking = written(tmp_path, "d", ["1,2"], "x__0,x__1")

    with pytest.raises(DatasetError, match=r"c.csv: the input 'x' has 1 columns, and 2 in the tr"):
        open_seed(definition, (training, validation, shorter), None, SilentProgress())
    with pytest.raises(DatasetError, match=r"d.csv, line 1: the network.s input 'y' has no"):
        open_seed(definition, (training, validation, lacking), None, SilentProgress())


def test_the_same_file_twice_is_refused(definition, tmp_path):
    training, validation = written(tmp_path, "a", [A]), written(tmp_path, "b", [B])

    with pytest.raises(DatasetError, match="is given as the validation and as the test CSV"):
        open_seed(definition, (training, validation, validation), None, SilentProgress())
