"""The sample networks, trained by an unmodified nnabla_cli."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nnabla as nn
import numpy as np
import pytest
import yaml
from nnabla.core.graph_def import ProtoGraph
from nnabla.utils import nnabla_pb2
from nnabla.utils.get_file_handle import FileHandlerContext, get_initial_file_loader, load_files
from PIL import Image

from network_defs import samples
from network_defs.samples import Scheduler, Training
from tests.test_network_defs import DEFINITIONS

pytestmark = pytest.mark.slow

BATCH = 4
N_TRAINING, N_VALIDATION = 8, 4


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
    command = [Path(sys.executable).with_name("nnabla_cli"), "train", "-c", "net.nntxt", "-o", "."]
    result = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True)
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


def random_data_for(name, folder):
    network, _ = DEFINITIONS[name]
    n_classes = 2 if network.loss == "BinaryCrossEntropy" else 10
    return write_random_data(folder, network.input_shape, n_classes, np.random.RandomState(0))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Every definition trained for two epochs by nnabla_cli, and one for none: name -> folder."""
    jobs = [*DEFINITIONS, "resnet110_cifar10 start"]

    def train(job):
        name, start = job.split()[0], job.endswith("start")
        network, training = DEFINITIONS[name]
        folder = tmp_path_factory.mktemp(job.replace(" ", "_"))
        random_data_for(name, folder)
        samples.write_definition(
            folder / "net.nntxt",
            network,
            replace(training, n_rows=N_TRAINING, batch_size=BATCH, epochs=0 if start else 2),
        )
        nnabla_cli_train(folder)
        return folder

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(jobs, pool.map(train, jobs)))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_runtime_s_probabilities_give_the_error_that_nnabla_cli_reports(name, trained):
    folder = trained[name]
    x, labels = random_data_for(name, folder)["validation"]  # the same again
    proto, parameters = load(folder / "results_current_2.nnp")
    (executor,) = proto.executor
    (runtime,) = [n for n in proto.network if n.name == executor.network_name]
    logits = runtime.function[-1].input[0]
    values, shapes = run_network(
        proto, parameters, runtime.name, {executor.data_variable[0].variable_name: x}, [logits]
    )
    probability = values[executor.output_variable[0].variable_name]
    z = values[logits].astype(np.float64)
    if z.shape[1] == 1:
        z = np.concatenate([np.zeros_like(z), z], axis=1)
        probability = np.concatenate([1 - probability, probability], axis=1)
    np.testing.assert_allclose(probability, softmax(z), rtol=1e-4, atol=1e-6)
    report = yaml.safe_load((folder / "monitoring_report.yml").read_text())
    expected = -np.log(softmax(z)[np.arange(N_VALIDATION), labels]).mean()
    np.testing.assert_allclose(report[1]["valid_error"], expected, rtol=1e-4)
    for variable, (declared, real) in shapes.items():
        assert declared == real, variable


def test_every_parameter_is_trained_in_every_repetition(trained):
    _, start = load(trained["resnet110_cifar10 start"] / "results.nnp")
    _, end = load(trained["resnet110_cifar10"] / "results_current_2.nnp")
    assert start.keys() == end.keys()
    assert "Convolution_2/conv/W_RepeatStart[17]" in end
    assert not [name for name in start if np.array_equal(start[name].d, end[name].d)]


STEP = Scheduler("Step", {"gamma": 0.5, "iter_steps": [3, 6]}, warmup=2)
REPLAYED = [  # settings, number of classes, momentum, factor of the learning rate by iteration
    (
        {"weight_decay": 0.05, "update_interval": 2, "scheduler": STEP},
        2,
        0.0,
        lambda i: 0.5 ** ((i >= 3) + (i >= 6)) * min((i + 1) / 2, 1),
    ),
    (
        {
            "solver": "Momentum",
            "hyperparameters": {"momentum": 0.7},
            "scheduler": Scheduler("Cosine", {"max_iter": 20}),
        },
        3,
        0.7,
        lambda i: (np.cos(np.pi * i / 20) + 1) / 2,
    ),
]


@pytest.mark.parametrize(("settings", "n_classes", "momentum", "factor"), REPLAYED)
def test_logistic_regression_is_trained_as_numpy_replays_it(
    tmp_path, settings, n_classes, momentum, factor
):
    rng = np.random.RandomState(1)
    x, labels = write_random_data(tmp_path, (5,), n_classes, rng)["training"]
    training = Training(n_rows=8, batch_size=4, epochs=4, shuffle=False, **settings)
    samples.write_definition(
        tmp_path / "net.nntxt", samples.logistic_regression((5,), n_classes), training
    )
    n_outputs = 1 if n_classes == 2 else n_classes
    W, b = 0.5 * rng.normal(size=(5, n_outputs)), rng.normal(size=n_outputs)
    initial = {"Affine/affine/W": W, "Affine/affine/b": b}
    variables = {
        name: nn.Variable.from_numpy_array(value.astype(np.float32), need_grad=True)
        for name, value in initial.items()
    }
    nn.save_parameters(str(tmp_path / "initial.h5"), variables)
    nnabla_cli_train(tmp_path, "-p", "initial.h5")
    _, parameters = load(tmp_path / "results_current_4.nnp")

    x = x.astype(np.float64)
    theta = [W.copy(), b.copy()]
    velocity = [np.zeros_like(W), np.zeros_like(b)]
    gradient = [np.zeros_like(W), np.zeros_like(b)]
    for i in range(8):
        rows = slice(4 * (i % 2), 4 * (i % 2) + 4)
        z = x[rows] @ theta[0] + theta[1]
        if n_classes == 2:
            residual = 1 / (1 + np.exp(-z)) - labels[rows, None]
        else:
            residual = softmax(z) - np.eye(n_classes)[labels[rows]]
        gradient[0] += x[rows].T @ residual / 4
        gradient[1] += residual.mean(axis=0)
        if (i + 1) % training.update_interval:
            continue
        for p, v, g in zip(theta, velocity, gradient):
            v *= momentum
            v += training.learning_rate * factor(i) * (g + training.weight_decay * p)
            p -= v
            g[...] = 0
    for value, name in zip(theta, initial):
        np.testing.assert_allclose(parameters[name].d, value, rtol=2e-5, atol=2e-6)
        assert np.abs(parameters[name].d - initial[name]).max() > 1e-3
