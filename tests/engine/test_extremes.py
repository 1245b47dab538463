"""Large inputs, probabilities of 0 and labels below 0, in both engines."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import build_objective, ignoring_columns
from nnabla_influence.engine.numpy_functions import NP
from nnabla_influence.engine.numpy_functions.tape import Tape
from tests.definition.definitions import BATCH, CPU, load, python_proto, random_parameters
from tests.engine.functions import FunctionCase
from tests.engine.products import assert_products
from tests.engine.training import check_as_trained
from tests.reference import Reference

SCALE, ALPHA = 1.05070098735548, 1.673263242354377


def elu(x, alpha=1.0):
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(x, 0)))


CASES = {
    "elu": (F.elu, elu),
    "elu of another alpha": (lambda x: F.elu(x, 0.3), lambda x: elu(x, 0.3)),
    "selu": (F.selu, lambda x: SCALE * elu(x, ALPHA)),
    "celu": (F.celu, lambda x: jnp.concatenate([elu(x), elu(-x)], axis=1)),
    "celu of another alpha": (
        lambda x: F.celu(x, 0.3),
        lambda x: jnp.concatenate([elu(x, 0.3), elu(-x, 0.3)], axis=1),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_products_of_large_inputs_agree_with_float64_jax(build, tmp_path, name):
    function, reference_function = CASES[name]

    def make(v):
        hidden = function(PF.affine(v["x"], 4, name="a"))
        return F.squared_error(PF.affine(hidden, 1, name="b"), v["t"])

    def reference_losses(theta, inputs):
        hidden = reference_function(inputs["x"] @ theta["a/affine/W"] + theta["a/affine/b"])
        out = hidden @ theta["b/affine/W"] + theta["b/affine/b"]
        return ((out - inputs["y"]) ** 2).mean(axis=1)

    definition = load(tmp_path, *python_proto(make))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3)).astype(np.float32)
    x[1] *= 200
    x[2] *= -1000
    assert np.abs(x @ random_parameters(definition)["a/affine/W"]).max() > 200
    compare(
        build,
        definition,
        {"x": x, "y": rng.normal(size=(6, 1)).astype(np.float32)},
        reference_losses,
    )


@pytest.mark.slow
def test_probabilities_that_round_to_0(build, tmp_path):
    """KLMultinomial, whose gradient is that of a Softmax times a logarithm of it."""

    def make(v):
        p = F.softmax(PF.affine(v["x"], 4, name="a"), axis=1)
        return F.kl_multinomial(p, v["t"], base_axis=1)

    def reference_losses(theta, inputs):
        log = jax.nn.log_softmax(inputs["x"] @ theta["a/affine/W"] + theta["a/affine/b"])
        return (jnp.exp(log) * (log - jnp.log(inputs["y"]))).sum(axis=1)

    definition = load(tmp_path, *python_proto(make, {"x": (3,), "t": (4,)}))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3)).astype(np.float32)
    x[2:4] *= 400
    logits = x @ random_parameters(definition)["a/affine/W"]
    assert np.ptp(logits, axis=1).max() > 150
    y = rng.dirichlet(np.ones(4), size=6).astype(np.float32)
    compare(build, definition, {"x": x, "y": y}, reference_losses)


def compare(build, definition, inputs, reference_losses):
    parameters = random_parameters(definition)
    engine = build(build_objective(definition, len(inputs["x"]), CPU, parameters))
    names = list(engine.objective.parameters)
    assert_products(engine, Reference(reference_losses, parameters, names), inputs)


IGNORING = {
    "softmax": lambda v: F.softmax_cross_entropy(scores(v), labels(v), axis=1),
    "categorical": lambda v: F.categorical_cross_entropy(
        F.softmax(scores(v), axis=1), labels(v), axis=1
    ),
    "probabilities": lambda v: F.categorical_cross_entropy(
        0.1 + 0.7 * F.softmax(scores(v), axis=1), labels(v), axis=1
    ),
}


def scores(v):
    return F.reshape(PF.affine(v["x"], 8, name="a"), (BATCH, 4, 2))


def labels(v):
    return F.reshape(v["t"], (BATCH, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("name", IGNORING)
def test_labels_below_0_have_no_gradient(build, tmp_path, name):
    """Some of an example's labels, and all of them, the first example's too."""
    proto = python_proto(IGNORING[name], {"x": (3,), "t": (2,)})
    definition = load(tmp_path, *proto)
    assert [i.ignores_negative for i in definition.inputs] == [False, True]
    assert ignoring_columns(definition) == ("y",)

    def reference_losses(theta, inputs):
        z = (inputs["x"] @ theta["a/affine/W"] + theta["a/affine/b"]).reshape(-1, 4, 2)
        p = jax.nn.softmax(z, axis=1)
        p = 0.1 + 0.7 * p if name == "probabilities" else p
        chosen = jnp.take_along_axis(p, jnp.maximum(inputs["y"], 0).astype(int)[:, None], axis=1)
        return jnp.where(inputs["y"] < 0, 0, -jnp.log(chosen[:, 0])).mean(axis=1)

    rng = np.random.default_rng(0)
    y = np.array([[-1, -7], [2, -1], [0, 3], [-2, 1], [1, 1]], np.float32)
    compare(
        build,
        definition,
        {"x": rng.normal(size=(5, 3)).astype(np.float32), "y": y},
        reference_losses,
    )


MIXED = {
    "a regression beside it": lambda v: {
        "loss": F.softmax_cross_entropy(PF.affine(v["x"], 3, name="a"), v["t"]),
        "other": F.squared_error(PF.affine(v["x"], 1, name="b"), F.constant(0, (BATCH, 1))),
    },
    "an embedding": lambda v: F.softmax_cross_entropy(
        F.sum(PF.embed(v["t"], 5, 3, name="e"), axis=1) + PF.affine(v["x"], 3, name="a"), v["t"]
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_rows_that_count_in_another_way_are_not_ignored(tmp_path, name):
    assert ignoring_columns(load(tmp_path, *python_proto(MIXED[name]))) == ()


jax.config.update("jax_enable_x64", True)


def test_max_pooling_of_equal_values():
    """As in a plain part of an image: the first of them, and it alone."""
    x = np.random.default_rng(0).integers(0, 2, (2, 2, 6, 6)).astype(np.float32)
    check_as_trained(FunctionCase("equal", lambda x: F.max_pooling(x, (3, 3), (2, 2)), [x]))


def test_a_gradient_that_two_share_is_changed_for_neither():
    """A sum hands one gradient to both of its inputs, and one of them gets another, too."""
    tape = Tape()
    one, other = (tape.variable(np.ones(2)) for _ in range(2))
    halves = [NP.mul_scalar(v, 0.5) for v in (one, other)]
    doubled = NP.mul_scalar(halves[1], 2.0)
    tape.back([(halves[0] + halves[1] + doubled, np.ones(2))])
    np.testing.assert_array_equal(one.gradient, [0.5, 0.5])
    np.testing.assert_array_equal(other.gradient, [1.5, 1.5])
