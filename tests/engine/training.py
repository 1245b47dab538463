"""One function in both engines against nnabla's own gradient, where differences do not reach.

At kinks and at steps the yardstick is what training goes along: nnabla's native gradient. For large
inputs it is NumPy's float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnabla_influence.engine.graph import key
from nnabla_influence.engine.nnabla_engine import carry_tangents
from nnabla_influence.engine.numpy_functions.tape import Tape, values
from nnabla_influence.engine.program import Program
from tests.engine.functions import CONTEXT, FunctionCase


def each(cases: Sequence[tuple[str, Any, Any]]) -> Any:
    """Parametrize a test by (name, build, inputs)."""
    return pytest.mark.parametrize(
        ("name", "build", "inputs"), cases, ids=[name for name, *_ in cases]
    )


class Derived(NamedTuple):
    """Of y, a function's output, with tangents y' along d, and fixed cotangents c.

    Attributes:
        value: y.
        gradients: Of <c, y> by each input.
        tangent: y'.
        second: The gradient of <c, y'> by each input.
    """

    value: np.ndarray
    gradients: Sequence[np.ndarray]
    tangent: np.ndarray
    second: Sequence[np.ndarray]


def check_as_trained(case: FunctionCase, tolerance: float = 2e-6) -> None:
    """Compare all that is derived, element by element."""
    moving = list(range(len(case.inputs)) if case.moving is None else case.moving)
    rng = np.random.default_rng(11)
    along = [rng.normal(size=case.inputs[i].shape).astype(np.float32) for i in moving]
    nnabla, y, variables, c = _in_nnabla(case, moving, along)
    program = Program([y])
    leaves = [key(v) for v in variables]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        single, double = (
            _in_numpy(program, key(y), leaves, case, moving, along, c, dtype)
            for dtype in (np.float32, np.float64)
        )
    assert single.value.dtype == single.tangent.dtype == np.float32
    for engine in (nnabla, single):
        for got, wanted in zip(_parts(engine), _parts(double)):
            assert np.isfinite(got).all()
            np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
    total = sum(float((g * d).sum()) for g, d in zip(nnabla.gradients, along))
    np.testing.assert_allclose((c * double.tangent).sum(), total, rtol=1e-5, atol=1e-5)


def _parts(derived: Derived) -> list[np.ndarray]:
    return [derived.value, *derived.gradients, derived.tangent, *derived.second]


def _in_nnabla(case: FunctionCase, moving: Sequence[int], along: Sequence[np.ndarray]) -> Any:
    with nn.context_scope(CONTEXT), nn.auto_forward(False):
        variables = [nn.Variable.from_numpy_array(x) for x in case.inputs]
        for i, variable in enumerate(variables):
            variable.need_grad = i in moving
        y = case.build(*variables)
        c = np.random.default_rng(12).normal(size=y.shape).astype(np.float32)
        cotangent = nn.Variable.from_numpy_array(c)
        directions = [nn.Variable.from_numpy_array(d) for d in along]
        tangents = {key(variables[i]): d for i, d in zip(moving, directions)}
        carry_tangents([y], tangents)
        tangent = tangents[key(y)]
        gradients = []
        for each in (y, tangent):
            each.persistent = True
            total = F.sum(each * cotangent)
            for variable in variables:
                variable.grad.zero()
            total.forward(clear_no_need_grad=True)
            total.backward(clear_buffer=True)
            gradients.append([np.array(variables[i].g) for i in moving])
        return (
            Derived(np.array(y.d), gradients[0], np.array(tangent.d), gradients[1]),
            y,
            variables,
            c,
        )


def _in_numpy(
    program: Program,
    output: Any,
    leaves: Sequence[Any],
    case: FunctionCase,
    moving: Sequence[int],
    along: Sequence[np.ndarray],
    c: np.ndarray,
    dtype: Any,
) -> Derived:
    gradients = []
    for of_tangent in (False, True):
        tape = Tape()
        points = [x.astype(dtype) for x in case.inputs]
        tensors = [tape.variable(points[i]) for i in moving]
        fed = dict(zip(leaves, points))
        fed.update({leaves[i]: tensor for i, tensor in zip(moving, tensors)})
        slots = program.run(fed, {leaves[i]: d.astype(dtype) for i, d in zip(moving, along)})
        y, tangent = slots[output]
        tape.back([(tangent if of_tangent else y, c.astype(dtype))])
        gradients.append(
            [np.zeros(t.shape, dtype) if t.gradient is None else t.gradient for t in tensors]
        )
    return Derived(values(y), gradients[0], values(tangent), gradients[1])
