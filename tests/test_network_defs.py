from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections import Counter, OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nnabla as nn
import nnabla.solvers as S
import numpy as np
import pytest
import yaml
from google.protobuf import text_format
from nnabla.core.graph_def import ProtoGraph
from nnabla.utils import nnabla_pb2
from nnabla.utils.get_file_handle import FileHandlerContext, get_initial_file_loader, load_files
from PIL import Image

from network_defs import samples
from network_defs.samples import Scheduler, Training
from nnabla_influence.errors import ModelError, OutputError

FOLDER = Path(__file__).resolve().parent.parent / "network_defs"
DEFINITIONS = runpy.run_path(str(FOLDER / "write.py"))["DEFINITIONS"]
WITH_BATCH_NORMALIZATION = [
    "six_convolutions_mnist",
    "six_convolutions_cifar10",
    "resnet110_cifar10",
]
BATCH = 4
N_TRAINING, N_VALIDATION = 8, 4


def test_the_files_are_what_the_script_writes(tmp_path):
    subprocess.run(
        [sys.executable, str(FOLDER / "write.py"), str(tmp_path)],
        check=True,
        # Another order of sets and hashes must not show.
        env={**os.environ, "PYTHONPATH": str(FOLDER.parent), "PYTHONHASHSEED": "4711"},
    )
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text() for path in FOLDER.glob("*.nntxt")}


def test_writing_leaves_nnabla_s_global_state_alone(tmp_path):
    before = nn.get_current_context()
    samples.write_definition(
        tmp_path / "net.nntxt", samples.six_convolutions(), Training(n_rows=32)
    )
    assert nn.get_current_context() == before
    assert not nn.get_parameters(grad_only=False)


# Training with an unmodified nnabla_cli -----------------------------------------------------------


def write_random_data(folder, shape, n_classes, rng):
    """Write training.csv and validation.csv; return what nnabla should read from each."""
    parts = {}
    for part, n in [("training", N_TRAINING), ("validation", N_VALIDATION)]:
        labels = np.arange(n) % n_classes
        if len(shape) == 1:
            x = rng.normal(size=(n, *shape)).astype(np.float32)
            header = ",".join(f"x__{i}:feature {i}" for i in range(shape[0]))
            cells = [",".join(repr(float(value)) for value in row) for row in x]
        else:
            pixels = rng.randint(0, 256, size=(n, *shape[1:], shape[0])).astype(np.uint8)
            x = pixels.transpose(0, 3, 1, 2) / 255.0
            header = "x:image"
            cells = [f"{part}{i}.png" for i in range(n)]
            for cell, image in zip(cells, pixels):
                Image.fromarray(image.squeeze()).save(folder / cell)
        lines = [f"{header},y:label", *(f"{c},{label}" for c, label in zip(cells, labels))]
        (folder / f"{part}.csv").write_text("\n".join(lines) + "\n")
        parts[part] = (x, labels)
    return parts


def nnabla_cli_train(folder, *options):
    result = subprocess.run(
        [
            Path(sys.executable).with_name("nnabla_cli"),
            "train",
            "-c",
            "net.nntxt",
            "-o",
            ".",
            *options,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "Training Completed." in result.stderr, result.stderr


def load(*paths):
    """Return the proto and the parameters of nnabla's files, apart from nnabla's global scope."""
    context = FileHandlerContext()
    context.exclude_parameter = context.parameter_only = False
    context.proto = nnabla_pb2.NNablaProtoBuf()
    context.parameter_scope = OrderedDict()
    load_files(context, get_initial_file_loader(), [str(path) for path in paths])
    with nn.parameter_scope("", context.parameter_scope):
        return context.proto, nn.get_parameters(grad_only=False)


def run_network(proto, parameters, name, data, more=()):
    """Return outputs and ``more`` variables (name -> array), and declared and real shapes."""
    scope = OrderedDict()
    with nn.parameter_scope("", scope):
        for parameter, variable in parameters.items():
            nn.parameter.set_parameter(parameter, variable)
    graph = ProtoGraph.from_proto(proto, param_scope=scope, rng=np.random.RandomState(0))
    network = graph[name].expand_loop_control()
    missing = set(network.parameters) - set(parameters)
    assert not missing, f"nnabla would draw these at random: {missing}"
    n = len(next(iter(data.values())))
    network(batch_size=n)
    for variable, values in data.items():
        network.variables[variable].variable_instance.d = values
    outputs = {k: network.variables[k].variable_instance for k in [*more, *network.outputs]}
    nn.forward_all(list(outputs.values()))
    shapes = {
        k: ((n, *v.shape[1:]), v.variable_instance.shape) for k, v in network.variables.items()
    }
    return {k: v.d.copy() for k, v in outputs.items()}, shapes


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Every definition trained for two epochs by nnabla_cli, and one for none: name -> folder."""
    jobs = [*DEFINITIONS, "resnet110_cifar10 start"]

    def train(job):
        name, start = job.split()[0], job.endswith("start")
        network, training = DEFINITIONS[name]
        folder = tmp_path_factory.mktemp(job.replace(" ", "_"))
        write_random_data(
            folder, network.input_shape, 2 if "logistic" in name else 10, np.random.RandomState(0)
        )
        samples.write_definition(
            folder / "net.nntxt",
            network,
            replace(training, n_rows=N_TRAINING, batch_size=BATCH, epochs=0 if start else 2),
        )
        nnabla_cli_train(folder)
        return folder

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(jobs, pool.map(train, jobs)))


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_runtime_s_probabilities_give_the_error_that_nnabla_cli_reports(name, trained):
    folder = trained[name]
    network, _ = DEFINITIONS[name]
    binary = network.loss == "BinaryCrossEntropy"
    data = write_random_data(  # the same again
        folder, network.input_shape, 2 if binary else 10, np.random.RandomState(0)
    )
    x, labels = data["validation"]
    proto, parameters = load(folder / "results_current_2.nnp")
    (executor,) = proto.executor
    (runtime,) = [n for n in proto.network if n.name == executor.network_name]
    logits = runtime.function[-1].input[0]
    values, shapes = run_network(
        proto, parameters, runtime.name, {executor.data_variable[0].variable_name: x}, [logits]
    )
    probability = values[executor.output_variable[0].variable_name]
    z = values[logits].astype(np.float64)
    if binary:
        z = np.concatenate([np.zeros_like(z), z], axis=1)
        probability = np.concatenate([1 - probability, probability], axis=1)
    log_p = z - z.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(probability, np.exp(log_p), rtol=1e-4, atol=1e-6)
    report = yaml.safe_load((folder / "monitoring_report.yml").read_text())
    expected = -log_p[np.arange(N_VALIDATION), labels].mean()
    np.testing.assert_allclose(report[1]["valid_error"], expected, rtol=1e-4)
    for variable, (declared, real) in shapes.items():
        assert declared == real, variable


def test_every_parameter_is_trained_in_every_repetition(trained):
    _, start = load(trained["resnet110_cifar10 start"] / "results.nnp")
    _, end = load(trained["resnet110_cifar10"] / "results_current_2.nnp")
    assert start.keys() == end.keys()
    assert "Convolution_2/conv/W_RepeatStart[17]" in end
    assert not [name for name in start if np.array_equal(start[name].d, end[name].d)]


@pytest.mark.parametrize(
    ("settings", "n_classes"),
    [
        (
            {
                "weight_decay": 0.05,
                "update_interval": 2,
                "scheduler": Scheduler("Step", {"gamma": 0.5, "iter_steps": [3, 6]}, warmup=2),
            },
            2,
        ),
        (
            {
                "solver": "Momentum",
                "learning_rate": 0.2,
                "hyperparameters": {"momentum": 0.7},
                "scheduler": Scheduler("Cosine", {"max_iter": 20}),
            },
            3,
        ),
    ],
    ids=["Sgd", "Momentum"],
)
def test_logistic_regression_is_trained_as_numpy_replays_it(tmp_path, settings, n_classes):
    rng = np.random.RandomState(1)
    x, labels = write_random_data(tmp_path, (5,), n_classes, rng)["training"]
    training = Training(n_rows=8, batch_size=4, epochs=4, shuffle=False, **settings)
    samples.write_definition(
        tmp_path / "net.nntxt", samples.logistic_regression((5,), n_classes), training
    )
    n_outputs = 1 if n_classes == 2 else n_classes
    W, b = 0.5 * rng.normal(size=(5, n_outputs)), rng.normal(size=n_outputs)
    initial = {"Affine/affine/W": W, "Affine/affine/b": b}
    nn.save_parameters(
        str(tmp_path / "initial.h5"),
        OrderedDict(
            (k, nn.Variable.from_numpy_array(v.astype(np.float32), need_grad=True))
            for k, v in initial.items()
        ),
    )
    nnabla_cli_train(tmp_path, "-p", "initial.h5")
    _, parameters = load(tmp_path / "results_current_4.nnp")

    x = x.astype(np.float64)
    theta = [W.copy(), b.copy()]
    velocity = [np.zeros_like(W), np.zeros_like(b)]
    gradient = [np.zeros_like(W), np.zeros_like(b)]
    interval = training.update_interval
    momentum = settings.get("hyperparameters", {}).get("momentum", 0.0)
    for i in range(8):
        rows = slice(4 * (i % 2), 4 * (i % 2) + 4)
        z = x[rows] @ theta[0] + theta[1]
        if n_classes == 2:
            residual = 1 / (1 + np.exp(-z)) - labels[rows, None]
        else:
            residual = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
            residual -= np.eye(n_classes)[labels[rows]]
        gradient[0] += x[rows].T @ residual / 4
        gradient[1] += residual.mean(axis=0)
        if i % interval != interval - 1:
            continue
        rate = training.learning_rate
        if training.scheduler.type == "Step":
            rate *= 0.5 ** ((i >= 3) + (i >= 6)) * min((i + 1) / 2, 1)
        if training.scheduler.type == "Cosine":
            rate *= (np.cos(np.pi * i / 20) + 1) / 2
        for p, v, g in zip(theta, velocity, gradient):
            v *= momentum
            v += rate * (g + training.weight_decay * p)
            p -= v
            g[...] = 0
    for value, name in zip(theta, initial):
        np.testing.assert_allclose(parameters[name].d, value, rtol=2e-5, atol=2e-6)
        assert np.abs(parameters[name].d - initial[name]).max() > 1e-3


# What the files say ------------------------------------------------------------------------------


def read(name):
    proto = nnabla_pb2.NNablaProtoBuf()
    text_format.Parse((FOLDER / f"{name}.nntxt").read_text(), proto)
    return proto


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_three_networks_are_one_network(name):
    main, validation, runtime = read(name).network
    assert [main.name, validation.name, runtime.name] == ["Main", "MainValidation", "MainRuntime"]

    def batch_normalizations(network):
        return [f for f in network.function if f.type == "BatchNormalization"]

    assert bool(batch_normalizations(main)) == (name in WITH_BATCH_NORMALIZATION)
    assert all(f.batch_normalization_param.batch_stat for f in batch_normalizations(main))
    assert not any(f.batch_normalization_param.batch_stat for f in batch_normalizations(validation))
    for function in batch_normalizations(main):
        function.batch_normalization_param.batch_stat = False
    assert list(main.function) == list(validation.function)
    assert list(main.variable) == list(validation.variable)
    # The runtime has all but the loss.
    loss = validation.function[-1]
    shared = [f for f in runtime.function if f.type != "Softmax"]
    assert list(validation.function[:-1]) == shared
    assert loss.type in ("SoftmaxCrossEntropy", "BinaryCrossEntropy")


@pytest.mark.parametrize(
    ("name", "n_rows", "n_parameters"),
    [
        # Weights and biases, layer by layer, counted by hand.
        ("logistic_regression", 400, 30 + 1),
        ("mlp", 1200, 64 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10),
        ("lenet", 3000, 25 * 6 + 6 + 25 * 6 * 16 + 16 + 256 * 64 + 64 + 64 * 10 + 10),
        (
            "six_convolutions_mnist",
            50_000,
            9 * (1 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
            + 2 * (32 + 64 + 128)  # biases of the convolutions
            + 2 * (32 + 64 + 128)  # beta and gamma
            + 3 * 3 * 128 * 10
            + 10,
        ),
        (
            "six_convolutions_cifar10",
            40_000,
            9 * (3 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
            + 4 * (32 + 64 + 128)
            + 4 * 4 * 128 * 10
            + 10,
        ),
        (
            "resnet110_cifar10",
            40_000,
            9 * (3 * 16 + 36 * 16 * 16)  # entry, first stage
            + 9 * (2 * 16 * 32 + 35 * 32 * 32)  # second stage with its shortcut
            + 9 * (2 * 32 * 64 + 35 * 64 * 64)
            + 2 * (36 * 16 + (16 + 35 * 32) + (32 + 35 * 64) + 64)  # beta and gamma
            + 64 * 10
            + 10,
        ),
    ],
)
def test_size_and_settings(name, n_rows, n_parameters):
    proto = read(name)
    (optimizer,) = proto.optimizer
    trained = {
        p.variable_name for p in optimizer.parameter_variable if p.learning_rate_multiplier > 0
    }
    times = {info.id: info.times for info in proto.network[0].repeat_info}
    size = sum(
        int(np.prod(v.shape.dim)) * int(np.prod([times[r] for r in v.repeat_id]))
        for v in proto.network[0].variable
        if v.name in trained
    )
    assert size == n_parameters
    assert proto.training_config.iter_per_epoch == n_rows // optimizer_batch(proto)
    assert optimizer.solver.type == "Sgd"
    assert optimizer.solver.sgd_param.lr == np.float32(0.05)


def optimizer_batch(proto):
    (name,) = proto.optimizer[0].dataset_name
    (dataset,) = [d for d in proto.dataset if d.name == name]
    assert dataset.uri == "training.csv"
    assert dataset.shuffle
    return dataset.batch_size


@pytest.mark.parametrize("name", ["six_convolutions_mnist", "six_convolutions_cifar10"])
def test_the_paper_s_settings(name):
    proto = read(name)
    assert proto.training_config.max_epoch == 20
    assert optimizer_batch(proto) == 32


def test_the_readme_s_sizes_are_what_the_script_prints(capsys):
    runpy.run_path(str(FOLDER / "parameter_size.py"), run_name="__main__")

    def rows(text):  # without the last column: the size of an .h5 file depends on the HDF5 library
        return [line.rsplit("|", 2)[0] for line in text.splitlines() if re.match(r"\| \dx", line)]

    printed = rows(capsys.readouterr().out)
    assert len(printed) == 12
    assert printed == rows((FOLDER / "README.md").read_text())


def test_resnet_has_110_layers_with_weights():
    graph = ProtoGraph.from_proto(
        read("resnet110_cifar10"), param_scope=OrderedDict(), rng=np.random.RandomState(0)
    )
    network = graph["Main"].expand_loop_control()
    kinds = Counter(function.type for function in network.functions.values())
    shortcuts = 2
    assert kinds["Convolution"] - shortcuts + kinds["Affine"] == 110
    assert kinds["Add2"] == 54


@pytest.mark.parametrize(
    "solver", ["Sgd", "Momentum", "Nesterov", "Adagrad", "RMSprop", "Adam", "AdamW"]
)
def test_hyper_parameters_are_nnabla_s_defaults_unless_given(solver):
    expected = dict(getattr(S, solver)().info)
    rate = expected.pop("alpha", None) or expected.pop("lr")

    def written(**settings):
        proto = samples.definition(
            samples.mlp((3,), 2), Training(n_rows=32, solver=solver, learning_rate=rate, **settings)
        ).optimizer[0]
        assert proto.solver.type == solver
        chosen = getattr(proto.solver, proto.solver.WhichOneof("parameter"))
        assert chosen.DESCRIPTOR.name == f"{solver}Parameter"
        return {field.name: value for field, value in chosen.ListFields()}

    assert written() == {**getattr(S, solver)().info}
    for name in expected:
        assert written(hyperparameters={name: 0.25})[name] == 0.25


@pytest.mark.parametrize("loss", ["SquaredError", "CategoricalCrossEntropy", "BinaryCrossEntropy"])
def test_other_losses_are_what_their_formulas_say(loss):
    network = samples.mlp((4,), 3, hidden=(5,), activation="tanh", loss=loss)
    proto = samples.definition(network, Training(n_rows=32))
    rng = np.random.RandomState(0)
    shapes = {"affine/W": (4, 5), "affine/b": (5,)}, {"affine/W": (5, 3), "affine/b": (3,)}
    values = [
        {f"{layer}/{k}": rng.normal(size=shape) for k, shape in of_layer.items()}
        for layer, of_layer in zip(("Affine", "Affine_2"), shapes)
    ]
    parameters = {
        k: nn.Variable.from_numpy_array(v.astype(np.float32), need_grad=True)
        for of_layer in values
        for k, v in of_layer.items()
    }
    x = rng.normal(size=(6, 4))
    z = np.tanh(x @ values[0]["Affine/affine/W"] + values[0]["Affine/affine/b"])
    z = z @ values[1]["Affine_2/affine/W"] + values[1]["Affine_2/affine/b"]
    if loss == "CategoricalCrossEntropy":
        y = rng.randint(3, size=(6, 1))
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        expected = -np.log(np.take_along_axis(p, y, axis=1))
    elif loss == "BinaryCrossEntropy":
        y = rng.randint(2, size=(6, 3))
        expected = np.log1p(np.exp(-z)) + (1 - y) * z
    else:
        y = rng.normal(size=(6, 3))
        expected = (z - y) ** 2
    inputs = {v.data_name: v.variable_name for v in proto.optimizer[0].data_variable}
    outputs, _ = run_network(proto, parameters, "Main", {inputs["x"]: x, inputs["y"]: y})
    (loss_variable,) = proto.optimizer[0].loss_variable
    np.testing.assert_allclose(outputs[loss_variable.variable_name], expected, rtol=2e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Training(n_rows=10, batch_size=11),
            r"batch size 11 does not fit 10 training rows",
        ),
        (lambda: Training(n_rows=10, batch_size=0), r"batch size 0 does not fit 10 training rows"),
        (lambda: Training(n_rows=99, epochs=-1), r"-1 epochs with update interval 1 cannot be"),
        (lambda: Training(n_rows=99, update_interval=0), r"update interval 0 cannot be trained"),
        (lambda: Training(n_rows=99, solver="Adm"), r"solver 'Adm' cannot be written; use .*Adam,"),
        (
            lambda: Training(n_rows=99, hyperparameters={"momentum": 0.9}),
            r"solver Sgd has no hyper-parameter 'momentum'; it has learning_rate$",
        ),
        (lambda: Scheduler("Sine"), r"scheduler 'Sine' cannot be written; use one of Cosine, "),
        (
            lambda: Scheduler("Cosine", {"gamma": 0.1}),
            r"scheduler Cosine has no setting 'gamma'; it has max_iter$",
        ),
        (lambda: samples.mlp((3,), 2, loss="L2"), r"loss 'L2' cannot be written; use one of "),
        (
            lambda: samples.mlp((3,), 2, activation="gelu"),
            r"activation 'gelu' cannot be drawn; use relu, tanh or sigmoid",
        ),
        (
            lambda: samples.lenet((1, 8, 8)),
            r"Convolution_2: a 5x5 kernel does not fit an image of 2x2 pixels",
        ),
        (lambda: samples.resnet(1), r"a block cannot be passed 0 times; use 1 or more"),
        (
            lambda: samples.Network(
                (3, 8, 8), lambda sheet, x: sheet.repeat(x, 2, lambda h: sheet.max_pooling(h, 2))
            ),
            r"RepeatStart: the repeated block makes \(3, 4, 4\) of \(3, 8, 8\); it must keep",
        ),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ModelError, match=message):
        samples.definition(make(), Training(n_rows=32))


def test_a_definition_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(
        OutputError, match=re.escape(f"{tmp_path}/none/net.nntxt: cannot be written")
    ):
        samples.write_definition(
            tmp_path / "none" / "net.nntxt", samples.mlp((3,), 2), Training(32)
        )
