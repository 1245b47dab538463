"""A change between training and scoring is named, whatever the method."""

from __future__ import annotations

import os
import shutil

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np
import pytest
from nnabla.utils.data_iterator import data_iterator_csv_dataset, data_iterator_simple
from PIL import Image

from nnabla_influence import Options, Recorder, RecorderOptions, score, train
from nnabla_influence.errors import DatasetError, RunError
from nnabla_influence.runs.run import read_run
from tests.definition.definitions import python_proto, write_text
from tests.exact_trainings import Said
from tests.runs.changing import as_of_version_0_1_0
from tests.small_projects import edit, trained_table, write_images

METHODS = [Options(window="all", method=method) for method in ("final", "exact")]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Pictures, trained."""
    folder = tmp_path_factory.mktemp("pictures")
    model = write_images(folder, max_epoch=2)
    edit(model, lambda proto: proto.ClearField("monitor"))  # they would draw with Dropout
    train(model, folder / "run", parameters=folder / "net.h5", keep="sqrt", window="all")
    return folder


@pytest.fixture
def copy(project, tmp_path):
    return shutil.copytree(project, tmp_path / "copy", copy_function=shutil.copy2)


def scored(folder, options=METHODS[0], **arguments):
    arguments = {"train": folder / "training.csv", "validation": folder / "validation.csv"}
    return score(folder / "net.nntxt", run=folder / "run", options=options, **arguments)


def test_an_unchanged_training_is_scored_like_one_of_the_version_without_checks(copy):
    wanted = [scored(copy, options).scores.influence for options in METHODS]
    assert list(read_run(copy / "run").contents()) == ["x"]
    as_of_version_0_1_0(copy / "run")
    for options, influence in zip(METHODS, wanted):
        np.testing.assert_array_equal(scored(copy, options).scores.influence, influence)


@pytest.mark.parametrize("options", METHODS)
def test_another_network_of_equal_shapes(copy, options):
    def sine(proto):
        for function in proto.network[0].function:
            if function.type in ("Tanh", "ReLU", "ELU", "Swish", "Sigmoid"):
                function.type = "Sin"

    edit(copy / "net.nntxt", sine)
    with pytest.raises(RunError, match=r"run: .*function \d+ .*Sin"):
        scored(copy, options)


@pytest.mark.parametrize("options", METHODS)
def test_a_picture_that_changed_with_its_size_and_time(copy, options):
    scored(copy, options)
    picture = copy / "training5.png"
    status, content = picture.stat(), bytearray(picture.read_bytes())
    pixels = np.asarray(Image.open(picture)).copy()
    pixels[2, 3] ^= 1
    Image.fromarray(pixels).save(picture)
    picture.write_bytes(picture.read_bytes().ljust(len(content), b"\0"))
    os.utime(picture, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert picture.stat().st_size == status.st_size
    with pytest.raises(DatasetError, match=r"training5\.png: .* line 7, column"):
        scored(copy, options)
    picture.write_bytes(content)
    scored(copy, options)


def test_the_archive_of_a_training_is_the_network_of_its_definition(tmp_path_factory, tmp_path):
    trained = trained_table(tmp_path_factory.getbasetemp())
    train(trained.definition, tmp_path / "run", window="all")
    arguments = {"train": trained.training, "validation": trained.validation}
    by_file, by_archive = (
        score(model, run=tmp_path / "run", **arguments).scores.influence
        for model in (trained.definition, trained.model)
    )
    np.testing.assert_array_equal(by_file, by_archive)


# --------------------------------------------------------------------- a script's training

N, B = 12, 4


def net(v):
    return F.squared_error(PF.affine(v["x"], 1, name="out"), v["t"])


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(1)
    x, y = rng.uniform(size=(N, 3)).round(3), rng.normal(size=(N, 1)).round(3)
    lines = ["x__0,x__1,x__2,y"] + [",".join(map(str, (*a, *b))) for a, b in zip(x, y)]
    for name in ("train", "valid"):
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    proto = python_proto(net, weight_decay=0.01)[0]
    write_text(tmp_path / "net.nntxt", proto)
    return tmp_path, x, y


def record(folder, iterator, keep="final", decay=0.01, seen=True, scale=1.0):
    with nn.parameter_scope("", scope={}):
        v = {"x": nn.Variable((B, 3)), "t": nn.Variable((B, 1))}
        loss = F.mean(net(v))
        solver = S.Sgd(0.1)
        solver.set_parameters(nn.get_parameters())
        with (
            iterator,
            Recorder(
                folder / "run",
                solver=solver,
                iterator=iterator,
                dataset=str(folder / "train.csv"),
                options=RecorderOptions(
                    keep=keep, window="all", definition=str(folder / "net.nntxt")
                ),
            ) as recorder,
        ):
            for _ in range(6):
                x, v["t"].d = recorder.iterator.next()
                v["x"].d = scale * x
                loss.forward()
                recorder.solver.zero_grad()
                loss.backward()
                if decay:
                    (recorder.solver if seen else solver).weight_decay(decay)
                recorder.solver.update()


def simple(x, y):
    order = np.random.RandomState(2)
    return data_iterator_simple(lambda i: (x[i], y[i]), N, B, shuffle=True, rng=order)


def score_table(folder, options=METHODS[0], progress=None):
    return score(
        folder / "net.nntxt",
        run=folder / "run",
        train=folder / "train.csv",
        validation=folder / "valid.csv",
        options=options,
        progress=progress,
    )


@pytest.mark.parametrize("keep", ["final", "sqrt"])
def test_pixels_scaled_otherwise_than_the_csv(table, keep):
    folder, x, y = table
    record(folder, simple(x * 255, y), keep)
    for options in METHODS if keep == "sqrt" else METHODS[:1]:
        with pytest.raises(RunError, match=r"times 255 .*'x'"):
            score_table(folder, options)


def test_labels_in_another_order_than_the_csv(table):
    folder, x, y = table
    record(folder, simple(x, y[::-1].copy()))
    with pytest.raises(RunError, match="column 'y'"):
        score_table(folder)


@pytest.mark.parametrize("source", ["simple", "csv"])
def test_a_script_that_feeds_what_the_csv_holds_is_scored(table, source):
    folder, x, y = table
    iterator = simple(x, y)
    if source == "csv":
        iterator = data_iterator_csv_dataset(
            str(folder / "train.csv"), B, shuffle=True, rng=np.random.RandomState(2)
        )
    record(folder, iterator)
    run = read_run(folder / "run")
    assert [entry.split()[0] for entry in run.settings.network_functions] == [
        *("Affine", "SquaredError", "Loss")
    ]
    assert len(run.settings.fed.rows) == B
    assert len(run.settings.fed.inputs) == 2
    assert np.isfinite(score_table(folder).scores.influence).all()


def test_weight_decay_that_the_recorder_did_not_see_is_reported(table):
    folder, x, y = table
    record(folder, simple(x, y), decay=0)
    said = Said()
    score_table(folder, progress=said)
    assert any("weight decay 0.01" in line for line in said.lines)


@pytest.mark.parametrize("options", METHODS)
def test_weight_decay_past_the_recorder_is_an_error_where_checkpoints_are_kept(table, options):
    folder, x, y = table
    record(folder, simple(x, y), keep="sqrt")
    assert np.isfinite(score_table(folder, options).scores.influence).all()
    record(folder, simple(x, y), keep="sqrt", seen=False)
    with pytest.raises(RunError, match=r"weight decay 0\.01"):
        score_table(folder, options)


@pytest.mark.parametrize("options", METHODS)
def test_inputs_scaled_after_the_iterator_are_an_error_where_states_are_kept(table, options):
    folder, x, y = table
    record(folder, simple(x, y), keep="sqrt", scale=2.0)
    with pytest.raises(RunError, match=r"be replayed|replaying"):
        score_table(folder, options)
