"""J u and H u of both engines against float64 JAX, on every case."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from tests.cases import CASES, Case
from tests.engine.products import (
    CONTEXT,
    as_tree,
    assert_gradient,
    assert_products,
    objective_by_hand,
    objective_of,
    vector,
)
from tests.reference import Reference, float64


def reference_of(case: Case, parameters=None) -> Reference:
    parameters = parameters or case.parameters()
    return Reference(case.losses, parameters, case.trainable(parameters))


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request) -> Case:
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize(("n", "chunk"), [(8, 8), (11, 4), (1, 2), (5, 16)])
def test_products_agree_with_float64_jax(build, case: Case, tmp_path, n: int, chunk: int):
    engine = build(objective_of(case, tmp_path, chunk))
    assert list(engine.objective.parameters) == case.trainable(case.parameters())
    assert_products(engine, reference_of(case), case.inputs(n, seed=3))


@pytest.mark.slow
def test_gradient_and_losses_agree_with_float64_jax(build, case: Case, tmp_path):
    assert_gradient(
        build(objective_of(case, tmp_path, 4)), reference_of(case), case.inputs(9, seed=4)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp-binary", "mlp-categorical"])
def test_confident_outputs_do_not_cost_accuracy(build, name: str, tmp_path):
    """Losses of probabilities that round to 1 in float32: the products stay right."""
    case = next(case for case in CASES if case.name == name)
    parameters = {k: 6 * v for k, v in case.parameters().items()}
    engine = build(objective_of(case, tmp_path, 8, parameters=parameters))
    reference, inputs = reference_of(case, parameters), case.inputs(20, seed=3)
    assert np.max(reference.losses(reference.theta, float64(inputs))) > 20
    assert_products(engine, reference, inputs)


def test_products_add_to_h_and_leave_u_untouched(build, tmp_path):
    engine = build(objective_of(CASES[1], tmp_path, 4))
    inputs = CASES[1].inputs(6)
    a = vector(engine, np.linspace(-1, 1, engine.size))
    before = a.data.copy()
    once, twice = engine.zeros(), engine.zeros()
    engine.add_products(inputs, np.full(6, 1 / 6), a, once)
    for _ in range(2):
        engine.add_products(inputs, np.full(6, 1 / 6), a, twice)
    np.testing.assert_array_equal(a.data, before)
    np.testing.assert_allclose(twice.data, 2 * once.data, rtol=1e-5)


def test_what_fills_up_a_chunk_is_inside_of_a_domain(build, tmp_path):
    """Not zeros, whose logarithm times the weight 0 is not a number."""

    def network(v):
        return F.squared_error(PF.affine(F.log(v["x"]), 1, name="out"), v["y"])

    case = Case("logarithms", {"x": (3,), "y": (1,)}, network, None, unit=("x",))
    engine = build(objective_of(case, tmp_path, 4))
    h, gradient = engine.zeros(), engine.zeros()
    u, weights = vector(engine, np.ones(engine.size)), np.full(5, 0.2)
    engine.add_products(case.inputs(5), weights, u, h)
    engine.add_gradient(case.inputs(5), weights, gradient)
    assert np.isfinite(h.data).all()
    assert np.isfinite(gradient.data).all()


def test_other_parameters_are_those_of_a_new_engine(build, tmp_path):
    """Those that no derivative is taken by, too: running statistics."""
    case = next(case for case in CASES if case.name == "cnn-batchnorm")
    other = case.parameters(seed=5)
    new = build(objective_of(case, tmp_path, 4, parameters=other))
    engine = build(objective_of(case, tmp_path, 4))
    engine.set_parameters(other)
    found = []
    for each in (new, engine):
        h = each.zeros()
        u = vector(each, np.linspace(-1, 1, each.size))
        along = each.add_products(case.inputs(6), np.full(6, 1 / 6), u, h).losses
        found.append((*vars(each.outputs(case.inputs(6))).values(), along, h.data.copy()))
    for wanted, got in zip(*found):
        np.testing.assert_array_equal(got, wanted)


def test_penalty_is_in_the_hessian_once_and_in_no_example(build, tmp_path):
    """mean(l) + 0.3 sum(W^2): H gets 0.6 a at W; J and the validation gradient get nothing."""
    case = CASES[1]
    plain = build(objective_of(case, tmp_path, 4))
    with nn.parameter_scope("", scope={}), nn.context_scope(CONTEXT):
        inputs = {k: nn.Variable((4, *shape)) for k, shape in case.shapes.items()}
        losses = F.reshape(case.build(inputs), (4,))
        for name, value in case.parameters().items():
            nn.parameter.get_parameter(name).d = value
        parameters = dict(sorted(nn.get_parameters().items()))
        penalty = 0.3 * F.sum(parameters["out/affine/W"] ** 2)
        penalized = build(objective_by_hand(inputs, parameters, losses, penalty))
    data, weights = case.inputs(11), np.full(11, 1 / 11)  # three chunks
    a = vector(plain, np.linspace(-1, 1, plain.size))
    h_plain, h_penalized = plain.zeros(), penalized.zeros()
    along = plain.add_products(data, weights, a, h_plain).losses
    np.testing.assert_allclose(
        penalized.add_products(data, weights, a, h_penalized).losses, along, rtol=1e-5
    )
    extra = as_tree(penalized, h_penalized.data - h_plain.data)
    for name, part in as_tree(penalized, a.data).items():
        wanted = 0.6 * part if name == "out/affine/W" else 0 * part
        np.testing.assert_allclose(extra[name], wanted, atol=1e-5)
    gradients = plain.zeros(), penalized.zeros()
    plain.add_gradient(data, weights, gradients[0])
    penalized.add_gradient(data, weights, gradients[1])
    np.testing.assert_allclose(gradients[1].data, gradients[0].data, rtol=1e-5, atol=1e-7)


def test_parameters_are_its_own(build, tmp_path):
    """What a caller does to an array later on, such as a training that goes on, changes nothing."""
    case = CASES[1]
    engine, inputs = build(objective_of(case, tmp_path, 4)), case.inputs(4)
    values = case.parameters(seed=9)
    engine.set_parameters(values)
    before = engine.outputs(inputs).losses
    for value in values.values():
        value += 1
    np.testing.assert_array_equal(engine.outputs(inputs).losses, before)
