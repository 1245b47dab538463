"""Batch normalisation written out, against nnabla's own training network."""

from __future__ import annotations

import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import Mode, build_objective, running_statistics
from nnabla_influence.errors import UnsupportedError

from .definitions import (
    CPU,
    Native,
    load,
    looped,
    losses,
    python_proto,
    random_parameters,
    synchronise,
)

RNG = np.random.RandomState(0)
N = 7
X = RNG.randn(N, 3).astype(np.float32)
T = RNG.randn(N, 1).astype(np.float32)
IMAGES = {"x": (3, 4, 5), "t": (1,)}
X_IMAGES = RNG.randn(N, 3, 4, 5).astype(np.float32)


def on_hidden(*normalize):
    """A network with normalisations of hidden values, one behind the other."""

    def make(v):
        h = PF.affine(v["x"], 4, name="a")
        for normalization in normalize:
            h = F.tanh(normalization(h))
        return F.squared_error(PF.affine(h, 1, name="b"), v["t"])

    return make


def normalized(**settings):
    return lambda h: PF.batch_normalization(h, **{"name": "n", **settings})


def siamese(v):
    def branch(x):
        return normalized(decay_rate=0.7)(PF.affine(x, 4, name="a"))

    difference = branch(F.sin(v["x"])) - branch(F.exp(v["x"]))
    return F.squared_error(F.sum(difference**2, axis=1, keepdims=True), v["t"])


def siamese_fused(v):
    """z is computed before the normalisation that it is added to, and uses the same statistics."""
    x = PF.affine(v["x"], 4, name="a")
    z = normalized(decay_rate=0.6)(F.exp(x))
    h = PF.fused_batch_normalization(x, z=z, decay_rate=0.8, name="n")
    return F.squared_error(PF.affine(h, 1, name="b"), v["t"])


def with_statistics_out(h):
    y, mean, variance = PF.batch_normalization(h, output_stat=True, name="n")
    return y * (mean + F.sin(variance))


def on_images(axis):
    def make(v):
        h = PF.batch_normalization(F.sin(v["x"] * 0.9), axes=[axis], decay_rate=0.8, name="n")
        h = F.relu(PF.convolution(h, 4, (3, 3), name="c"))
        h = PF.batch_normalization(h, axes=[axis], eps=1e-2, name="m")
        return F.squared_error(PF.affine(h, 1, name="b"), v["t"])

    return make


NETWORKS = {
    "normalised": on_hidden(normalized()),
    "twice": on_hidden(normalized(), normalized(name="m", decay_rate=0.5)),
    "without scale": on_hidden(normalized(no_scale=True)),
    "without bias": on_hidden(normalized(no_bias=True)),
    "without both": on_hidden(normalized(no_scale=True, no_bias=True)),
    "large eps": on_hidden(normalized(eps=0.3)),
    "fused": on_hidden(lambda h: PF.fused_batch_normalization(h, decay_rate=0.8, name="n")),
    "fused with a sum": on_hidden(
        lambda h: PF.fused_batch_normalization(h, z=F.sin(h), decay_rate=0.8, name="n")
    ),
    "some as constants": on_hidden(normalized(), normalized(name="m", batch_stat=False)),
    "statistics that are read": on_hidden(with_statistics_out),
    "one for two, in a row": on_hidden(normalized(), normalized()),
    "one for two, side by side": siamese,
    "one for two, in a fused one": siamese_fused,
    "images": on_images(1),
    "images by another axis": on_images(-1),
}


class Trained(Native):
    """The training network as the file has it."""

    def run(self, x, t):
        for variable in self.parameters.values():
            variable.grad.zero()
        losses = self.losses(x=x, t=t)
        self.loss.backward(1 / N)
        return losses


def written_out(tmp_path, name, mode=Mode.TRAINING):
    shapes = IMAGES if name.startswith("images") else None
    definition = load(tmp_path, *python_proto(NETWORKS[name], shapes))
    values = random_parameters(definition)
    x = X_IMAGES if shapes else X
    return definition, values, x, build_objective(definition, N, CPU, values, mode)


@pytest.mark.parametrize("name", NETWORKS)
def test_training_mode_is_the_training_network(tmp_path, name):
    definition, values, x, objective = written_out(tmp_path, name)
    native = Trained(definition, values, N)
    expected = native.run(x, T)
    np.testing.assert_allclose(losses(objective, x=x, y=T), expected, rtol=1e-4)

    for variable in objective.parameters.values():
        variable.grad.zero()
    mean = F.mean(objective.losses)
    mean.forward()
    mean.backward()
    size = max(np.abs(native.parameters[n].g).max() for n in objective.parameters)
    for parameter, variable in objective.parameters.items():
        np.testing.assert_allclose(
            variable.g, native.parameters[parameter].g, atol=1e-5 * size, err_msg=parameter
        )

    moved = {n for n, v in native.parameters.items() if not np.array_equal(v.d, values[n])}
    assert moved
    assert [statistic.name for statistic in objective.statistics] == sorted(moved)
    assert running_statistics(definition) == tuple(sorted(moved))
    check_statistics(objective, values, {n: native.parameters[n].d for n in moved}, rtol=1e-4)


def check_statistics(objective, values, moved, rtol=1e-5):
    """Running statistics: what they were, moved towards the mini-batch's."""
    for statistic in objective.statistics:
        statistic.value.forward()
        d = statistic.decay_rate
        found = d * values[statistic.name] + (1 - d) * statistic.value.d
        np.testing.assert_allclose(found, moved[statistic.name], rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "statistics that are read"])
def test_validation_mode_is_the_test_mode_with_more_parameters(tmp_path, name):
    definition, values, x, objective = written_out(tmp_path, name, Mode.VALIDATION)
    test = build_objective(definition, N, CPU, values)
    found = losses(objective, x=x, y=T)
    np.testing.assert_allclose(found, losses(test, x=x, y=T), rtol=1e-5)
    assert tuple(test.parameters) == definition.trainable
    running = running_statistics(definition)
    assert tuple(objective.parameters) == (*definition.trainable, *running)
    assert {*test.buffers} == {*objective.buffers, *running}
    assert objective.statistics == test.statistics == ()


def test_a_normalisation_in_a_loop_moves_its_statistics_twice(tmp_path):
    """h <- tanh(normalise(h)) twice with one mean and variance; as a formula, in float64."""
    settings = {"axes": [1], "decay_rate": 0.75, "eps": 1e-3, "batch_stat": True}
    names = ("beta", "gamma", "mean", "var")
    normalization = {
        "type": "BatchNormalization",
        "input": names,
        "batch_normalization_param": settings,
    }
    proto = looped([normalization, {"type": "Tanh"}], dict.fromkeys(names, (1, 3)))
    definition = load(tmp_path, proto)
    values = random_parameters(definition)
    objective = build_objective(definition, N, CPU, values, Mode.TRAINING)
    t = RNG.randn(N, 3)
    found = losses(objective, x=X, y=t)
    h, running = X.astype(float), {n: values[n].astype(float) for n in ("mean", "var")}
    for _ in range(2):
        mean, variance = h.mean(0, keepdims=True), h.var(0, keepdims=True)
        running["mean"] = 0.75 * running["mean"] + 0.25 * mean
        running["var"] = 0.75 * running["var"] + 0.25 * variance * N / (N - 1)
        h = (h - mean) / np.sqrt(variance + 1e-3)
        h = np.tanh(h * values["gamma"] + values["beta"])
    np.testing.assert_allclose(found, ((h - t) ** 2).mean(1), rtol=1e-5)
    assert [s.name for s in objective.statistics] == ["mean", "var"]
    assert [s.decay_rate for s in objective.statistics] == pytest.approx([0.75**2] * 2)
    check_statistics(objective, values, running)


def test_synchronised_normalisations_count_too(tmp_path):
    proto, parameters = python_proto(NETWORKS["normalised"])
    plain = load(tmp_path, proto, parameters)
    values = random_parameters(plain)
    synchronise(proto)
    definition = load(tmp_path, proto, parameters)
    assert running_statistics(definition) == ("n/bn/mean", "n/bn/var")
    found = losses(build_objective(definition, N, CPU, values, Mode.TRAINING), x=X, y=T)
    expected = losses(build_objective(plain, N, CPU, values, Mode.TRAINING), x=X, y=T)
    np.testing.assert_array_equal(found, expected)


def test_training_mode_moves_and_reads_no_running_statistics(tmp_path):
    definition, values, x, objective = written_out(tmp_path, "normalised")
    before = {name: value.copy() for name, value in values.items()}
    test = build_objective(definition, N, CPU, values)
    alone = losses(test, x=x, y=T)
    found = losses(objective, x=x, y=T)
    others = {n: v + 5 if n.endswith(("mean", "var")) else v for n, v in values.items()}
    objective.set_parameters(others)
    np.testing.assert_array_equal(losses(objective, x=x, y=T), found)
    without = {n: v for n, v in values.items() if not n.endswith(("mean", "var"))}
    objective.set_parameters(without)  # nor does it ask for them
    assert not objective.buffers
    np.testing.assert_array_equal(losses(test, x=x, y=T), alone)
    for name, value in before.items():
        np.testing.assert_array_equal(values[name], value)
    assert not np.allclose(found, alone, rtol=0.01)


def test_a_channel_with_a_large_mean_keeps_its_variance(tmp_path):
    """Where nnabla's difference of squares loses everything: mean 1000, variance 1."""
    x = RNG.randn(N, 3) + 1000

    def make(v):
        h = PF.batch_normalization(v["x"], no_scale=True, no_bias=True, name="n")
        return F.squared_error(PF.affine(h, 1, name="b"), v["t"])

    definition = load(tmp_path, *python_proto(make))
    values = random_parameters(definition)
    objective = build_objective(definition, N, CPU, values, Mode.TRAINING)
    found = losses(objective, x=x, y=T)
    x32 = x.astype(np.float32).astype(float)
    h = (x32 - x32.mean(0)) / np.sqrt(x32.var(0) + 1e-5)
    wanted = (h @ values["b/affine/W"] + values["b/affine/b"] - T)[:, 0] ** 2
    np.testing.assert_allclose(found, wanted, rtol=2e-3)
    objective.statistics[1].value.forward()
    np.testing.assert_allclose(objective.statistics[1].value.d[0], x32.var(0, ddof=1), rtol=1e-3)


# What exact scores cannot follow


def mean_subtraction(v):
    x = PF.mean_subtraction(v["x"], base_axis=1, name="m")
    return F.squared_error(PF.affine(x, 1, name="b"), v["t"])


CONSTANT_TOO = on_hidden(normalized(), normalized(batch_stat=False))
REFUSED = [  # network, mode, batch size, and what the error names
    (CONSTANT_TOO, Mode.TRAINING, N, r"BatchNormalization \(layer '.*'n/bn/mean'"),
    (CONSTANT_TOO, Mode.VALIDATION, N, r"BatchNormalization \(layer '.*'n/bn/mean'"),
    (on_hidden(normalized()), Mode.TRAINING, 1, "batch normalisation '.*' has no variance"),
    (mean_subtraction, Mode.TRAINING, N, "MeanSubtraction .*running mean"),
]


@pytest.mark.parametrize(("make", "mode", "batch_size", "named"), REFUSED)
def test_what_exact_scores_cannot_follow_is_refused(tmp_path, make, mode, batch_size, named):
    definition = load(tmp_path, *python_proto(make))
    with pytest.raises(UnsupportedError, match=named):
        build_objective(definition, batch_size, CPU, mode=mode)


def test_constants_and_the_values_of_one_image_are_accepted(tmp_path):
    definition = load(tmp_path, *python_proto(CONSTANT_TOO))
    assert build_objective(definition, N, CPU).batch_size == N  # in test mode it is a constant
    images = load(tmp_path, *python_proto(NETWORKS["images"], IMAGES))
    assert build_objective(images, 1, CPU, mode=Mode.TRAINING).batch_size == 1
