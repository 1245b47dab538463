"""Each adjoint against the derivative of its solver's rule, taken by JAX in float64."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import nnabla as nn
import numpy as np
import pytest

from nnabla_influence.context import cpu_device
from nnabla_influence.errors import UnsupportedError
from nnabla_influence.solvers import build_adjoint, check_solver

CONTEXT = cpu_device("tests").context
P, ROWS = 6, 4


def sgd(theta, weights, gradients, eta, decay):
    """nnabla's rule, on the losses l_j = sum(sin(m_j * theta)) whose gradients are given."""
    g = weights @ gradients(theta)
    return theta - eta * (g + decay * theta)


@pytest.mark.parametrize("decay", [0.0, 0.03])
def test_sgd_over_three_steps(decay: float):
    rng = np.random.default_rng(0)
    m = rng.normal(size=(3, ROWS, P))
    theta = rng.normal(size=P)
    etas = [0.3, 0.0, 0.07]
    weights = np.full(ROWS, 1 / ROWS)

    def gradients(step):
        return lambda theta: m[step] * jnp.cos(m[step] * theta)

    def validation_loss(theta):
        return jnp.sum(jnp.sin(theta) ** 2)

    # Method `final`: every step at the same theta.
    u = jax.grad(validation_loss)(theta)
    adjoint_u = nn.NdArray.from_numpy_array(np.asarray(u, np.float32))
    adjoint = build_adjoint("Sgd", adjoint_u, decay, CONTEXT)
    for step in reversed(range(3)):
        _, back = jax.vjp(
            lambda theta, v, step=step: sgd(theta, v, gradients(step), etas[step], decay),
            *(theta, weights),
        )
        u_before, by_weight = back(u)
        a = adjoint.begin(etas[step]).data.astype(float)
        # Influence of a row: v_j <a, grad l_j> is minus its weight's derivative, times v_j.
        np.testing.assert_allclose(
            weights * (gradients(step)(theta) @ a), -weights * by_weight, rtol=1e-5, atol=1e-9
        )
        hessian = jax.jacobian(lambda theta, step=step: weights @ gradients(step)(theta))(theta)
        adjoint.finish(nn.NdArray.from_numpy_array(np.asarray(hessian @ a, np.float32)))
        np.testing.assert_allclose(adjoint.u.data, u_before, rtol=1e-5, atol=1e-6)
        u = u_before
    assert adjoint.u is adjoint_u


@pytest.mark.parametrize("name", ["Momentum", "Adam", "Nesterov", "RMSprop", "sgd"])
def test_other_solvers_are_refused_by_name(name: str):
    message = rf"net.nnp: solver {name} cannot be traced back .* train with one of Sgd"
    with pytest.raises(UnsupportedError, match=message):
        check_solver(name, Path("net.nnp"))


@pytest.mark.parametrize("decay", [-0.1, float("nan"), float("inf")])
def test_weight_decay_that_is_none(decay: float):
    with pytest.raises(UnsupportedError, match=f"weight decay {decay} is not a number from 0 up"):
        build_adjoint("Sgd", nn.NdArray((P,)), decay, CONTEXT)
