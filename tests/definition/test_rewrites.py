"""Functions without a second derivative: equal ones take their place, or they are refused."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import build_objective, check_differentiable
from nnabla_influence.errors import UnsupportedError

from .definitions import (
    BATCH,
    CPU,
    Native,
    load,
    looped,
    losses,
    python_proto,
    random_parameters,
)

RNG = np.random.RandomState(0)


def on_features(function):
    """A network with ``function`` between a parameter and the loss."""

    def make(v):
        hidden = F.tanh(PF.affine(v["x"], (4, 6, 6), name="a"))
        output = function(hidden)
        target = F.broadcast(F.reshape(v["t"], (BATCH, *[1] * (output.ndim - 1))), output.shape)
        return F.squared_error(output, target)

    return make


def gradients(objective, weights):
    """The gradient by nnabla's backward, and by `nn.grad`, of a weighted sum of the losses."""
    parameters = list(objective.parameters.values())
    total = F.sum(objective.losses * nn.Variable.from_numpy_array(weights))
    graph = nn.grad([total], parameters)
    F.sink(*graph).forward()
    built = [g.d.copy() for g in graph]
    for parameter in parameters:
        parameter.grad.zero()
    total.forward()
    total.backward()
    return [p.g.copy() for p in parameters], built


def two_axes(h):
    return F.flip(h, axes=[1, 3])


REWRITTEN = {
    "depthwise convolution": lambda h: PF.depthwise_convolution(h, (3, 3), name="d"),
    "depthwise convolution with everything": lambda h: PF.depthwise_convolution(
        h, (3, 2), multiplier=2, pad=(1, 2), stride=(2, 1), dilation=(1, 2), name="d"
    ),
    "depthwise convolution without bias": lambda h: PF.depthwise_convolution(
        h, (3, 3), with_bias=False, name="d"
    ),
    "depthwise convolution of one axis": lambda h: PF.depthwise_convolution(
        F.reshape(h, (BATCH, 4, 36)), (5,), multiplier=3, name="d"
    ),
    "depthwise deconvolution": lambda h: PF.depthwise_deconvolution(h, (3, 3), name="d"),
    "depthwise deconvolution with everything": lambda h: PF.depthwise_deconvolution(
        h, (3, 2), divisor=2, pad=(1, 0), stride=(2, 1), dilation=(1, 2), name="d"
    ),
    "mish": F.mish,
    "flip": F.flip,
    "flip along two axes": two_axes,
    "tile": lambda h: F.tile(h, (1, 2, 1, 3)),
    "tile of the last axis": lambda h: F.tile(h, 2),
    "tile by one": lambda h: F.tile(h, (1, 1)),
    "fused normalisation": lambda h: PF.fused_batch_normalization(h, batch_stat=False, name="n"),
    "fused normalisation and sum": lambda h: PF.fused_batch_normalization(
        h, z=F.sin(h), batch_stat=False, name="n"
    ),
    "unlink": lambda h: h * F.unlink(h),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_an_equal_function_takes_its_place(tmp_path, name):
    definition = load(tmp_path, *python_proto(on_features(REWRITTEN[name])))
    check_differentiable(definition)
    values = random_parameters(definition)
    x, t = RNG.randn(7, 3).astype(np.float32), RNG.randn(7, 1).astype(np.float32)
    objective = build_objective(definition, 7, CPU, values)
    found = losses(objective, x=x, y=t)
    np.testing.assert_allclose(found, Native(definition, values, 7).losses(x=x, t=t), rtol=1e-5)
    for native, built in zip(*gradients(objective, RNG.rand(7))):
        assert np.abs(native).max() > 0
        np.testing.assert_allclose(built, native, atol=1e-5 * np.abs(native).max())


def test_it_does_so_within_a_loop(tmp_path):
    """Mish twice, as a formula in float64: h <- mish(h W_i)."""
    affine = {"type": "Affine", "input": ["W{Loop}"], "affine_param": {"base_axis": 1}}
    proto = looped([affine, {"type": "Mish"}], {"W{Loop}": ((3, 3), "Loop")})
    definition = load(tmp_path, proto)
    values = random_parameters(definition)
    objective = build_objective(definition, 7, CPU, values)
    h, t = RNG.randn(7, 3), RNG.randn(7, 3)
    found = losses(objective, x=h, y=t)
    for i in range(2):
        z = h @ values[f"W[{i}]"]
        h = z * np.tanh(np.logaddexp(0, z))
    np.testing.assert_allclose(found, np.mean((h - t) ** 2, axis=1), rtol=1e-5)
    for native, built in zip(*gradients(objective, np.ones(7))):
        np.testing.assert_allclose(built, native, atol=1e-5)


REFUSED = {
    "Gather": lambda h: F.gather(h, F.constant(1, (2,)), axis=1),
    "Sort": lambda h: F.sort(h, axis=1),
    "TopKData": lambda h: F.top_k_data(F.reshape(h, (BATCH, -1)), 2),
    "Shift": lambda h: F.shift(h, (1, 1)),
    "CumProd": lambda h: F.cumprod(h, axis=1),
    "BroadcastTo": lambda h: F.broadcast_to(h, h, 0),
    "BinaryConnectAffine": lambda h: PF.binary_connect_affine(h, 3),
    "BinaryWeightConvolution": lambda h: PF.binary_weight_convolution(h, 3, (3, 3)),
    "INQAffine": lambda h: PF.inq_affine(h, 3),
    "FixedPointQuantize": F.fixed_point_quantize,
    "MeanSubtraction": PF.mean_subtraction,
    "WarpByFlow": lambda h: F.warp_by_flow(h, F.slice(h, stop=(None, 2, None, None))),
    "Mod2": lambda h: F.mod2(h, h + 1.0),
    "GreaterScalar": lambda h: h * F.greater_scalar(h, 0.0),
    "FusedConvolution": lambda h: F.fused_convolution(
        h, nn.parameter.get_parameter_or_create("W", (4, 4, 3, 3)), None
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_nnabla_cannot_differentiate_twice_is_refused_by_name(tmp_path, kind):
    definition = load(tmp_path, *python_proto(on_features(REFUSED[kind])))
    for check in (check_differentiable, lambda definition: build_objective(definition, BATCH, CPU)):
        with pytest.raises(UnsupportedError, match=rf"net\.nnp: .*\b{kind} \(layer '"):
            check(definition)


def sequence(h):
    return F.reshape(h, (1, BATCH, 144))


def zeros(*shape):
    return F.constant(0, shape)


HANGING = {
    "LSTM": lambda h: PF.lstm(sequence(h), zeros(1, 1, BATCH, 2), zeros(1, 1, BATCH, 2))[0],
    "GRU": lambda h: PF.gru(sequence(h), zeros(1, 1, BATCH, 2))[0],
    "RNN": lambda h: PF.rnn(sequence(h), zeros(1, 1, BATCH, 2))[0],
}


@pytest.mark.parametrize("kind", HANGING)
def test_what_would_hang_is_refused_by_name(tmp_path, kind):
    def make(v):
        hidden = F.tanh(PF.affine(v["x"], (4, 6, 6), name="a"))
        return F.squared_error(F.reshape(HANGING[kind](hidden), (BATCH, 2)), v["t"])

    # nnabla.utils.save finds no batch axis beside the axis of time, so it is put in by hand.
    proto, parameters = python_proto(make, {"x": (3,), "t": (2,)}, variable_batch_size=False)
    for variable in proto.network[0].variable:
        if variable.name in ("x", "t", "loss"):
            variable.shape.dim[0] = -1
    definition = load(tmp_path, proto, parameters)
    with pytest.raises(UnsupportedError, match=rf"{kind} \(layer '"):
        check_differentiable(definition)


def trained_target(v):
    hidden = F.sigmoid(PF.affine(v["x"], 1, name="a"))
    return F.binary_cross_entropy(hidden, F.sigmoid(PF.affine(v["t"], 1, name="b")))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (on_features(lambda h: F.pad(h, (1, 1), mode="reflect")), "Pad .*'reflect'"),
        (on_features(lambda h: F.pad(h, (1, 1), mode="repeat")), "Pad .*'repeat'"),
        (trained_target, "BinaryCrossEntropy .*target"),
    ],
)
def test_arguments_that_nnabla_cannot_differentiate_are_refused(tmp_path, make, named):
    definition = load(tmp_path, *python_proto(make))
    with pytest.raises(UnsupportedError, match=named):
        check_differentiable(definition)


DATA_PATH = {
    "gather": lambda x: F.gather(x, F.constant(1, (2,)), axis=1),
    "sort": lambda x: F.sort(x, axis=1),
    "shift": lambda x: F.shift(x, (1, 1)),
    "pad by reflection": lambda x: F.pad(x, (1, 1), mode="reflect"),
    "comparison": lambda x: x * F.greater_scalar(x, 0.0),
    "binary": lambda x: F.where(F.less_scalar(x, 0.5), x, -x),
}


@pytest.mark.parametrize("name", [*DATA_PATH, "behind a frozen layer"])
def test_where_no_gradient_passes_they_do_no_harm(tmp_path, name):
    """From the data to the first trained layer: nn.grad agrees with nnabla's own backward."""

    def make(v):
        frozen = F.tanh(PF.affine(v["x"], (2, 6, 6), name="frozen"))
        x = DATA_PATH[name](v["x"]) if name in DATA_PATH else F.sort(frozen, axis=1)
        return F.squared_error(F.tanh(PF.affine(x, 3, name="a")), v["t"])

    shapes = {"x": (2, 6, 6), "t": (3,)}
    definition = load(tmp_path, *python_proto(make, shapes, trained={"a/affine/W", "a/affine/b"}))
    objective = build_objective(definition, 7, CPU, random_parameters(definition))
    losses(objective, x=RNG.randn(7, 2, 6, 6), y=RNG.randn(7, 3))
    for native, built in zip(*gradients(objective, RNG.rand(7))):
        assert np.abs(native).max() > 0
        np.testing.assert_allclose(built, native, atol=1e-6 * np.abs(native).max())
