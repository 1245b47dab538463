from __future__ import annotations

import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import nnabla.solvers as S
import numpy as np
import pytest
from google.protobuf import text_format
from nnabla.utils import nnabla_pb2

from network_defs import samples
from network_defs.samples import Training
from nnabla_influence.errors import ModelError

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parent.parent / "network_defs"
DEFINITIONS = runpy.run_path(str(FOLDER / "write.py"))["DEFINITIONS"]
WITH_BATCH_NORMALIZATION = [name for name in DEFINITIONS if name.startswith(("six_", "resnet"))]


@pytest.mark.slow
def test_the_files_are_what_the_script_writes(tmp_path):
    subprocess.run(
        [sys.executable, str(FOLDER / "write.py"), str(tmp_path)],
        check=True,
        # Another order of sets and hashes must not show.
        env={**os.environ, "PYTHONPATH": str(FOLDER.parent), "PYTHONHASHSEED": "4711"},
    )
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text() for path in FOLDER.glob("*.nntxt")}


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


SIX = 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128  # all but the first convolution
SIZES = {  # rows, epochs, batch size; weights and biases, layer by layer, counted by hand
    "logistic_regression": (400, 20, 20, 30 + 1),
    "mlp": (1200, 20, 32, 64 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10),
    "lenet": (3000, 10, 32, 25 * 6 + 6 + 25 * 6 * 16 + 16 + 256 * 64 + 64 + 64 * 10 + 10),
    "six_convolutions_mnist": (
        *(50_000, 20, 32),
        # biases of the convolutions, beta and gamma
        9 * (1 * 32 + SIX) + 4 * (32 + 64 + 128) + 3 * 3 * 128 * 10 + 10,
    ),
    "six_convolutions_cifar10": (
        *(40_000, 20, 32),
        9 * (3 * 32 + SIX) + 4 * (32 + 64 + 128) + 4 * 4 * 128 * 10 + 10,
    ),
    "resnet110_cifar10": (
        *(40_000, 20, 32),
        9 * (3 * 16 + 36 * 16 * 16)  # entry, first stage
        + 9 * (2 * 16 * 32 + 35 * 32 * 32)  # second stage with its shortcut
        + 9 * (2 * 32 * 64 + 35 * 64 * 64)
        + 2 * (36 * 16 + (16 + 35 * 32) + (32 + 35 * 64) + 64)  # beta and gamma
        + 64 * 10
        + 10,
    ),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_size_and_settings(name):
    n_rows, epochs, batch_size, n_parameters = SIZES[name]
    proto = read(name)
    (optimizer,) = proto.optimizer
    trained = {
        p.variable_name for p in optimizer.parameter_variable if p.learning_rate_multiplier > 0
    }
    times = {info.id: info.times for info in proto.network[0].repeat_info}
    size = sum(
        math.prod(v.shape.dim) * math.prod(times[r] for r in v.repeat_id)
        for v in proto.network[0].variable
        if v.name in trained
    )
    assert size == n_parameters
    assert proto.training_config.max_epoch == epochs
    assert proto.training_config.iter_per_epoch == n_rows // batch_size
    assert (optimizer.solver.type, optimizer.solver.sgd_param.lr) == ("Sgd", np.float32(0.05))
    (dataset,) = (d for d in proto.dataset if [d.name] == optimizer.dataset_name)
    assert (dataset.uri, dataset.shuffle, dataset.batch_size) == ("training.csv", True, batch_size)


@pytest.mark.slow
def test_the_readme_s_sizes_are_what_the_script_prints(capsys):
    runpy.run_path(str(FOLDER / "parameter_size.py"), run_name="__main__")

    def rows(text):  # without the last column: the size of an .h5 file depends on the HDF5 library
        return [line.rsplit("|", 2)[0] for line in text.splitlines() if re.match(r"\| \dx", line)]

    printed = rows(capsys.readouterr().out)
    assert len(printed) == 12
    assert printed == rows((FOLDER / "README.md").read_text())


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


@pytest.mark.parametrize("batch_size", [0, 11])
def test_a_training_without_iterations_is_refused(batch_size):
    with pytest.raises(ModelError, match=f"batch size {batch_size} .*10 "):
        Training(n_rows=10, batch_size=batch_size)
