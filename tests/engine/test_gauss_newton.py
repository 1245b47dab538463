"""The Gauss-Newton product and the tangents of the outputs, against dense ones in float64 JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import Mode
from nnabla_influence.engine import Engine
from nnabla_influence.errors import UnsupportedError
from tests import cases
from tests.cases import CASES, Case
from tests.engine.products import objective_of, relative, vector
from tests.reference import float64

pytestmark = pytest.mark.slow


class Split(NamedTuple):
    """A case's losses, as functions of its outputs.

    Attributes:
        outputs: (parameters, inputs) -> z.
        losses: (z, inputs) -> per-example losses.
        mode: Of the objective.
    """

    outputs: Callable[[Any, Any], Any]
    losses: Callable[[Any, Any], Any]
    mode: Mode = Mode.TEST


def _categories(z, v):
    return cases._cross_entropy(z, v["y"])


def _mlp(p, v):
    h = jnp.tanh(cases._affine(p, "h1", v["x"]))
    return cases._affine(p, "out", jax.nn.relu(cases._affine(p, "h2", h)))


def _soft_binary(p, v):
    return cases._affine(p, "out", jnp.tanh(cases._affine(p, "h1", v["x"])))


def _soft_binary_loss(z, v):
    return (jax.nn.softplus(z) - v["x"] * z).mean(1)


def _two_inputs(p, v):
    h = jnp.tanh(cases._affine(p, "l", v["left"])) * jax.nn.sigmoid(
        cases._affine(p, "r", v["right"])
    )
    return cases._affine(p, "out", h)


def _normalized(p, v, layer):
    h = jax.nn.relu(layer(p, "n1", cases._convolution(p, "c1", v["x"], 1)))
    h = cases._affine(p, "a1", cases._pool(h, jax.lax.max, -jnp.inf))
    return cases._affine(p, "out", jnp.tanh(layer(p, "n2", h)))


def _by_batch(p, v):
    return _normalized(
        p, v, lambda *given: cases._batch_normalization_in_training(*given, statistics={})
    )


SPLIT = {
    "mlp-softmax": Split(_mlp, _categories),
    "autoencoder-soft-binary": Split(_soft_binary, _soft_binary_loss),
    "two-inputs-huber": Split(_two_inputs, lambda z, v: cases._huber(z, v["target"])),
    "cnn-batchnorm": Split(_by_batch, _categories, Mode.TRAINING),
}


def by_name(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def dense(split: Split, engine: Engine, case: Case, inputs) -> tuple[np.ndarray, np.ndarray]:
    """Return the Jacobian of the outputs (n, k, p), and each loss's Hessian by them (n, k, k)."""
    parameters, v = float64(case.parameters()), float64(inputs)
    theta = {name: parameters[name] for name in engine.objective.parameters}
    z = split.outputs(parameters, v)
    n = len(z)
    found = jax.jacfwd(lambda t: split.outputs({**parameters, **t}, v))(theta)
    jacobian = np.concatenate([found[name].reshape(n, z[0].size, -1) for name in theta], axis=2)
    bend = jax.hessian(lambda z: split.losses(z, v).sum())(z)
    return jacobian, np.asarray(bend)[np.arange(n), :, np.arange(n)]


@pytest.mark.parametrize(
    ("name", "n", "chunk"),
    [
        ("mlp-softmax", 11, 4),
        ("autoencoder-soft-binary", 8, 8),
        ("two-inputs-huber", 5, 2),
        ("cnn-batchnorm", 7, 7),
    ],
)
def test_products_agree_with_the_dense_matrix(build, tmp_path, name: str, n: int, chunk: int):
    case, split = by_name(name), SPLIT[name]
    engine = build(objective_of(case, tmp_path, chunk, split.mode))
    inputs, weights = case.inputs(n, seed=3), np.random.default_rng(4).uniform(0.05, 0.2, n)
    u = np.random.default_rng(5).normal(size=engine.size).astype(np.float32)
    jacobian, bend = dense(split, engine, case, inputs)
    h, plain = engine.zeros(), engine.zeros()
    tangents = engine.add_products(inputs, weights, vector(engine, u), h, gauss_newton=True)
    along = jacobian @ u.astype(np.float64)
    assert relative(tangents.outputs.reshape(along.shape), along) < 1e-5
    wanted = np.einsum("n,nkp,nkl,nl->p", weights, jacobian, bend, along)
    assert relative(h.data, wanted) < 1e-5
    z = split.outputs(float64(case.parameters()), float64(inputs))
    assert relative(engine.outputs(inputs).values, z) < 1e-5
    # Along the same u, the Hessian's tangents are the same, and its product is another.
    same = engine.add_products(inputs, weights, vector(engine, u), plain)
    np.testing.assert_allclose(same.losses, tangents.losses, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(same.outputs, tangents.outputs)
    assert relative(plain.data, wanted) > 1e-3


def test_running_statistics_are_taken_back_beside_it(build, tmp_path):
    """What goes through r is no matter of which matrix it is."""
    case = by_name("cnn-batchnorm")
    engine = build(objective_of(case, tmp_path, 7, Mode.TRAINING))
    inputs, weights = case.inputs(7), np.full(7, 1 / 7)
    rng = np.random.default_rng(2)
    u = vector(engine, rng.normal(size=engine.size).astype(np.float32))
    size = sum(statistic.value.size for statistic in engine.objective.statistics)
    given = rng.normal(size=size).astype(np.float32)

    def through(gauss_newton: bool) -> np.ndarray:
        without, h, r = engine.zeros(), engine.zeros(), type(u).from_numpy_array(given)
        engine.add_products(inputs, weights, u, without, gauss_newton=gauss_newton)
        engine.add_products(inputs, weights, u, h, r, gauss_newton=gauss_newton)
        np.testing.assert_allclose(r.data, 0.9 * given, rtol=1e-6)
        return h.data - without.data

    assert relative(through(True), through(False)) < 1e-5


def _regression(v, name="out"):
    return PF.affine(F.tanh(PF.affine(v["x"], 3, name="h")), 1, name=name)


@pytest.mark.parametrize(
    "loss",
    [
        lambda v: F.squared_error(_regression(v), v["y"]) + F.absolute_error(v["y"], 1.0 + v["y"]),
        lambda v: F.squared_error(_regression(v, "one"), _regression(v, "two") + v["y"]),
        lambda v: F.exp(_regression(v) - v["y"]),
    ],
    ids=["a sum", "a target that moves", "no comparison"],
)
def test_what_is_no_comparison_has_none(build, tmp_path, loss):
    case = Case("none", {"x": (4,), "y": (1,)}, loss, None)
    engine = build(objective_of(case, tmp_path, 3))
    inputs, weights, u = case.inputs(3), np.full(3, 1 / 3), engine.zeros()
    with pytest.raises(UnsupportedError, match="Gauss-Newton"):
        engine.add_products(inputs, weights, u, engine.zeros(), gauss_newton=True)
    assert engine.add_products(inputs, weights, u, engine.zeros()).outputs is None


def test_outputs_may_be_the_second_input(build, tmp_path):
    """The same whichever of a squared error's inputs is the target."""
    found = []
    for turned in (False, True):

        def network(v, turned=turned):
            both = (_regression(v), v["y"])
            return F.squared_error(*both[::-1]) if turned else F.squared_error(*both)

        case = Case("turned", {"x": (4,), "y": (1,)}, network, None)
        engine = build(objective_of(case, tmp_path, 3))
        u, h = vector(engine, np.linspace(-1, 1, engine.size)), engine.zeros()
        along = engine.add_products(case.inputs(5), np.full(5, 0.2), u, h, gauss_newton=True)
        found.append((along.outputs, h.data.copy()))
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
