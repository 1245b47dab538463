"""Which solvers and settings are accepted, and that the others are named."""

from __future__ import annotations

from pathlib import Path

import nnabla as nn
import nnabla.solvers as S
import numpy as np
import pytest
from google.protobuf import json_format
from nnabla.utils import nnabla_pb2
from nnabla.utils.load import _create_optimizer

from nnabla_influence.definition import SolverSettings
from nnabla_influence.definition.solver_settings import solver_settings
from nnabla_influence.errors import RunError, UnsupportedError
from nnabla_influence.solvers import (
    SOLVERS,
    STATE_NAMES,
    SolverState,
    build_adjoint,
    build_solver,
    check_solver,
    get_state,
    set_state,
)
from nnabla_influence.solvers.settings import HYPERPARAMETERS
from tests.solvers.cases import CONTEXT, HYPER, settings

P = 3
OTHERS = ["AdaBelief", "AdaBound", "AMSBound", "Lars", "RMSpropGraves", "Lion", "Lamb", "sgd"]


def vector():
    return nn.NdArray((P,))


@pytest.mark.parametrize("name", OTHERS)
def test_other_solvers_are_refused_by_name(name):
    words = rf"{name} .*Sgd, .*, Adadelta"
    with pytest.raises(UnsupportedError, match=rf"^net.nnp: .*{words}"):
        check_solver(name, Path("net.nnp"))
    other = SolverSettings(name, {"lr": 0.1}, 0.0, 1)
    with pytest.raises(UnsupportedError, match=words):
        build_adjoint(other, vector(), CONTEXT)
    with pytest.raises(UnsupportedError, match=words):
        build_solver(other, CONTEXT)


def test_the_tables_name_the_same_solvers():
    assert set(SOLVERS) == set(STATE_NAMES) == set(HYPERPARAMETERS)
    assert {name: adjoint.states for name, adjoint in SOLVERS.items()} == dict(STATE_NAMES)
    for name in SOLVERS:
        check_solver(name, Path("net.nnp"))


@pytest.mark.parametrize("name", ["Sgd", "SgdW", "Adam", "AdamW"])
@pytest.mark.parametrize("decay", [-0.1, float("nan"), float("inf")])
def test_weight_decay_that_is_none(name, decay):
    with pytest.raises(UnsupportedError, match=f"weight decay {decay}"):
        build_adjoint(settings(name, decay), vector(), CONTEXT)


NEEDED = [
    (case, name) for case, hyper in HYPER.items() for name in hyper if name != "lr" or "W" in case
]


@pytest.mark.parametrize(("case", "name"), NEEDED)
def test_a_missing_hyperparameter_is_named(case, name):
    solver = settings(case)
    hyper = {key: value for key, value in solver.hyperparameters.items() if key != name}
    incomplete = SolverSettings(solver.name, hyper, 0.0, 1)
    with pytest.raises(UnsupportedError, match=f"{solver.name} .*'{name}'"):
        build_adjoint(incomplete, vector(), CONTEXT)
    with pytest.raises(UnsupportedError, match=f"{solver.name} .*'{name}'"):
        build_solver(incomplete, CONTEXT)


def test_a_hyperparameter_that_is_not_finite_is_named():
    with pytest.raises(UnsupportedError, match=r"Adam .*'beta2' nan"):
        build_adjoint(settings("Adam", beta2=float("nan")), vector(), CONTEXT)


@pytest.mark.parametrize("name", ["SgdW", "AdamW"])
def test_no_initial_learning_rate_where_one_is_divided_by(name):
    with pytest.raises(UnsupportedError, match=f"{name} .*learning rate"):
        build_adjoint(settings(name, lr=0.0), vector(), CONTEXT)


@pytest.mark.parametrize("name", ["Adam", "Adagrad"])
def test_an_adjoint_that_needs_the_values_before_says_so(name):
    adjoint = build_adjoint(settings(name), vector(), CONTEXT)
    assert adjoint.needs_before
    with pytest.raises(ValueError, match=name):
        adjoint.begin(0.1)


PROTO_NAMES = {"Sgd": "sgd", "SgdW": "sgdw", "AdamW": "adamw", "RMSprop": "rmsprop"}


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("given", [True, False])
def test_a_solver_is_built_as_nnabla_cli_builds_it(name, given, tmp_path):
    field = f"{PROTO_NAMES.get(name, name.lower())}_param"
    hyper = {"alpha" if k == "lr" else k: v for k, v in HYPER[name].items()}
    names = nnabla_pb2.Solver.DESCRIPTOR.fields_by_name[field].message_type.fields_by_name
    if "alpha" not in names:
        hyper["lr"] = hyper.pop("alpha")
    if "bias_correction" in hyper:
        hyper["bias_correction"] = True  # nnabla_cli ignores it
    # nnabla.utils.save leaves some out altogether, and nnabla_cli takes zeros then.
    proto = {"type": name, **({field: hyper} if given else {})}
    optimizer = json_format.ParseDict({"solver": proto}, nnabla_pb2.Optimizer())
    expected = _create_optimizer(CONTEXT, optimizer, None).solver
    built = build_solver(solver_settings(tmp_path / "net.nntxt", optimizer), CONTEXT)
    assert built.name == expected.name == name
    assert built.info == expected.info
    assert built.learning_rate() == expected.learning_rate()


def test_a_learning_rate_beside_the_constructors():
    built = build_solver(settings("AdamW", lr=0.25), CONTEXT, learning_rate=0.5)
    assert built.info["alpha"] == 0.25
    assert built.learning_rate() == 0.5


def adam_with(*shape):
    solver = S.Adam()
    solver.set_parameters({"w": nn.Variable(shape, need_grad=True)})
    return solver


def adam_state(*shape, **changed):
    return SolverState(3, {"mean": {"w": np.ones(shape)}, "var": {"w": np.ones(shape)}, **changed})


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (lambda: adam_state(4), r"mean .*'w' .*\(4,\).*\(2, 3\)"),
        (
            lambda: SolverState(3, {"mean": {"b": np.ones(2)}, "var": {"b": np.ones(2)}}),
            "mean .*'w' .*missing",
        ),
        (lambda: SolverState(3, {"m": {"w": np.ones((2, 3))}}), " m, .*mean, var"),
    ],
)
def test_a_state_of_another_training_is_refused(state, words):
    with pytest.raises(RunError, match=words):
        set_state(adam_with(2, 3), state())


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: SolverState(-1, {}), "-1"),
        (lambda: adam_state(2, var={"w": np.ones(3)}), "mean and var"),
        (lambda: adam_state(2, var={}), "mean and var"),
    ],
)
def test_impossible_states_are_refused(build, words):
    with pytest.raises(RunError, match=words):
        build()


def test_a_parameter_that_no_gradient_reached_does_not_count():
    used, unused = (nn.Variable((2,), need_grad=True) for _ in range(2))
    used.d, unused.d = 1.0, 1.0
    solver = S.Momentum()
    solver.set_parameters({"used": used, "unused": unused})
    for _ in range(3):
        solver.zero_grad()
        used.g = 1.0
        solver.update()
    state = get_state(solver)
    assert state.t == 3
    assert (state.values["m"]["used"] > 0).all()
    assert not state.values["m"]["unused"].any()
