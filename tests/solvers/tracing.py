"""A small training in float64, its derivatives by JAX, and the same derivatives by an adjoint."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import nnabla as nn
import numpy as np

from nnabla_influence.definition import SolverSettings
from nnabla_influence.solvers import Before, build_adjoint
from tests.rules import RULES, first_states
from tests.solvers.cases import CONTEXT

P, ROWS = 6, 5


def losses(theta, data):
    """Per-example losses with a full Hessian; they see only the elements that data has."""
    return jnp.sin(data @ theta) + 0.5 * jnp.sum(jnp.sin(data * theta) ** 2, axis=1)


def validation_loss(theta):
    return jnp.sum(jnp.sin(theta + 0.3) ** 2)


def mean_loss(theta, weights, data):
    return weights @ losses(theta, data)


_gradient = jax.jit(jax.grad(mean_loss))
_gradients = jax.jit(jax.jacobian(losses))
_hessian = jax.jit(jax.hessian(mean_loss))


@dataclass(frozen=True)
class Training:
    """Updates of a solver, from given parameters and states.

    Attributes:
        data: Shape (steps, ROWS, P).
        rates: Learning rates, by step.
        t: Updates done before the first of them.
    """

    solver: SolverSettings
    theta: np.ndarray
    states: dict
    data: np.ndarray
    rates: tuple[float, ...]
    t: int

    @property
    def weights(self):
        return np.full((len(self.rates), ROWS), 1 / ROWS)

    def run(self, theta, states, weights):
        """Return the parameters behind the last step, and what each step started from."""
        before = []
        for k, rate in enumerate(self.rates):
            g = _gradient(theta, weights[k], self.data[k])
            before.append((theta, g, states))
            theta, states = RULES[self.solver.name](
                *(theta, states, g, rate, self.t + k),
                *(self.solver.hyperparameters, self.solver.weight_decay),
            )
        return theta, before

    def derivatives(self):
        """dL/dtheta and dL/dstates at the beginning, and each row's influence (steps, ROWS)."""

        def loss(theta, states, weights):
            return validation_loss(self.run(theta, states, weights)[0])

        by_theta, by_states, by_weights = jax.grad(loss, argnums=(0, 1, 2))(
            jnp.asarray(self.theta), self.states, self.weights
        )
        return by_theta, by_states, -self.weights * by_weights

    def traced(self):
        """The same by the adjoint in float32; only H a and J a are JAX's."""
        theta, all_before = self.run(jnp.asarray(self.theta), self.states, self.weights)
        adjoint = build_adjoint(self.solver, flat(jax.grad(validation_loss)(theta)), CONTEXT)
        influence = np.zeros((len(self.rates), ROWS))
        for k in reversed(range(len(self.rates))):
            at, g, states = all_before[k]
            before = Before(flat(at), flat(g), {n: flat(s) for n, s in states.items()}, self.t + k)
            given = before if adjoint.needs_before else None
            a = np.array(adjoint.begin(self.rates[k], given).data, float)
            influence[k] = self.weights[k] * (_gradients(at, self.data[k]) @ a)
            adjoint.finish(flat(_hessian(at, self.weights[k], self.data[k]) @ a))
        vectors = {name: np.array(v.data, float) for name, v in adjoint.vectors().items()}
        return vectors.pop("u"), vectors, influence


def flat(values) -> nn.NdArray:
    return nn.NdArray.from_numpy_array(np.asarray(values, np.float32))


def training(
    solver: SolverSettings,
    *,
    rates=(0.05, 0.02, 0.0, 0.1, 0.03),
    t: int = 4,
    dead: bool = False,
    seed: int = 0,
) -> Training:
    """A training whose first states are random, or zero where it starts at t = 0."""
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(len(rates), ROWS, P))
    theta = rng.normal(size=P)
    if dead:
        data[..., 2] = 0.0
    states = first_states(solver.name, jnp.zeros(P))
    if t > 0:
        # As large as what the gradients of such data make them.
        first = {"m": 0.2, "mean": 0.2, "e_sqr_delta": 1e-4}
        drawn = {name: first.get(name, 0.4) * rng.normal(size=P) for name in states}
        signed = ("m", "mean")
        states = {n: v if n in signed else np.abs(v) + 1e-5 for n, v in drawn.items()}
        if dead:
            states = {n: np.where(np.arange(P) == 2, 0.0, v) for n, v in states.items()}
        states = {n: jnp.asarray(v) for n, v in states.items()}
    return Training(solver, theta, states, data, tuple(rates), t)
