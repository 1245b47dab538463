"""The datasets that a model file names, if they do not exist there."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from nnabla_influence import Options
from nnabla_influence.dataset import ColumnSpec, note_on_equal_data, open_dataset
from nnabla_influence.definition import load_definition
from nnabla_influence.errors import DatasetError
from nnabla_influence.progress import SilentProgress
from nnabla_influence.scoring.inputs import open_training, open_validation
from tests.exact_trainings import Said
from tests.scores import score
from tests.small_projects import edit, write_table

THERE = r"C:\Users\花子\data set\training.csv"


@pytest.fixture
def net(tmp_path):
    return write_table(tmp_path)


@pytest.mark.parametrize("uri", [THERE, "gone.csv", "/nowhere/gone.csv"])
@pytest.mark.parametrize(
    ("number", "open_csv", "option"), [(0, open_training, " -t"), (1, open_validation, " -v")]
)
def test_a_missing_file_is_named(net, uri, number, open_csv, option):
    """A path of Windows as it stands in the model file."""
    edit(net, lambda proto: setattr(proto.dataset[number], "uri", uri))
    with pytest.raises(DatasetError) as caught:
        open_csv(load_definition(net), None, SilentProgress())
    assert str(caught.value).startswith(f"{uri if uri == THERE else net.parent / uri}: the ")
    assert option in str(caught.value)


@pytest.mark.parametrize(
    ("how", "noted"),
    [("itself", True), ("copy", True), ("named so", True), ("one cell", False), ("as is", False)],
)
def test_validation_on_the_training_rows_is_reported(net, how, noted):
    validation, copy = None, net.parent / "copy.csv"
    training = net.parent / "training.csv"
    shutil.copy(training, copy)
    if how == "itself":
        validation = training
    elif how == "copy":
        validation = copy
    elif how == "one cell":
        head, row, rest = copy.read_text().split("\n", 2)
        copy.write_text("\n".join([head, "9" + row[1:], rest]))
        validation = copy
    elif how == "named so":  # by the model file itself
        edit(net, lambda proto: setattr(proto.dataset[1], "uri", "copy.csv"))
    said = Said()
    options = Options(method="final")
    trained = net.with_suffix(".h5")
    score(net, validation=validation, parameters=trained, options=options, progress=said)
    assert any("are the training rows" in line for line in said.lines) is noted


def test_equal_csvs_of_other_pictures_are_not_equal(tmp_path):
    opened = []
    for level, folder in enumerate((tmp_path / "a", tmp_path / "b")):
        folder.mkdir()
        Image.fromarray(np.full((4, 4), level, np.uint8)).save(folder / "0.png")
        (folder / "data.csv").write_text("x:image\n0.png\n")
        opened.append(open_dataset(folder / "data.csv", [ColumnSpec("x", (1, 4, 4))]))
    assert note_on_equal_data(*opened) is None
