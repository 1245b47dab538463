"""Each adjoint against JAX's derivative, in float64, of the whole map of several updates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import nnabla as nn
import numpy as np
import pytest

from nnabla_influence.definition import SolverSettings
from nnabla_influence.solvers import SOLVERS, Before, build_adjoint
from tests.rules import RULES
from tests.solvers.cases import CASES, CONTEXT, HYPER, settings
from tests.solvers.tracing import P, Training, flat, training


def relative_error(got, expected) -> float:
    length = np.linalg.norm(expected)
    return np.linalg.norm(got - expected) / length if length else np.linalg.norm(got)


def check(trained: Training, limit: float) -> None:
    by_theta, by_states, influence = trained.derivatives()
    u, vectors, traced = trained.traced()
    assert set(vectors) == {f"lambda_{name}" for name in by_states}
    assert relative_error(u, by_theta) < limit
    for name, expected in by_states.items():
        assert relative_error(vectors[f"lambda_{name}"], expected) < limit, name
    for step, (got, expected) in enumerate(zip(traced, influence)):
        assert relative_error(got, expected) < limit, f"step {step}"


def test_every_solver_that_can_be_traced_is_tried():
    assert {case.split()[0] for case in HYPER} == set(SOLVERS)


# The limits are some ten times what float32 gave: up to 2e-6, at the very first steps 4e-6.


@pytest.mark.slow
@pytest.mark.parametrize(("case", "decay"), CASES)
def test_several_steps_in_the_middle_of_a_training(case, decay):
    check(training(settings(case, decay), t=4), 1e-5)


@pytest.mark.parametrize("case", HYPER)
def test_the_first_steps_of_a_training(case):
    check(training(settings(case, 0.03), rates=(0.05, 0.02, 0.04), t=0), 3e-5)


@pytest.mark.parametrize("case", HYPER)
def test_a_parameter_that_never_had_a_gradient(case):
    trained = training(settings(case), rates=(0.05, 0.02, 0.04), t=0, dead=True)
    u, vectors, traced = trained.traced()
    assert all(np.isfinite(values).all() for values in (u, traced, *vectors.values()))
    by_theta, _, influence = trained.derivatives()
    assert relative_error(u, by_theta) < 3e-5
    assert relative_error(traced, influence) < 3e-5
    assert u[2] != 0


def one_step(solver: SolverSettings, theta, g, states, u, rate=0.1, t=3):
    """What one step back gives, by the adjoint and by JAX: a, u (where H is 0), the states'."""
    adjoint = build_adjoint(solver, flat(u), CONTEXT)
    before = Before(flat(theta), flat(g), {n: flat(s) for n, s in states.items()}, t)
    a = np.array(adjoint.begin(rate, before).data)
    adjoint.finish(flat(np.zeros(len(u))))
    got = {"a": a, **{name: np.array(v.data) for name, v in adjoint.vectors().items()}}

    def rule(theta, g, states):
        hyper, decay = solver.hyperparameters, solver.weight_decay
        return RULES[solver.name](theta, states, g, rate, t, hyper, decay)[0]

    inputs = [jnp.asarray(v, float) for v in (theta, g)]
    _, back = jax.vjp(rule, *inputs, {n: jnp.asarray(s, float) for n, s in states.items()})
    by_theta, by_g, by_states = back(jnp.asarray(u, float))
    expected = {"a": -by_g, "u": by_theta, **{f"lambda_{n}": v for n, v in by_states.items()}}
    return got, expected


@pytest.mark.slow
def test_of_equal_values_the_maximum_is_the_kept_one():
    # Below, equal to, and above what is kept; all numbers are exact in float32.
    half = {"lr": 0.5, "beta1": 0.5, "beta2": 0.5, "eps": 2.0**-20}
    g, m, ones = np.array([0.25, 0.5, 1.0, -0.5, -2.0]), np.full(5, 0.75), np.ones(5)
    adamax = SolverSettings("Adamax", half, 0.0, 1)
    amsgrad = SolverSettings("AMSGRAD", {**half, "bias_correction": 0.0}, 0.0, 1)
    got, expected = one_step(adamax, ones, g, {"m": m, "u": ones}, ones)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(got["lambda_u"] != 0, [True, True, False, True, False])
    # v+ = 0.5 v + 0.5 g^2 is 0.5 + ... against v_hat: equal at g = 0.5 and -0.5.
    v_hat = np.full(5, 0.625)
    got, expected = one_step(amsgrad, ones, g, {"m": m, "v": ones, "v_hat": v_hat}, ones)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(got["lambda_v_hat"] != 0, [True, True, False, True, False])


@pytest.mark.parametrize("case", HYPER)
def test_no_gradient_at_all_with_default_epsilon_stays_finite(case):
    solver = settings(case, **({"eps": 1e-8} if "eps" in HYPER[case] else {}))
    tiny = [0.0, 1e-30, 1e-20, 1e-12, 1e-8, 1e-4]
    for g in (np.zeros(P), np.array(tiny)):
        zeros = {name: np.zeros(P) for name in SOLVERS[solver.name].states}
        got, expected = one_step(solver, np.ones(P), g, zeros, np.ones(P), t=0)
        for name, value in expected.items():
            assert np.isfinite(got[name]).all(), name
            if g.any():
                # Where g^2 is a float32 at all.
                keep = slice(3, None)
                scale = np.abs(value[keep]) + (np.abs(expected["a"][keep]).max() * 1e-6)
                assert (np.abs(got[name] - value)[keep] <= 1e-3 * scale).all(), name


def equal_traces(one: Training, other: Training, limit=1e-6, shared=()):
    (u, vectors, influence), (u2, vectors2, influence2) = one.traced(), other.traced()
    np.testing.assert_allclose(u, u2, rtol=limit, atol=limit)
    np.testing.assert_allclose(influence, influence2, rtol=limit, atol=limit * 1e-2)
    for name in shared:
        np.testing.assert_allclose(vectors[name], vectors2[name], rtol=limit, atol=limit)


def with_solver(trained: Training, solver: SolverSettings, states) -> Training:
    return Training(solver, trained.theta, states, trained.data, trained.rates, trained.t)


@pytest.mark.parametrize("name", ["Momentum", "Nesterov"])
def test_without_momentum_it_is_sgd(name):
    plain = training(settings("Sgd", 0.03))
    heavy = with_solver(plain, settings(name, 0.03, momentum=0.0), {"m": jnp.zeros(P)})
    equal_traces(plain, heavy)


@pytest.mark.parametrize(("fused", "plain"), [("SgdW", "Momentum"), ("AdamW", "Adam")])
def test_without_its_decay_a_fused_solver_is_the_plain_one(fused, plain):
    trained = training(settings(plain))
    other = with_solver(trained, settings(fused, wd=0.0), trained.states)
    equal_traces(trained, other, shared=[f"lambda_{name}" for name in trained.states])


@pytest.mark.parametrize("fused", ["SgdW", "AdamW"])
def test_the_trainings_weight_decay_replaces_the_constructors(fused):
    trained = training(settings(fused, 0.07, wd=0.5))
    other = with_solver(trained, settings(fused, 0.0, wd=0.07), trained.states)
    equal_traces(trained, other)
    third = with_solver(trained, settings(fused, 0.0, wd=0.5), trained.states)
    assert relative_error(third.traced()[0], trained.traced()[0]) > 0.1


def test_amsgrad_is_adam_while_v_grows():
    rng = np.random.default_rng(0)
    trained = training(settings("Adam", beta2=0.999), rates=(0.01, 0.02, 0.01), t=0)
    trained = Training(
        *(trained.solver, trained.theta, trained.states),
        *(np.repeat(rng.normal(size=(1, 5, P)), 3, axis=0), trained.rates, 0),
    )
    start = {name: jnp.zeros(P) for name in ("m", "v", "v_hat")}
    greatest = with_solver(trained, settings("AMSGRAD corrected", beta2=0.999), start)
    equal_traces(trained, greatest)


@pytest.mark.parametrize("case", HYPER)
def test_a_trace_goes_on_from_saved_vectors(case):
    solver = settings(case, 0.03)
    rng = np.random.default_rng(5)

    def values():
        drawn = {name: np.abs(rng.normal(size=P)) for name in SOLVERS[solver.name].states}
        before = Before(*(flat(rng.normal(size=P)) for _ in range(2)), {}, 7)
        return Before(
            before.theta, before.gradient, {n: flat(v) for n, v in drawn.items()}, before.t
        ), flat(rng.normal(size=P))

    steps = [values() for _ in range(4)]

    def trace(adjoint, some):
        for before, h in some:
            adjoint.begin(0.03, before)
            adjoint.finish(h)
        return {name: np.array(v.data) for name, v in adjoint.vectors().items()}

    def contents():
        return [
            [np.array(v.data) for v in (before.theta, before.gradient, *before.states.values(), h)]
            for before, h in steps
        ]

    kept = contents()
    u = flat(rng.normal(size=P))
    given = np.array(u.data)
    adjoint = build_adjoint(solver, u, CONTEXT)
    halfway = trace(adjoint, steps[:2])
    assert adjoint.u is u
    assert adjoint.vectors()["u"] is u
    adjoint.begin(0.5, steps[0][0])  # A step that is begun only changes nothing.
    np.testing.assert_array_equal(u.data, halfway["u"])
    whole = trace(adjoint, steps[2:])

    again = build_adjoint(solver, flat(given), CONTEXT)
    for name, vector in again.vectors().items():
        vector.copy_from(nn.NdArray.from_numpy_array(halfway[name]))
    for name, vector in trace(again, steps[2:]).items():
        np.testing.assert_array_equal(vector, whole[name])
    # What was given is the caller's: neither changed nor cleared.
    for before, after in zip(kept, contents()):
        np.testing.assert_array_equal(before, after)
