"""Both engines on the training network, batch statistics and running ones, against float64 JAX."""

from __future__ import annotations

import jax
import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import Mode, running_statistics
from nnabla_influence.engine import Engine
from tests.cases import CASES, Case
from tests.engine.products import (
    as_tree,
    assert_gradient,
    assert_products,
    flat,
    objective_of,
    relative,
    vector,
)
from tests.reference import Reference, float64

pytestmark = pytest.mark.slow

CASE = next(case for case in CASES if case.name == "cnn-batchnorm")
RUNNING = ["n1/bn/mean", "n1/bn/var", "n2/bn/mean", "n2/bn/var"]
DECAY = 0.9


def training_reference() -> Reference:
    parameters = CASE.parameters()
    return Reference(CASE.training_losses, parameters, CASE.trainable(parameters))


def random(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


def statistics_tree(engine: Engine, values: np.ndarray) -> dict:
    tree, start = {}, 0
    for statistic in engine.objective.statistics:
        size = statistic.value.size
        tree[statistic.name] = values[start : start + size].reshape(statistic.value.shape)
        start += size
    return tree


@pytest.mark.parametrize("n", [2, 5, 16])
def test_products_with_batch_statistics(build, tmp_path, n: int):
    engine = build(objective_of(CASE, tmp_path, n, Mode.TRAINING))
    inputs = CASE.inputs(n, seed=3)
    # Two examples, normalised, are 1 and -1 whatever they are, but for rounding and epsilon.
    assert_products(engine, training_reference(), inputs, 1e-4 if n == 2 else 1e-5)


def test_gradient_and_losses_with_batch_statistics(build, tmp_path):
    engine = build(objective_of(CASE, tmp_path, 7, Mode.TRAINING))
    assert_gradient(engine, training_reference(), CASE.inputs(7, seed=4))


@pytest.mark.parametrize("n", [2, 9])
def test_gradient_by_running_statistics_goes_on_to_the_parameters(build, tmp_path, n: int):
    engine = build(objective_of(CASE, tmp_path, n, Mode.TRAINING))
    reference = training_reference()
    inputs, weights = CASE.inputs(n, seed=6), np.full(n, 1 / n)
    a = vector(engine, random(engine.size, 5))
    size = sum(statistic.value.size for statistic in engine.objective.statistics)
    r_after = random(size, 7)
    r = nn.NdArray.from_numpy_array(r_after)
    without, h, alone = engine.zeros(), engine.zeros(), engine.zeros()
    engine.add_products(
        inputs, weights, engine.zeros(), alone, nn.NdArray.from_numpy_array(r_after)
    )
    products = engine.add_products(inputs, weights, a, without).losses
    np.testing.assert_array_equal(engine.add_products(inputs, weights, a, h, r).losses, products)
    assert relative(h.data, without.data + alone.data) < 1e-5

    assert [statistic.name for statistic in engine.objective.statistics] == RUNNING
    parameters = float64(CASE.parameters())

    def after(theta, running):
        moved = CASE.statistics({**parameters, **theta}, float64(inputs))
        return {k: DECAY * running[k] + (1 - DECAY) * moved[k] for k in RUNNING}

    running = {name: parameters[name] for name in RUNNING}
    _, back = jax.vjp(after, reference.theta, running)
    to_theta, to_running = back(float64(statistics_tree(engine, r_after)))
    assert relative(-alone.data, flat(engine, to_theta)) < 1e-5
    wanted_r = np.concatenate([np.ravel(to_running[name]) for name in RUNNING])
    assert relative(r.data, wanted_r) < 1e-6


def test_validation_gradient_reaches_the_running_statistics(build, tmp_path):
    engine = build(objective_of(CASE, tmp_path, 4, Mode.VALIDATION))
    parameters = CASE.parameters()
    names = [*CASE.trainable(parameters), *RUNNING]
    assert list(engine.objective.parameters) == names
    reference = Reference(CASE.losses, parameters, names)
    inputs = CASE.inputs(9, seed=4)
    gradient = engine.zeros()
    engine.add_gradient(inputs, np.full(9, 1 / 9), gradient)
    wanted = reference.gradient(reference.theta, float64(inputs))
    for name, part in as_tree(engine, gradient.data).items():
        # Beside the whole gradient: behind another normalisation's mean a bias has none.
        assert np.linalg.norm(part - wanted[name]) < 1e-6 * np.linalg.norm(gradient.data), name
    losses = reference.losses(reference.theta, float64(inputs))
    assert relative(engine.outputs(inputs).losses, losses) < 1e-5


@pytest.mark.parametrize("mode", [Mode.TRAINING, Mode.VALIDATION])
def test_without_batch_statistics_every_mode_is_the_test_mode(build, tmp_path, mode: Mode):
    case = next(case for case in CASES if case.name == "mlp-softmax")
    test = build(objective_of(case, tmp_path, 4, Mode.TEST))
    other = build(objective_of(case, tmp_path, 4, mode))
    assert running_statistics(other.objective.definition) == ()
    assert other.objective.statistics == ()
    assert list(other.objective.parameters) == list(test.objective.parameters)
    inputs, weights = case.inputs(6), np.full(6, 1 / 6)
    a = vector(test, random(test.size, 0))
    h, other_h = test.zeros(), test.zeros()
    products = test.add_products(inputs, weights, a, h).losses
    np.testing.assert_array_equal(other.add_products(inputs, weights, a, other_h).losses, products)
    np.testing.assert_array_equal(other_h.data, h.data)


@pytest.mark.parametrize("n", [3, 8])
def test_a_mini_batch_of_another_size_is_refused(build, tmp_path, n: int):
    engine = build(objective_of(CASE, tmp_path, 4, Mode.TRAINING))
    inputs, weights = CASE.inputs(n), np.full(n, 1 / n)
    for call in (
        lambda: engine.add_products(inputs, weights, engine.zeros(), engine.zeros()),
        lambda: engine.add_gradient(inputs, weights, engine.zeros()),
        lambda: engine.outputs(inputs),
    ):
        with pytest.raises(ValueError, match=f"{n} examples .* 4"):
            call()


def test_statistics_that_no_parameter_moves_only_decay(build, tmp_path):
    """A normalisation of the input itself: its statistics are the data's, whatever the weights."""

    def network(v):
        h = PF.batch_normalization(v["x"], no_scale=True, no_bias=True, name="n")
        return F.squared_error(PF.affine(F.tanh(h), 1, name="out"), v["y"])

    case = Case("frozen", {"x": (4,), "y": (1,)}, network, None, statistics=lambda p, v: {})
    engine = build(objective_of(case, tmp_path, 5, Mode.TRAINING))
    inputs, weights = case.inputs(5), np.full(5, 1 / 5)
    a = vector(engine, random(engine.size, 0))
    h, with_r = engine.zeros(), engine.zeros()
    r = nn.NdArray.from_numpy_array(np.arange(8, dtype=np.float32))
    products = engine.add_products(inputs, weights, a, h).losses
    np.testing.assert_array_equal(
        engine.add_products(inputs, weights, a, with_r, r).losses, products
    )
    np.testing.assert_array_equal(with_r.data, h.data)
    np.testing.assert_allclose(r.data, DECAY * np.arange(8), rtol=1e-6)
