"""The yardstick itself: each rule of `tests.rules` against nnabla's own solver."""

from __future__ import annotations

import jax.numpy as jnp
import nnabla as nn
import numpy as np
import pytest

from nnabla_influence.solvers import STATE_NAMES, build_solver, get_state, set_state
from nnabla_influence.solvers.state import SolverState
from tests.rules import RULES, STATES, first_states
from tests.solvers.cases import CASES, CONTEXT, HYPER, settings

P = 7
RATES = (0.05, 0.02, 0.0, 0.1, 0.03, 0.04, 0.01)


def updates(solver, variable, gradients, rates, decay):
    for g, rate in zip(gradients, rates):
        variable.g = g
        if decay > 0:
            solver.weight_decay(decay)
        solver.set_learning_rate(rate)
        solver.update()


@pytest.mark.parametrize(("case", "decay"), CASES)
def test_each_rule_is_nnablas(case, decay):
    rng = np.random.default_rng(3)
    solver_settings = settings(case, decay)
    theta = rng.normal(size=P).astype(np.float32)
    # Sizes from small to large, so that a wrong place of epsilon or of a maximum shows.
    gradients = rng.normal(size=(len(RATES), P)) * np.logspace(-6, 1, P)
    gradients[:, -1] = 0.0
    gradients = gradients.astype(np.float32)
    variable = nn.Variable.from_numpy_array(theta.copy(), need_grad=True)
    solver = build_solver(solver_settings, CONTEXT)
    solver.set_parameters({"w": variable})
    updates(solver, variable, gradients, RATES, decay)

    name, hyper = solver_settings.name, solver_settings.hyperparameters
    after, states = jnp.asarray(theta, float), first_states(name, jnp.zeros(P))
    for t, (g, rate) in enumerate(zip(gradients, RATES)):
        after, states = RULES[name](after, states, g.astype(float), rate, t, hyper, decay)
    moved = np.abs(after - theta)
    np.testing.assert_allclose(variable.d - theta, after - theta, rtol=2e-5, atol=5e-7)
    assert moved.max() > 1e-3
    held = get_state(solver)
    assert held.t == len(RATES)
    assert set(held.values) == set(STATE_NAMES[name]) == set(STATES[name]) == set(states)
    for state, value in states.items():
        np.testing.assert_allclose(held.values[state]["w"], value, rtol=5e-6)


@pytest.mark.parametrize("case", HYPER)
def test_a_state_that_is_read_and_set_goes_on_bit_for_bit(case):
    rng = np.random.default_rng(4)
    start = {"a/W": rng.normal(size=(2, 3)), "b": rng.normal(size=4)}
    gradients = [{k: rng.normal(size=v.shape) for k, v in start.items()} for _ in range(6)]

    def begin(values):
        variables = {
            k: nn.Variable.from_numpy_array(np.array(v, np.float32), need_grad=True)
            for k, v in values.items()
        }
        solver = build_solver(settings(case), CONTEXT)
        solver.set_parameters({f"key of {k}": v for k, v in variables.items()})
        return variables, solver

    def go_on(variables, solver, some):
        for by_name in some:
            for name, g in by_name.items():
                variables[name].g = g
            solver.update()

    names = {k: f"key of {k}" for k in start}
    variables, solver = begin(start)
    go_on(variables, solver, gradients[:3])
    halfway = {k: v.d.copy() for k, v in variables.items()}
    state = get_state(solver, names)
    assert state.t == 3
    go_on(variables, solver, gradients[3:])

    for _ in range(2):  # Twice: the solver must not have written to the state that it was given.
        again, other = begin(halfway)
        set_state(other, state, names)
        go_on(again, other, gradients[3:])
        for name in start:
            np.testing.assert_array_equal(again[name].d, variables[name].d)
    final = get_state(other, names)
    assert isinstance(final, SolverState)
    assert final.t == 6
