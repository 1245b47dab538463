"""The guard lets right networks pass and stops wrong ones."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import Mode, build_objective, load_definition
from nnabla_influence.engine import tangents
from nnabla_influence.engine.guard import check_engines
from nnabla_influence.engine.numpy_functions import NP
from nnabla_influence.engine.numpy_functions.tape import recorded, values
from nnabla_influence.errors import ScoreError, UnsupportedError
from tests.cases import CASES, Case
from tests.engine.products import CONTEXT, objective_by_hand


def check(case: Case, folder, mode=Mode.TEST) -> None:
    definition = load_definition(case.save_definition(folder), folder / "net.h5")
    check_engines(
        lambda size: build_objective(definition, size, CONTEXT, mode=mode), case.inputs(6), CONTEXT
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", [Mode.TEST, Mode.BATCH, Mode.VALIDATION])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_accepts_every_case(case: Case, tmp_path, mode):
    check(case, tmp_path, mode)


def test_a_derivative_that_is_not_finite_is_named():
    """The square root of what is 0."""
    with nn.parameter_scope("", scope={}), nn.context_scope(CONTEXT):
        x = nn.Variable((4, 3))
        losses = F.relu(PF.affine(x, 1, name="a")) ** 0.5 + F.sum(x, axis=1, keepdims=True)
        losses = F.reshape(losses, (4,))
        parameters = dict(nn.get_parameters())
        parameters["a/affine/W"].d = -100
        inputs = {"x": np.ones((4, 3), np.float32)}
        objective = objective_by_hand({"x": x}, parameters, losses)
        with pytest.raises(ScoreError, match=r"derivative .* PowScalar"):
            check_engines(lambda size: objective, inputs, CONTEXT)
        inputs["x"][1:3] = np.nan
        with pytest.raises(ScoreError, match=r"2 of 4 training rows .*not finite"):
            check_engines(lambda size: objective, inputs, CONTEXT)


WRONG = {
    "a tangent rule": (tangents.DERIVATIVES, "Tanh", lambda F, x, y: 1 - 0.5 * y * y),
    "a tangent rule's own derivative": (
        tangents.DERIVATIVES,
        "Tanh",
        lambda F, x, y: 1 - y * y.data if hasattr(y, "tape") else 1 - y * F.unlink(y),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_refuses_wrong_rules(name, monkeypatch, tmp_path):
    monkeypatch.setattr(
        tangents, "DERIVATIVES", {**tangents.DERIVATIVES, WRONG[name][1]: WRONG[name][2]}
    )
    case = next(case for case in CASES if case.name == "mlp-softmax")
    with pytest.raises(UnsupportedError, match="derivatives"):
        check(case, tmp_path)


def test_refuses_a_wrong_function_of_numpy(monkeypatch, tmp_path):
    monkeypatch.setattr(NP, "tanh", lambda x: NP.mul_scalar(x, 1.01))
    case = next(case for case in CASES if case.name == "mlp-softmax")
    with pytest.raises(UnsupportedError, match="derivatives"):
        check(case, tmp_path)


@pytest.mark.parametrize("where", ["value", "gradient", "in float64"])
def test_refuses_what_is_not_a_number_in_numpy_alone(where, monkeypatch, tmp_path):
    """In one value of one row: rounding to the other side of a kink is no excuse for it."""
    tanh = NP.tanh

    def wrong(x):
        data = values(x)
        bad = np.zeros(data.shape, data.dtype)
        if where != "in float64" or data.dtype == np.float64:
            bad[0, 0] = np.nan
        if where == "value":
            return tanh(x) + bad
        return recorded([x], values(tanh(x)), lambda g: [g + bad])

    monkeypatch.setattr(NP, "tanh", wrong)
    case = next(case for case in CASES if case.name == "mlp-softmax")
    with pytest.raises(UnsupportedError, match="derivatives"):
        check(case, tmp_path)


def test_a_network_that_numpy_lacks_is_checked_all_the_same(monkeypatch, tmp_path):
    case = next(case for case in CASES if case.name == "mlp-softmax")
    monkeypatch.delattr(NP, "tanh")
    check(case, tmp_path)
    monkeypatch.setattr(
        tangents, "DERIVATIVES", {**tangents.DERIVATIVES, "Tanh": lambda F, x, y: 1 - 0.5 * y * y}
    )
    with pytest.raises(UnsupportedError, match="derivatives"):
        check(case, tmp_path)
