"""Functions are computed as nnabla trains them, or refused by name."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import Mode, build_objective
from nnabla_influence.engine import (
    NnablaEngine,
    NumpyEngine,
    check_differentiable,
    lacking_in_numpy,
)
from nnabla_influence.engine.guard import check_engines
from nnabla_influence.errors import UnsupportedError
from tests.definition.definitions import (
    BATCH,
    CPU,
    Native,
    load,
    python_proto,
    random_parameters,
)

RNG = np.random.RandomState(0)
N = 6


def on_features(function):
    """A network with ``function`` between a parameter and the loss."""

    def make(v):
        hidden = F.tanh(PF.affine(v["x"], (4, 6, 6), name="a"))
        output = function(hidden)
        target = F.broadcast(F.reshape(v["t"], (BATCH, *[1] * (output.ndim - 1))), output.shape)
        return F.squared_error(output, target)

    return make


def flat(h):
    return F.reshape(h, (BATCH, -1))


def kernel():
    return nn.parameter.get_parameter_or_create("W", (4, 4, 3, 3))


COMPUTED = {
    "binary tanh": F.binary_tanh,
    "depthwise convolution": lambda h: PF.depthwise_convolution(
        h, (3, 2), multiplier=2, pad=(1, 2), stride=(2, 1), dilation=(1, 2), name="d"
    ),
    "depthwise convolution of one axis": lambda h: PF.depthwise_convolution(
        F.reshape(h, (BATCH, 4, 36)), (5,), multiplier=3, with_bias=False, name="d"
    ),
    "depthwise deconvolution": lambda h: PF.depthwise_deconvolution(
        h, (3, 2), divisor=2, pad=(1, 0), stride=(2, 1), dilation=(1, 2), name="d"
    ),
    "flip": lambda h: F.flip(h, axes=[1, 3]),
    "gather": lambda h: F.gather(h, F.constant(1, (2,)), axis=1),
    "index of the largest": lambda h: F.mul2(*F.max(h, axis=1, keepdims=True, with_index=True)),
    "mean subtraction": lambda h: PF.mean_subtraction(h, update_running_mean=False),
    "mish": F.mish,
    "pad by reflection": lambda h: F.pad(h, (1, 1), mode="reflect"),
    "pad by repetition": lambda h: F.pad(h, (1, 1), mode="repeat"),
    "round": lambda h: h * F.round(3 * h),
    "shift": lambda h: F.shift(h, (1, -2), border_mode="reflect"),
    "tile": lambda h: F.tile(h, (1, 2, 1, 3)),
    "top k": lambda h: F.top_k_data(flat(h), 2),
    "unlink": lambda h: h * F.unlink(h),
}

COMPARISONS = {
    "binary mask": lambda h: F.where(F.greater_scalar(h, 0.0), h, -2 * h),
    "comparison": lambda h: h * F.less(h, F.sin(2 * h)),
    "logic": lambda h: h * F.logical_not(F.greater_scalar(h, 0.1)),
    "largest": lambda h: h * F.equal(h, F.max(h, axis=1, keepdims=True)),
}


@pytest.mark.parametrize("name", [*COMPUTED, *COMPARISONS])
def test_what_has_a_tangent_is_computed_as_nnabla_trains_it(tmp_path, name):
    """A script must keep gradients away from a comparison, and a file does not say so."""
    definition = load(tmp_path, *python_proto(on_features({**COMPUTED, **COMPARISONS}[name])))
    check_differentiable(definition)
    values = random_parameters(definition)
    x, t = RNG.randn(N, 3).astype(np.float32), RNG.randn(N, 1).astype(np.float32)
    inputs, weights = {"x": x, "y": t}, RNG.rand(N)
    check_engines(lambda size: build_objective(definition, size, CPU, values), inputs, CPU)
    if name in COMPARISONS:
        return
    native = Native(definition, values, N)
    native.inputs["x"].d, native.inputs["t"].d = x, t
    examples = F.mean(F.reshape(native.loss, (N, -1)), axis=1)
    total = F.sum(examples * nn.Variable.from_numpy_array(weights))
    for parameter in native.parameters.values():
        parameter.grad.zero()
    total.forward()
    total.backward()
    objective = build_objective(definition, N, CPU, values)
    wanted = np.concatenate([native.parameters[k].g.ravel() for k in objective.parameters])
    assert np.abs(wanted).max() > 0
    for engine in (NnablaEngine(objective, CPU), NumpyEngine(objective)):
        gradient = engine.zeros()
        engine.add_gradient(inputs, weights, gradient)
        np.testing.assert_allclose(gradient.data, wanted, atol=1e-5 * np.abs(wanted).max())


def sequence(h):
    return F.reshape(h, (1, BATCH, 144))


def zeros(*shape):
    return F.constant(0, shape)


REFUSED = {
    "BinaryConnectAffine": lambda h: PF.binary_connect_affine(h, 3),
    "BinaryWeightConvolution": lambda h: PF.binary_weight_convolution(h, 3, (3, 3)),
    "BroadcastTo": lambda h: F.broadcast_to(h, h, 0),
    "FixedPointQuantize": F.fixed_point_quantize,
    "FusedConvolution": lambda h: F.fused_convolution(
        h, kernel(), None, nonlinearity="leaky_relu", nonlinearity_args=[0.1]
    ),
    "INQAffine": lambda h: PF.inq_affine(h, 3),
    "Max": lambda h: h * F.max(h, axis=1, keepdims=True, only_index=True),
    "MeanSubtraction": PF.mean_subtraction,
    "Mod2": lambda h: F.mod2(h, h + 1.0),
    "Sort": lambda h: F.sort(h, axis=1),
    "TopKData": lambda h: F.top_k_data(flat(h), 2, reduce=False),
    "WarpByFlow": lambda h: F.warp_by_flow(h, F.slice(h, stop=(None, 2, None, None))),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_function_without_a_tangent_is_refused_by_name(tmp_path, kind):
    definition = load(tmp_path, *python_proto(on_features(REFUSED[kind])))
    with pytest.raises(UnsupportedError, match=rf"net\.nnp: .*\b{kind} \(layer '"):
        check_differentiable(definition)


RECURRENT = {
    "LSTM": lambda h: PF.lstm(sequence(h), zeros(1, 1, BATCH, 2), zeros(1, 1, BATCH, 2))[0],
    "GRU": lambda h: PF.gru(sequence(h), zeros(1, 1, BATCH, 2))[0],
    "RNN": lambda h: PF.rnn(sequence(h), zeros(1, 1, BATCH, 2))[0],
}


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_recurrent_network_in_one_layer_is_refused_by_name(tmp_path, kind):
    def make(v):
        hidden = F.tanh(PF.affine(v["x"], (4, 6, 6), name="a"))
        return F.squared_error(F.reshape(RECURRENT[kind](hidden), (BATCH, 2)), v["t"])

    # nnabla.utils.save finds no batch axis beside the axis of time, so it is put in by hand.
    proto, parameters = python_proto(make, {"x": (3,), "t": (2,)}, variable_batch_size=False)
    for variable in proto.network[0].variable:
        if variable.name in ("x", "t", "loss"):
            variable.shape.dim[0] = -1
    definition = load(tmp_path, proto, parameters)
    with pytest.raises(UnsupportedError, match=rf"{kind} \(layer '"):
        check_differentiable(definition)


def test_a_target_that_depends_on_parameters_is_refused(tmp_path):
    def make(v):
        hidden = F.sigmoid(PF.affine(v["x"], 1, name="a"))
        return F.binary_cross_entropy(hidden, F.sigmoid(PF.affine(v["t"], 1, name="b")))

    with pytest.raises(UnsupportedError, match=r"BinaryCrossEntropy .*target"):
        check_differentiable(load(tmp_path, *python_proto(make)))


NO_GRADIENT = {
    "from the data": lambda v: F.sort(v["x"]),
    "behind a frozen layer": lambda v: F.sort(F.tanh(PF.affine(v["x"], 3, name="frozen"))),
    "in front of an Unlink": lambda v: F.unlink(F.sort(PF.affine(v["x"], 3, name="c"))) * v["x"],
    "without a rule": lambda v: F.unlink(F.mod2(PF.affine(v["x"], 3, name="c"), v["x"])) * v["x"],
}


@pytest.mark.parametrize("name", NO_GRADIENT)
def test_where_no_gradient_passes_they_do_no_harm(tmp_path, name):
    def make(v):
        return F.squared_error(PF.affine(F.tanh(NO_GRADIENT[name](v)), 1, name="b"), v["t"])

    proto = python_proto(make, trained={"b/affine/W", "b/affine/b", "c/affine/W", "c/affine/b"})
    definition = load(tmp_path, *proto)
    check_differentiable(definition)
    values = random_parameters(definition)
    inputs = {"x": RNG.randn(N, 3), "y": RNG.randn(N, 1)}
    check_engines(lambda size: build_objective(definition, size, CPU, values), inputs, CPU)


def test_what_only_running_statistics_pass_through_must_have_a_tangent_too(tmp_path):
    """A frozen normalisation in front of a Sort."""

    def make(v):
        h = PF.batch_normalization(v["x"], no_scale=True, no_bias=True, name="n")
        return F.squared_error(PF.affine(F.sort(h), 1, name="b"), v["t"])

    definition = load(tmp_path, *python_proto(make))
    for mode in (Mode.TEST, Mode.TRAINING):
        check_differentiable(definition, mode)
    with pytest.raises(UnsupportedError, match=r"the function Sort \(layer '"):
        check_differentiable(definition, Mode.VALIDATION)


def test_a_mean_of_data_that_training_moves_stays_in_use(tmp_path):
    """Both engines subtract the mean as training left it, pass after pass."""

    def make(v):
        return F.squared_error(F.tanh(PF.affine(PF.mean_subtraction(v["x"]), 3, name="a")), v["t"])

    definition = load(tmp_path, *python_proto(make, {"x": (4,), "t": (3,)}))
    values = random_parameters(definition)
    x, t = RNG.randn(BATCH, 4).astype(np.float32), RNG.randn(BATCH, 3).astype(np.float32)
    theta = {name.rpartition("/")[2]: value for name, value in values.items()}
    out = np.tanh((x - theta["mean"]) @ theta["W"] + theta["b"])
    check_differentiable(definition)
    objective = build_objective(definition, BATCH, CPU, values)
    assert lacking_in_numpy(objective) == []
    for engine in (NumpyEngine(objective), NnablaEngine(objective, CPU)):
        for _ in range(2):
            losses = engine.outputs({"x": x, "y": t}).losses
            np.testing.assert_allclose(losses, ((out - t) ** 2).mean(axis=1), rtol=1e-5)
