"""What a definition file says, and what it must say."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np
import pytest
from nnabla.utils import load as nnabla_load

from nnabla_influence.definition import build_objective, load_definition
from nnabla_influence.errors import ModelError, UnsupportedError

from .definitions import BATCH, CPU, elman, load, python_proto, repeated, write_nnp, write_text


def two_layers(v):
    return F.squared_error(PF.affine(F.tanh(PF.affine(v["x"], 4, name="a")), 1, name="b"), v["t"])


NAMES = ("a/affine/W", "a/affine/b", "b/affine/W", "b/affine/b")


@pytest.fixture
def nnabla_cli_load():
    """nnabla_cli's own loader; it fills nnabla's global scope and default context."""
    context = nn.get_current_context()
    nn.clear_parameters()
    yield lambda path: nnabla_load.load([str(path)], prepare_data_iterator=False)
    nn.clear_parameters()
    nn.set_default_context(context)


def test_the_optimizer_section_is_read(tmp_path):
    proto, parameters = python_proto(
        two_layers,
        solver=S.Momentum(0.05, 0.9),
        weight_decay=0.001,
        update_interval=3,
    )
    definition = load(tmp_path, proto, parameters)
    assert definition.path == tmp_path / "net.nnp"
    assert definition.network_name == "Main"
    assert definition.loss_variables == ("loss",)
    assert definition.trainable == NAMES
    assert definition.max_epoch == 2
    solver = definition.solver
    assert (solver.name, solver.update_interval) == ("Momentum", 3)
    assert solver.weight_decay == np.float32(0.001)
    assert solver.hyperparameters == {"lr": np.float32(0.05), "momentum": np.float32(0.9)}
    assert definition.learning_rate(7) == np.float32(0.05)
    for name, value in parameters.items():
        np.testing.assert_array_equal(definition.parameters[name], value)


def test_only_what_the_solver_holds_and_the_loss_needs_is_trainable(tmp_path):
    def make(v):
        PF.affine(v["x"], 1, name="unused")
        return two_layers(v)

    proto, parameters = python_proto(make, trained={"a/affine/W", "b/affine/b", "unused/affine/W"})
    proto.optimizer[0].parameter_variable.add(variable_name="unknown", learning_rate_multiplier=1)
    definition = load(tmp_path, proto, parameters)
    assert definition.trainable == ("a/affine/W", "b/affine/b")
    objective = build_objective(definition, BATCH, CPU)
    assert list(objective.buffers) == ["a/affine/b", "b/affine/W"]


def test_any_positive_multiplier_trains_and_the_last_entry_counts(tmp_path):
    proto, parameters = python_proto(two_layers)
    for entry, multiplier in zip(proto.optimizer[0].parameter_variable, (0.5, 0, 2, 1)):
        entry.learning_rate_multiplier = multiplier
    proto.optimizer[0].parameter_variable.add(variable_name="b/affine/b")
    assert load(tmp_path, proto, parameters).trainable == ("a/affine/W", "b/affine/W")


def test_running_statistics_are_never_trained(tmp_path):
    def make(v):
        hidden = PF.batch_normalization(PF.affine(v["x"], 4, name="a"), name="bn", no_bias=True)
        return F.squared_error(PF.affine(hidden, 1, name="b"), v["t"])

    proto, parameters = python_proto(make)
    for entry in proto.optimizer[0].parameter_variable:
        entry.learning_rate_multiplier = 1
    assert load(tmp_path, proto, parameters).trainable == (*NAMES, "bn/bn/gamma")


@pytest.mark.parametrize(
    ("proto", "count"),
    [
        (repeated(3), 3),
        (repeated(3, "W"), 3),
        # nnabla_cli matches indices of one digit only, so the last two are not trained.
        (repeated(12), 10),
        (repeated(12, "W"), 12),
        (elman(), 2),
    ],
    ids=["new names", "old names", "new names, many", "old names, many", "recurrent"],
)
def test_trainable_is_what_nnabla_cli_hands_to_the_solver(tmp_path, nnabla_cli_load, proto, count):
    path = write_text(tmp_path / "net.nntxt", proto)
    definition = load_definition(path)
    assert len(definition.trainable) == count
    solver = nnabla_cli_load(path).optimizers["Optimizer"].solver
    assert definition.trainable == tuple(sorted(solver.get_parameters()))


def test_every_dataset_setting_is_read(tmp_path, monkeypatch):
    proto, parameters = python_proto(two_layers)
    proto.dataset[0].cache_dir = "cache"
    proto.dataset[1].no_image_normalization = True
    proto.dataset[1].batch_size = 2
    proto.monitor.add(name="train_error", dataset_name=["Training"])
    proto.monitor.add(name="valid_error", dataset_name=["Validation"])
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "train.csv").touch()
    monkeypatch.chdir(tmp_path)
    definition = load_definition(write_nnp(folder / "net.nnp", proto, parameters))
    training, validation = definition.training, definition.validation
    assert (training.name, training.uri, training.index) == ("Training", "train.csv", 0)
    assert training.path == folder / "train.csv"  # it lies beside the model
    assert (training.batch_size, training.shuffle, training.normalize) == (BATCH, True, True)
    assert (training.cache_dir, validation.cache_dir) == ("cache", "")
    assert (validation.name, validation.uri, validation.index) == ("Validation", "valid.csv", 1)
    assert validation.path == folder / "valid.csv"  # in neither place: named beside the model
    (tmp_path / "valid.csv").touch()
    validation = load_definition(folder / "net.nnp").validation
    assert validation.path == tmp_path / "valid.csv"  # from the working directory
    assert (validation.batch_size, validation.shuffle, validation.normalize) == (2, False, False)


@pytest.mark.parametrize(
    ("monitored", "found"),
    [
        ([], None),
        (["Training"], None),
        (["Test", "Training", "Validation"], "Validation"),
        (["Training", "Test"], "Test"),
        (["Missing"], None),
    ],
)
def test_the_validation_dataset_is_the_monitors_other_one(tmp_path, monitored, found):
    proto, parameters = python_proto(two_layers)
    proto.dataset.add(name="Test", uri="test.csv")
    for name in monitored:
        proto.monitor.add(name=name, dataset_name=[name])
    validation = load(tmp_path, proto, parameters).validation
    assert (validation and validation.name) == found


def test_older_or_incomplete_sections(tmp_path):
    proto, parameters = python_proto(two_layers)
    proto.optimizer[0].solver.type = "SGD"
    proto.dataset[0].uri = str(tmp_path / "elsewhere" / "data.csv")
    definition = load(tmp_path, proto, parameters)
    assert definition.solver.name == "Sgd"
    assert definition.training.path == tmp_path / "elsewhere" / "data.csv"  # absolute
    del proto.dataset[:]
    definition = load(tmp_path, proto, parameters)
    assert definition.training is definition.validation is None


def random_input(proto):
    del proto.optimizer[0].data_variable[1]
    proto.optimizer[0].generator_variable.add(variable_name="t", type="Normal", multiplier=1)


def nothing_trained(proto):
    for entry in proto.optimizer[0].parameter_variable:
        entry.learning_rate_multiplier = 0


def to(value, path):
    """Return what sets one field, as "network.0.function.1.name"."""
    *parents, last = path.split(".")

    def change(proto):
        for name in parents:
            proto = proto[int(name)] if name.isdigit() else getattr(proto, name)
        if last.isdigit():
            proto[int(last)] = value
        else:
            setattr(proto, last, value)

    return change


# How a file is spoilt, the error, and what it names.
MODEL, UNSUPPORTED = ModelError, UnsupportedError
FUNCTION = "network.0.function"
FED = "optimizer.0.data_variable"
REFUSED = {
    "no optimizer": (lambda p: p.ClearField("optimizer"), MODEL, "optimizer"),
    "two optimizers": (lambda p: p.optimizer.add(name="Second"), UNSUPPORTED, "'Second'"),
    "some iterations": (to(3, "optimizer.0.start_iter"), UNSUPPORTED, "iteration 3 "),
    "no loss": (lambda p: p.optimizer[0].ClearField("loss_variable"), MODEL, "loss"),
    "unknown loss": (to("cost", "optimizer.0.loss_variable.0.variable_name"), MODEL, "'cost'"),
    "unknown network": (to("Train", "optimizer.0.network_name"), MODEL, "'Train'.* 'Main'"),
    "unknown input": (to("X", f"{FED}.0.variable_name"), MODEL, "'X'.* 'Main'"),
    "unfed input": (lambda p: p.optimizer[0].data_variable.pop(1), MODEL, "the input '.'"),
    "no inputs": (lambda p: p.optimizer[0].ClearField("data_variable"), MODEL, "input"),
    "reserved input": (to("%progress", f"{FED}.1.data_name"), UNSUPPORTED, "'%progress'"),
    "random input": (random_input, UNSUPPORTED, r"'t' .*\(Normal\)"),
    "two shapes": (to("x", f"{FED}.1.data_name"), UNSUPPORTED, r"'x' .*\(3,\)"),
    "two datasets": (
        lambda p: p.optimizer[0].dataset_name.append("Validation"),
        UNSUPPORTED,
        "'Training', 'Validation'",
    ),
    "unknown dataset": (to("Train", "optimizer.0.dataset_name.0"), MODEL, "'Train'"),
    "nothing trained": (nothing_trained, MODEL, "trains no parameter"),
    "unknown solver": (to("Lion", "optimizer.0.solver.type"), UNSUPPORTED, "'Lion' .*Adam"),
    "unknown scheduler": (
        to("Custom", "optimizer.0.solver.lr_scheduler_type"),
        UNSUPPORTED,
        "'Custom'",
    ),
    "unknown function": (to("Convolute", f"{FUNCTION}.0.type"), MODEL, "'Main' .*Convolute"),
    "same name twice": (
        lambda p: to(p.network[0].function[0].name, f"{FUNCTION}.1.name")(p),
        MODEL,
        "two functions",
    ),
    "same output twice": (
        lambda p: to(p.network[0].function[0].output[0], f"{FUNCTION}.1.output.0")(p),
        MODEL,
        "two outputs",
    ),
    "cycle": (to("loss", f"{FUNCTION}.0.input.0"), MODEL, "CycleError"),
    "parameter as output": (
        lambda p: setattr(p.network[0].variable[-1], "type", "Shared"),
        MODEL,
        "KeyError",
    ),
    "broken graph": (to("nowhere", f"{FUNCTION}.0.input.0"), MODEL, "nowhere"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_lacks_something_is_refused(tmp_path, name):
    spoil, error, named = REFUSED[name]
    proto, parameters = python_proto(two_layers)
    spoil(proto)
    with pytest.raises(error, match=rf"^{tmp_path}/net\.nnp: .*{named}") as caught:
        load(tmp_path, proto, parameters)
    assert "\n" not in str(caught.value)


def test_a_trained_variable_that_is_not_a_parameter_is_refused(tmp_path):
    proto, parameters = python_proto(
        lambda v: F.squared_error(PF.affine(v["x"], 1, name="a") * v["s"], v["t"]),
        {"x": (3,), "t": (1,), "s": (1,)},
        {"x": "x", "t": "y"},
    )
    proto.optimizer[0].generator_variable.add(variable_name="s", type="Constant", multiplier=1)
    proto.optimizer[0].parameter_variable.add(variable_name="s", learning_rate_multiplier=1)
    with pytest.raises(UnsupportedError, match="'s'"):
        load(tmp_path, proto, parameters)
