"""The draws of random layers as inputs: of objectives, and of what they are drawn for."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest
from nnabla.core.graph_def import ProtoGraph

from nnabla_influence.definition import Mode, RandomLayers, build_objective, running_statistics
from nnabla_influence.definition.training_network import build_training_network
from nnabla_influence.engine.gradients import Derivatives
from nnabla_influence.engine.guard import check_derivatives
from nnabla_influence.errors import UnsupportedError

from .definitions import CPU, console_proto, load, python_proto, random_parameters
from .test_random_layers import NETWORKS, SHAPES, N, classifier, data, same, train_in_nnabla


def test_objective_in_training_mode_is_the_drawn_training(tmp_path):
    """Its gradient is the step that nnabla takes."""
    definition = load(tmp_path, *python_proto(NETWORKS["everything"], SHAPES))
    values = random_parameters(definition)
    batch = data(1)[0]
    after = train_in_nnabla(definition, values, [batch])[0]
    objective = build_objective(definition, N, CPU, values, Mode.TRAINING)
    layers = RandomLayers(definition, N, CPU)
    assert tuple(draw.name for draw in objective.draws) == layers.names
    inputs = {**batch, **layers.draw(batch)}
    derivatives = Derivatives(objective, CPU)
    gradient = derivatives.zeros()
    derivatives.add_gradient(inputs, np.full(N, 1 / N), gradient)
    step = np.concatenate([np.ravel(values[n] - after[n]) for n in definition.trainable])
    np.testing.assert_allclose(0.2 * gradient.data, step, atol=1e-5 * np.abs(step).max())
    check_derivatives(derivatives, inputs)


def test_masks_go_with_their_examples(tmp_path):
    """Without batch statistics a mini-batch may go through in chunks, its masks with it."""

    def make(v):
        h = F.dropout(F.tanh(PF.affine(v["x"], 4, name="a")), 0.4, seed=1)
        return F.squared_error(PF.affine(h, 1, name="b"), v["t"])

    definition = load(tmp_path, *python_proto(make))
    values = random_parameters(definition)
    rng = np.random.RandomState(1)
    batch = {c: rng.randn(7, n).astype(np.float32) for c, n in (("x", 3), ("y", 1))}
    drawn = RandomLayers(definition, 7, CPU).draw(batch)
    objective = build_objective(definition, 3, CPU, values, Mode.TRAINING)
    assert not objective.whole_batch
    losses, _ = Derivatives(objective, CPU).outputs({**batch, **drawn})
    (mask,) = drawn.values()
    assert set(np.unique(mask)) == {0, np.float32(1 / np.float32(0.6))}
    h = np.tanh(batch["x"] @ values["a/affine/W"] + values["a/affine/b"]) * mask
    expected = (h @ values["b/affine/W"] + values["b/affine/b"] - batch["y"])[:, 0] ** 2
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_test_mode_has_no_draws(tmp_path):
    definition = load(tmp_path, *python_proto(NETWORKS["everything"], SHAPES))
    values = random_parameters(definition)
    for mode in (Mode.TEST, Mode.VALIDATION):
        assert build_objective(definition, N, CPU, values, mode).draws == ()
    assert running_statistics(definition) == ("n/bn/mean", "n/bn/var")


REFUSED = {
    "no seed": (
        classifier(same, F.dropout),
        r"Dropout \(layer '.*'\) has no seed",
    ),
    "no seed, in front of another": (
        classifier(lambda x: F.random_flip(F.random_shift(x, (1, 1)), seed=1), same),
        r"RandomShift \(layer '.*'\) has no seed",
    ),
    "behind parameters": (
        classifier(lambda x: F.random_flip(PF.convolution(x, 2, (1, 1), name="z"), seed=1), same),
        r"RandomFlip \(layer '.*'\) acts on values that depend on parameters",
    ),
    "behind running statistics": (
        classifier(
            lambda x: F.random_flip(
                PF.batch_normalization(x, batch_stat=False, no_scale=True, no_bias=True, name="z"),
                seed=1,
            ),
            same,
        ),
        r"RandomFlip \(layer '.*'\) acts on values that depend on parameters",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_draws_that_are_lost_are_refused_by_name(tmp_path, name):
    make, message = REFUSED[name]
    definition = load(tmp_path, *python_proto(make, SHAPES))
    for build in (
        lambda: build_objective(definition, N, CPU, mode=Mode.TRAINING),
        lambda: build_training_network(definition, N, CPU),
        lambda: RandomLayers(definition, N, CPU),
    ):
        with pytest.raises(UnsupportedError, match=message):
            build()
    assert build_objective(definition, N, CPU).draws == ()  # test mode takes them out


def test_every_pass_of_a_loop_has_a_mask(tmp_path):
    """h <- dropout(h W) twice; nnabla's own unrolled network, three mini-batches long."""
    loop = ["Loop"]
    repeat = {"repeat_param": {"repeat_id": "Loop", "times": 2}}
    functions = [
        {"type": "RepeatStart", "input": ["Input", "Dropout"], "repeat_id": loop, **repeat},
        {
            "type": "Affine",
            "input": ["RepeatStart", "W{Loop}"],
            "repeat_id": loop,
            "affine_param": {"base_axis": 1},
        },
        {
            "type": "Dropout",
            "input": ["Affine"],
            "repeat_id": loop,
            "dropout_param": {"p": 0.4, "seed": 3},
        },
        {"type": "RepeatEnd", "input": ["Dropout"], **repeat},
        {"type": "SquaredError", "input": ["RepeatEnd", "T"], "output": ["Loss"]},
    ]
    for function in functions:
        function.setdefault("output", [function["type"]])
        function["name"] = function["type"]
    variables = {
        **dict.fromkeys(("Input", "T", "RepeatEnd", "Loss"), (-1, 3)),
        **dict.fromkeys(("RepeatStart", "Affine", "Dropout"), ((-1, 3), "Loop")),
    }
    proto = console_proto(functions, variables, {"W{Loop}": ((3, 3), "Loop")}, {"Loop": 2})
    definition = load(tmp_path, proto)
    values = random_parameters(definition)
    layers = RandomLayers(definition, N, CPU)
    assert len(layers.names) == 2
    objective = build_objective(definition, N, CPU, values, Mode.TRAINING)
    scope: dict = {}
    with nn.context_scope(CPU), nn.parameter_scope("", scope):
        for name, value in values.items():
            nn.parameter.set_parameter(name, nn.Variable.from_numpy_array(value))
        graph = ProtoGraph.from_proto(definition.proto, param_scope=scope)
        network = graph["Main"].expand_loop_control()
        inputs = {name: nn.Variable((N, 3)) for name in ("Input", "T")}
        for name, variable in inputs.items():
            network.variables[name].variable_instance = variable
        network(batch_size=N)
        loss = network.variables["Loss"].variable_instance
    derivatives = Derivatives(objective, CPU)
    rng = np.random.RandomState(0)
    for _ in range(3):
        batch = {c: rng.randn(N, 3).astype(np.float32) for c in ("x", "y")}
        inputs["Input"].d, inputs["T"].d = batch["x"], batch["y"]
        loss.forward()
        drawn = layers.draw(batch)
        found, _ = derivatives.outputs({**batch, **drawn})
        np.testing.assert_allclose(found, loss.d.mean(1), rtol=1e-5)
