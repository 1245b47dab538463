"""Elements whose second moment is 0 at the end stand still where the final state is every step's.

The yardstick is JAX's pull-back of the rule in float64, at one state, with the element held.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnabla_influence.solvers import Before, SolverState, build_adjoint, with_still_elements
from nnabla_influence.solvers.state import SECOND_MOMENT, STATE_NAMES
from tests.rules import RULES
from tests.solvers.cases import CONTEXT, HYPER, settings
from tests.solvers.test_adjoints import relative_error
from tests.solvers.tracing import (
    ROWS,
    P,
    Training,
    _gradient,
    _gradients,
    _hessian,
    flat,
    training,
    validation_loss,
)

STILL = np.arange(P) == 2
DIVIDED = [case for case in HYPER if case.split()[0] in SECOND_MOMENT]


def at_one_state(trained: Training, states) -> np.ndarray:
    """Return each row's influence (steps, ROWS) by the adjoint, every step at the same state."""
    theta = jnp.asarray(trained.theta)
    adjoint = build_adjoint(trained.solver, flat(jax.grad(validation_loss)(theta)), CONTEXT)
    influence = np.zeros((len(trained.rates), ROWS))
    given = {name: flat(value) for name, value in states.items()}
    for k in reversed(range(len(trained.rates))):
        weights, data = trained.weights[k], trained.data[k]
        before = Before(flat(theta), flat(_gradient(theta, weights, data)), given, trained.t)
        a = np.array(adjoint.begin(trained.rates[k], before).data, float)
        influence[k] = weights * (_gradients(theta, data) @ a)
        adjoint.finish(flat(_hessian(theta, weights, data) @ a))
    return influence


def held(trained: Training) -> np.ndarray:
    """The same by JAX, the element held where it is."""
    theta, solver = jnp.asarray(trained.theta), trained.solver
    states = {name: jnp.where(STILL, 1.0, value) for name, value in trained.states.items()}
    u = jax.grad(validation_loss)(theta)
    lambdas = {name: jnp.zeros(P) for name in states}
    influence = np.zeros((len(trained.rates), ROWS))
    for k in reversed(range(len(trained.rates))):

        def step(theta, states, weights, k=k):
            g = _gradient(theta, weights, trained.data[k])
            moved, after = RULES[solver.name](
                *(theta, states, g, trained.rates[k], trained.t),
                *(solver.hyperparameters, solver.weight_decay),
            )
            return jnp.where(STILL, theta, moved), after

        _, pull = jax.vjp(step, theta, states, trained.weights[k])
        u, lambdas, by_weights = pull((u, lambdas))
        influence[k] = -trained.weights[k] * by_weights
    return influence


def of_the_end(case: str) -> Training:
    """A state with an element that never had a gradient, and data of which the first steps have."""
    hyper = {"wd": 0.0} if case == "AdamW" else {}
    trained = training(settings(case, **hyper), rates=(0.05, 0.04, 0.03), t=4, dead=True)
    trained.data[:2, :, 2] = np.random.default_rng(1).normal(size=(2, ROWS))
    return trained


@pytest.mark.parametrize("case", DIVIDED)
def test_an_element_that_never_had_a_gradient_stands_still(case):
    trained = of_the_end(case)
    name = trained.solver.name
    values = {state: {"w": np.asarray(v)} for state, v in trained.states.items()}
    state, n_still = with_still_elements(SolverState(4, values), name)
    assert n_still == 1
    got = at_one_state(trained, {name: arrays["w"] for name, arrays in state.values.items()})
    assert relative_error(got, held(trained)) < 1e-5


def test_without_it_adam_gives_a_row_a_thousand_times_its_influence():
    """The fault that is mended: 1 over epsilon, on a gradient that the training never had."""
    trained = of_the_end("Adam")
    got, expected = at_one_state(trained, trained.states), held(trained)
    assert np.abs(got).max() > 1000 * np.abs(expected).max()


@pytest.mark.parametrize("solver", STATE_NAMES)
def test_a_state_without_such_an_element_stays_as_it_is(solver):
    values = {name: {"w": np.ones(3)} for name in STATE_NAMES[solver]}
    state = SolverState(4, values)
    assert with_still_elements(state, solver) == (state, 0)
