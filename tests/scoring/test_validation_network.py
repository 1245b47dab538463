"""Train on 12x12 pictures, of which 10x10 are cut out, and validate on 8x8."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence import Options
from nnabla_influence.definition import (
    Mode,
    build_objective,
    load_definition,
    running_statistics,
    validation_definition,
)
from nnabla_influence.device import cpu_device
from nnabla_influence.engine import build_engine
from nnabla_influence.errors import DatasetError, UnsupportedError
from nnabla_influence.runs.run import write_run
from nnabla_influence.runs.steps import Step
from tests.definition.definitions import python_proto, random_parameters, write_nnp
from tests.reference import Reference, float64
from tests.scores import score

CPU = cpu_device("tests").context
N = {"training": 12, "validation": 7}
SIZE = {"training": 12, "validation": 8}


def network(*, training: bool, normalize: bool = True, auxiliary: bool = False):
    def make(v):
        h = F.random_crop(v["x"], (1, 10, 10)) if training else v["x"]
        h = PF.convolution(h, 4, (3, 3), name="c")
        if normalize:
            h = PF.batch_normalization(h, batch_stat=training, name="n")
        h = F.global_average_pooling(F.tanh(h))
        losses = {"loss": F.softmax_cross_entropy(PF.affine(h, 3, name="out"), v["t"])}
        if auxiliary:
            losses["other"] = F.softmax_cross_entropy(PF.affine(h, 3, name="aux"), v["t"])
        return losses

    return make


def reference_losses(p, inputs):
    """Size makes no difference to it, but that of training pictures the centre is cut out."""
    x = inputs["x"]
    cut = x.shape[2] == SIZE["training"]
    x = x[:, :, 1:11, 1:11] if cut else x
    h = jax.lax.conv(x, p["c/conv/W"], (1, 1), "VALID") + p["c/conv/b"][:, None, None]
    if "n/bn/var" in p:
        scale = p["n/bn/gamma"] / jnp.sqrt(p["n/bn/var"] + 1e-5)
        h = (h - p["n/bn/mean"]) * scale + p["n/bn/beta"]
    h = jnp.tanh(h).mean(axis=(2, 3))

    def loss(name):
        log = jax.nn.log_softmax(h @ p[f"{name}/affine/W"] + p[f"{name}/affine/b"])
        return -log[jnp.arange(len(x)), inputs["y"][:, 0].astype(int)]

    return loss("out") + (loss("aux") if cut and "aux/affine/W" in p else 0)


def write_project(folder: Path, *, script: bool = False, **layers):
    """net.nnp, the CSVs, and their values; ``script`` names the loss as a script may."""
    proto, parameters = python_proto(
        network(training=True, **layers), {"x": (1, 12, 12), "t": (1,)}
    )
    layers.pop("auxiliary", None)
    other, _ = python_proto(network(training=False, **layers), {"x": (1, 8, 8), "t": (1,)})
    validating = proto.network.add()
    validating.CopyFrom(other.network[0])
    validating.name = "MainValidation"
    if script:
        validating.function[-1].output[0] = "validation loss"
        next(v for v in validating.variable if v.name == "loss").name = "validation loss"
    for part in ("Training", "Validation"):
        monitor = proto.monitor.add(name=part, network_name="MainValidation")
        monitor.dataset_name.append(part)
        for fed in proto.optimizer[0].data_variable:
            monitor.data_variable.add().CopyFrom(fed)
        monitor.monitor_variable.add(variable_name="validation loss" if script else "loss")
    rng = np.random.default_rng(0)
    values = {}
    for part, n in N.items():
        x = rng.normal(size=(n, 1, SIZE[part], SIZE[part])).astype(np.float32)
        y = rng.integers(3, size=(n, 1)).astype(np.float32)
        lines = ["x,y"]
        for i in range(n):
            np.save(folder / f"{part}{i}.npy", x[i])
            lines.append(f"{part}{i}.npy,{int(y[i, 0])}")
        (folder / f"{part}.csv").write_text("\n".join(lines) + "\n")
        values[part] = {"x": x, "y": y}
    return write_nnp(folder / "net.nnp", proto, parameters), values


@pytest.mark.slow
@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize("script", [False, True])
def test_the_definitions_own_network_validates(tmp_path, script, auxiliary):
    """Scores, losses: against Algorithm 2 in float64."""
    model, values = write_project(tmp_path, script=script, auxiliary=auxiliary)
    definition = load_definition(model)
    parameters = random_parameters(definition)
    rows = np.random.default_rng(1).permutation(12).reshape(3, 4)
    steps = [Step(i, 0, 0.1, (batch,)) for i, batch in enumerate(rows)]
    write_run(tmp_path / "run", parameters=parameters, steps=steps, settings=None)
    ranking = score(
        model,
        run=tmp_path / "run",
        train=tmp_path / "training.csv",
        validation=tmp_path / "validation.csv",
        options=Options(method="final", running_statistics=True),
    )
    reference = Reference(reference_losses, parameters, definition.trainable)
    wanted = reference.influence(
        [(batch, 0.1) for batch in rows], values["training"], values["validation"]
    )
    got = ranking.scores
    assert np.linalg.norm(got.influence - wanted) < 1e-4 * np.linalg.norm(wanted)
    losses = reference.losses(reference.theta, float64(values["training"]))
    np.testing.assert_allclose(got.loss, losses, rtol=1e-4)


def test_its_gradient_by_the_running_statistics(tmp_path):
    model, values = write_project(tmp_path)
    definition = load_definition(model)
    validating = validation_definition(definition)
    parameters = random_parameters(definition)
    engine = build_engine(build_objective(validating, 4, CPU, parameters, Mode.VALIDATION), CPU)
    names = [*definition.trainable, *running_statistics(definition)]
    assert list(engine.objective.parameters) == names
    gradient = engine.zeros()
    engine.add_gradient(values["validation"], np.full(7, 1 / 7), gradient)
    reference = Reference(reference_losses, parameters, names)
    by_name = reference.gradient(reference.theta, float64(values["validation"]))
    wanted = np.concatenate([np.ravel(by_name[name]) for name in names])
    assert np.linalg.norm(gradient.data - wanted) < 1e-5 * np.linalg.norm(wanted)


def test_inputs_alike_need_no_other_network(tmp_path):
    model, _ = write_project(tmp_path)
    definition = load_definition(model)
    network = definition.proto.network[1]
    next(v for v in network.variable if v.name == "x").shape.dim[2:] = [12, 12]
    assert validation_definition(definition) is definition


def test_validation_pictures_of_the_training_size_are_refused_by_row(tmp_path):
    model, _ = write_project(tmp_path)
    write_run(
        tmp_path / "run",
        parameters=random_parameters(load_definition(model)),
        steps=[Step(0, 0, 0.1, (np.arange(4),))],
        settings=None,
    )
    training = tmp_path / "training.csv"
    with pytest.raises(DatasetError, match=r"training\.csv, line 2, .* 'x'"):
        score(model, run=tmp_path / "run", train=training, validation=training)


def test_another_loss_is_refused(tmp_path):
    model, _ = write_project(tmp_path, script=True)
    definition = load_definition(model)
    for function in definition.proto.network[1].function:
        if function.type == "SoftmaxCrossEntropy":
            function.type = "SquaredError"
    with pytest.raises(UnsupportedError, match=r"net\.nnp: the network 'MainValidation'"):
        validation_definition(definition)


def test_normalisations_in_one_network_only_are_refused(tmp_path):
    model, _ = write_project(tmp_path)
    definition = load_definition(model)
    for function in definition.proto.network[1].function:
        if function.type == "BatchNormalization":
            function.type = "Identity"
            del function.input[1:], function.output[1:]
            function.ClearField("batch_normalization_param")
    with pytest.raises(UnsupportedError, match=r"net\.nnp: the running statistic 'n/bn/mean'"):
        validation_definition(definition)
