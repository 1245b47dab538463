"""The guard lets right networks pass and stops wrong ones."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest
from nnabla.backward_functions import registry

from nnabla_influence.engine.guard import check_derivatives
from nnabla_influence.errors import ScoreError, UnsupportedError
from tests.cases import CASES, Case
from tests.engine.products import CONTEXT, derivatives_by_hand, derivatives_of


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_accepts_every_case(case: Case, tmp_path):
    check_derivatives(derivatives_of(case, tmp_path, 4), case.inputs(6))


def test_a_derivative_that_is_not_finite_is_named(tmp_path):
    """A loss of probabilities that are exactly 1, and not from a Sigmoid that could be undone."""
    with nn.parameter_scope("", scope={}), nn.context_scope(CONTEXT):
        x, y = nn.Variable((4, 3)), nn.Variable((4, 1))
        probability = 0.5 + 0.5 * F.tanh(PF.affine(x, 1, name="a"))
        losses = F.reshape(F.binary_cross_entropy(probability, y), (4,))
        parameters = dict(nn.get_parameters())
        parameters["a/affine/W"].d = 100
        inputs = {"x": np.ones((4, 3), np.float32), "y": np.ones((4, 1), np.float32)}
        derivatives = derivatives_by_hand({"x": x, "y": y}, parameters, losses)
        with pytest.raises(ScoreError, match=r"derivative .* BinaryCrossEntropy") as e:
            check_derivatives(derivatives, inputs)
        assert "CategoricalCrossEntropy" not in str(e.value)
        inputs["x"][1:3] = np.nan
        with pytest.raises(ScoreError, match=r"2 of 4 training rows .*not finite"):
            check_derivatives(derivatives, inputs)


class _Halved(nn.function.PythonFunction):
    """The identity, with half the gradient when it is taken as a graph."""

    name = "Halved"

    def min_outputs(self):
        return 1

    def setup_impl(self, inputs, outputs):
        outputs[0].reset_shape(inputs[0].shape, True)

    def forward_impl(self, inputs, outputs):
        outputs[0].data.copy_from(inputs[0].data)

    def backward_impl(self, inputs, outputs, propagate_down, accum):
        inputs[0].g = outputs[0].g + (inputs[0].g if accum[0] else 0)

    def grad_depends_output_data(self, i, o):
        return False

    def grad_depends_input_data(self, i, j):
        return False


def test_guard_refuses_a_silently_wrong_backward(monkeypatch):
    monkeypatch.setitem(registry, "Halved", lambda grads, *_, **__: grads[0] * 0.5)
    with nn.parameter_scope("", scope={}), nn.context_scope(CONTEXT):
        x = nn.Variable((4, 3))
        hidden = _Halved()(PF.affine(x, 2, name="a"))
        losses = F.sum(F.tanh(hidden) ** 2, axis=1)
        derivatives = derivatives_by_hand({"x": x}, dict(nn.get_parameters()), losses)
        inputs = {"x": np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)}
        with pytest.raises(UnsupportedError, match="second derivative"):
            check_derivatives(derivatives, inputs)
