"""Per-example losses against NumPy in float64; the sum that nnabla_cli's training descends on."""

from __future__ import annotations

import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest
from nnabla.parameter import get_parameter

from nnabla_influence.definition import build_objective
from nnabla_influence.errors import ModelError, UnsupportedError

from .definitions import BATCH, CPU, build, load, losses, python_proto

RNG = np.random.RandomState(0)
X = RNG.randn(7, 3).astype(np.float32)
LABELS = RNG.randint(0, 4, (7, 1)).astype(np.float32)
BITS = RNG.randint(0, 2, (7, 4)).astype(np.float32)
TARGETS = RNG.randn(7, 4).astype(np.float32)


def scores(parameters, x=X):
    """The affine layer, in float64."""
    weights, bias = (parameters[f"a/affine/{name}"].astype(np.float64) for name in "Wb")
    return x.astype(np.float64) @ weights + bias


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def picked(p, labels):
    return p[np.arange(len(p)), labels[:, 0].astype(int)]


def cross_entropy(z, t):
    return -np.log(picked(softmax(z), t))


def logistic(z, t):
    return np.mean(np.logaddexp(0, z) - t * z, axis=1)


def squared(z, t):
    return np.mean((z - t) ** 2, axis=1)


def absolute(z, t):
    return np.mean(np.abs(z - t), axis=1)


def square(x):
    return F.reshape(x, (BATCH, 2, 2))


# The loss, its targets, and the same in NumPy; tests/cases.py has the simpler ones.
CASES = {
    "sigmoid cross entropy of several outputs": (F.sigmoid_cross_entropy, BITS, logistic),
    "binary cross entropy of several outputs": (
        lambda z, t: F.binary_cross_entropy(F.sigmoid(z), t),
        BITS,
        logistic,
    ),
    "squared error over three axes": (
        lambda z, t: F.squared_error(square(z), square(t)),
        TARGETS,
        squared,
    ),
    "absolute error": (F.absolute_error, TARGETS, absolute),
    "epsilon insensitive loss": (
        lambda z, t: F.epsilon_insensitive_loss(z, t, 0.3),
        TARGETS,
        lambda z, t: np.mean(np.maximum(np.abs(z - t) - 0.3, 0), axis=1),
    ),
    "kl divergence": (
        lambda z, t: F.kl_multinomial(F.softmax(z), F.softmax(t)),
        TARGETS,
        lambda z, t: np.sum(softmax(z) * np.log(softmax(z) / softmax(t)), axis=1),
    ),
    "mean over the batch, saved from a script": (
        lambda z, t: F.mean(F.softmax_cross_entropy(z, t)),
        LABELS,
        cross_entropy,
    ),
    "mean over the batch axis alone": (
        lambda z, t: F.mean(F.squared_error(z, t), axis=0),
        TARGETS,
        squared,
    ),
    "weighted sum of means": (
        lambda z, t: 3 + 0.5 * F.mean(F.squared_error(z, t)) - 2 * F.mean(F.absolute_error(z, t)),
        TARGETS,
        lambda z, t: 3 + 0.5 * squared(z, t) - 2 * absolute(z, t),
    ),
    "sum of three means": (
        lambda z, t: F.add_n(F.mean(F.squared_error(z, t)), F.mean(z), F.mean(t)),
        TARGETS,
        lambda z, t: squared(z, t) + np.mean(z + t, axis=1),
    ),
    "several loss variables": (
        lambda z, t: {"a": F.squared_error(z, t), "b": F.sum(F.absolute_error(z, t), axis=1)},
        TARGETS,
        lambda z, t: squared(z, t) + 4 * absolute(z, t),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_losses_are_those_of_the_formula(tmp_path, name):
    loss, targets, formula = CASES[name]
    proto, parameters = python_proto(
        lambda v: loss(PF.affine(v["x"], 4, name="a"), v["t"]),
        {"x": (3,), "t": targets.shape[1:]},
    )
    # At another batch size than the file's, too.
    objective = build(tmp_path, proto, parameters, batch_size=7)
    found = losses(objective, x=X, y=targets)
    assert found.shape == (7,)
    assert objective.penalty is None
    expected = formula(scores(parameters), targets.astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)


def norm_of_the_weights(v):
    loss = F.squared_error(PF.affine(v["x"], 4, name="a"), v["t"])
    weights = get_parameter("a/affine/W")
    return {"fit": loss, "norm": 0.01 * F.mean(F.abs(weights), axis=0)}


def norm_within_a_scalar(v):
    loss = F.mean(F.squared_error(PF.affine(v["x"], 4, name="a"), v["t"]))
    return loss + 0.01 * F.mean(F.abs(get_parameter("a/affine/W")))


@pytest.mark.parametrize("make", [norm_of_the_weights, norm_within_a_scalar])
def test_a_penalty_on_the_weights_belongs_to_no_example(tmp_path, make):
    proto, parameters = python_proto(make, {"x": (3,), "t": (4,)})
    objective = build(tmp_path, proto, parameters, batch_size=7)
    found = losses(objective, x=X, y=TARGETS)
    expected = np.mean((scores(parameters) - TARGETS) ** 2, axis=1)
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    objective.penalty.forward()
    norm = 0.01 * np.abs(parameters["a/affine/W"].astype(np.float64)).mean()
    np.testing.assert_allclose(objective.penalty.d, norm, rtol=2e-6)


def test_losses_of_no_example_are_refused(tmp_path):
    def total(v):
        return F.sum(F.squared_error(PF.affine(v["x"], 1, name="a"), v["t"]))

    with pytest.raises(UnsupportedError, match=r"net\.nnp: the loss 'loss' .* Sum "):
        build_objective(load(tmp_path, *python_proto(total)), BATCH, CPU)

    def without_data(v):
        fit = F.squared_error(PF.affine(v["x"], 1, name="a"), v["t"])
        return {"fit": fit, "norm": F.mean(get_parameter("a/affine/W") ** 2)}

    proto, parameters = python_proto(without_data)
    del proto.optimizer[0].loss_variable[0]
    with pytest.raises(ModelError, match=r"net\.nnp: .*no input"):
        load(tmp_path, proto, parameters)
