"""ELU, SELU and CELU where nnabla's own second derivative is not a number."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest
from nnabla.backward_functions import registry

from nnabla_influence.gradients import Derivatives
from nnabla_influence.network import build_objective
from nnabla_influence.network.stable_backward import stable_backward
from tests.reference import Reference, float64

from .definitions import CPU, load, python_proto

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


@pytest.mark.parametrize("name", CASES)
def test_products_of_large_inputs_agree_with_float64_jax(tmp_path, name):
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
    parameters = {
        n: rng.normal(size=v.shape).astype(np.float32) for n, v in definition.parameters.items()
    }
    derivatives = Derivatives(build_objective(definition, 6, CPU, parameters), CPU)
    x = rng.normal(size=(6, 3)).astype(np.float32)
    x[1] *= 200
    x[2] *= -1000
    inputs = {"x": x, "y": rng.normal(size=(6, 1)).astype(np.float32)}
    assert np.abs(x @ parameters["a/affine/W"]).max() > 200
    reference = Reference(reference_losses, parameters, list(derivatives.objective.parameters))
    direction = rng.normal(size=derivatives.size).astype(np.float32)
    a, h = derivatives.zeros(), derivatives.zeros()
    a.data = direction
    products = derivatives.add_products(inputs, np.full(6, 1 / 6), a, h)

    tree, start = {}, 0
    for key, variable in derivatives.objective.parameters.items():
        tree[key] = direction[start : start + variable.size].reshape(variable.shape)
        start += variable.size
    wanted = reference.hessian(reference.theta, float64(tree), float64(inputs))
    wanted_h = np.concatenate([np.ravel(wanted[key]) for key in tree])
    by_example = reference.per_example(reference.theta, float64(tree), float64(inputs))
    np.testing.assert_allclose(products, by_example, rtol=1e-4)
    assert np.linalg.norm(h.data - wanted_h) < 1e-5 * np.linalg.norm(wanted_h)


def first_and_second(function, values):
    x = nn.Variable.from_numpy_array(values).apply(need_grad=True)
    graph = nn.grad([F.sum(function(x) ** 2)], [x])[0]
    both = F.sink(graph, one_input_grad=False)
    both.forward()
    graph.g = 1
    x.grad.zero()
    both.backward()
    return graph.d.tobytes(), x.g.tobytes()


@pytest.mark.parametrize("name", CASES)
def test_elsewhere_no_bit_changes(name):
    values = np.linspace(-80, 80, 1281, dtype=np.float32).reshape(-1, 1)  # 0 is one of them
    before = first_and_second(CASES[name][0], values)
    with stable_backward():
        assert first_and_second(CASES[name][0], values) == before


def test_nnabla_has_its_own_again_afterwards():
    own = dict(registry)
    with pytest.raises(ValueError), stable_backward():
        assert registry["ELU"] is not own["ELU"]
        raise ValueError
    assert dict(registry) == own


jax.config.update("jax_enable_x64", True)
