from __future__ import annotations

import numpy as np
import pytest

from network_defs.samples import Training, mlp, write_definition
from nnabla_influence.definition import load_definition
from nnabla_influence.errors import DatasetError
from nnabla_influence.progress import SilentProgress
from nnabla_influence.retraining.inputs import open_seed

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
C1 = "5,6,1"


def test_a_row_in_two_csvs_is_reported_whatever_its_label_and_its_text(definition, tmp_path):
    data = opened(definition, tmp_path, [A, B, C], ["9,9,0", "3.0,4e0,2"], ["1,2,1", "5,6,2"])

    one, two = data.shared
    assert one.startswith(f"1 row of the validation CSV {tmp_path / 'validation.csv'} also in")
    assert f"the training CSV {tmp_path / 'training.csv'} (row 1 as its row 1)" in one
    assert two.startswith("2 rows of the test CSV ")
    assert "(row 0 as its row 0, row 1 as its row 2)" in two


def test_the_fingerprint_is_of_the_values_and_not_of_their_text(definition, tmp_path):
    first = opened(definition, tmp_path, [A, B], [C], [D]).fingerprint

    assert opened(definition, tmp_path, ["1.0,2,0", B], [C], [D]).fingerprint == first
    assert opened(definition, tmp_path, ["1,2,1", B], [C], [D]).fingerprint != first
    assert opened(definition, tmp_path, [A, B], [D], [C]).fingerprint != first


TRUE_LABEL = "x__0,x__1,y,#true_label"


def test_flips_are_the_rows_whose_true_label_is_another(definition, tmp_path):
    rows = ["1,2,0,0", "3,4,1,2", "5,6,2,2.0"]
    for header, name in ((TRUE_LABEL, None), ("x__0,x__1,y,right", "right")):
        data = opened(definition, tmp_path, rows, [D], ["9,9,0"], header=header, true_label=name)
        np.testing.assert_array_equal(data.flipped, [False, True, False])
    with pytest.raises(DatasetError, match=r"training\.csv: .*'other'"):
        opened(definition, tmp_path, [A], [C], [D], true_label="other")


@pytest.mark.parametrize("cell", ["cat", "nan", "-inf", "-1", "1.5", ""])
def test_a_true_label_that_is_not_a_class_is_named_with_its_place(definition, tmp_path, cell):
    rows = ["1,2,0,0", f"3,4,1,{cell}"]
    with pytest.raises(DatasetError, match=f"training.csv, line 3, column '#true_label': '{cell}'"):
        opened(definition, tmp_path, rows, [C], [D], header=TRUE_LABEL)


def test_a_true_label_of_two_classes_is_0_or_1(tmp_path):
    path = tmp_path / "net.nntxt"
    network = mlp((2,), 1, hidden=(2,), loss="BinaryCrossEntropy")
    write_definition(path, network, Training(n_rows=4, batch_size=2))
    binary = load_definition(path)
    rows = ["1,2,0,0", "3,4,1,0.0"]
    data = opened(binary, tmp_path, rows, [C1], [D], header=TRUE_LABEL)
    np.testing.assert_array_equal(data.flipped, [False, True])
    for cell in ("2", "0.7", "nan"):
        with pytest.raises(DatasetError, match=f"line 2, .*'{cell}'.* 0 or 1"):
            opened(binary, tmp_path, [f"1,2,0,{cell}"], [C1], [D], header=TRUE_LABEL)


@pytest.mark.parametrize(
    ("part", "header", "line", "named"),
    [
        ("test", "x__0,y", "1,2", "'x' has 1 columns"),
        ("test", "x__0,x__1", "1,2", "line 1: .*'y'"),
        ("validation", "x__1,x__0,y:label", "2,1,0", "line 1, column 'x__1': .*'x__0'"),
        ("validation", "x__0,y,x__2", "1,0,2", "line 1, column 'x__2': .*'x__1'"),
    ],
)
def test_other_columns_or_in_another_order_are_refused(
    definition, tmp_path, part, header, line, named
):
    """nnabla reads by position: nothing else would show that the columns are mixed up."""
    paths = {name: written(tmp_path, name, [A]) for name in ("training", "validation", "test")}
    written(tmp_path, part, [line], header)
    with pytest.raises(DatasetError, match=rf"{part}\.csv.*{named}"):
        open_seed(definition, tuple(paths.values()), None, SilentProgress())


def test_other_labels_of_columns_and_other_places_of_inputs_do_no_harm(definition, tmp_path):
    """What stands behind ``:``, and where the inputs stand among each other, mean nothing."""
    training, validation = written(tmp_path, "a", [A]), written(tmp_path, "b", [B])
    test = written(tmp_path, "c", ["2,note,5,6"], "y:label,#note,x__0:width,x__1:height")
    assert open_seed(definition, (training, validation, test), None, SilentProgress()).n_rows == 1


def test_the_same_file_twice_is_refused(definition, tmp_path):
    training, validation = written(tmp_path, "a", [A]), written(tmp_path, "b", [B])

    with pytest.raises(DatasetError, match=r"validation and .* test CSV"):
        open_seed(definition, (training, validation, validation), None, SilentProgress())
