"""One function of nnabla alone, in both engines, against finite differences in float64.

The yardstick is the function's own values: nnabla's native forward and the NumPy forward must
agree, and the NumPy forward in float64 is differentiated by differences of its values. A rule is
then compared with these, in both engines: the tangent, and the gradient through the tangent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import nnabla as nn
import nnabla.functions as F
import numpy as np

from nnabla_influence.definition.normalization import Normalization
from nnabla_influence.device import cpu_device
from nnabla_influence.engine.graph import key
from nnabla_influence.engine.nnabla_engine import carry_tangents
from nnabla_influence.engine.numpy_functions.tape import Tape, values
from nnabla_influence.engine.program import Program

CONTEXT = cpu_device("tests").context
EPSILON = 1e-6


@dataclass(frozen=True)
class FunctionCase:
    """A function, or a few, of nnabla.

    Attributes:
        name: Of the case.
        build: From variables to a variable, or a list of them.
        inputs: float32 arrays, away from kinks by more than 1e-3.
        moving: Which inputs have tangents; all by default.
        normalizations: What NumPy takes for one function; ``build`` may fill a list.
    """

    name: str
    build: Callable[..., Any]
    inputs: Sequence[np.ndarray]
    moving: Sequence[int] | None = None
    normalizations: Sequence[Normalization] = ()


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal values, none of them nearer to 0 than .01."""
    x = np.random.default_rng(seed).normal(size=shape)
    return (x + 0.01 * np.sign(x)).astype(np.float32)


def between(low: float, high: float, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, size=shape).astype(np.float32)


def relative(got: Any, wanted: Any) -> float:
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape
    size = np.linalg.norm(wanted)
    return float(np.linalg.norm(got - wanted) / (size if size else 1.0))


def check(case: FunctionCase, numpy: bool = True, tolerance: float = 1e-5) -> None:
    """Compare; with ``numpy`` False only the rule in nnabla, against differences in float32.

    Everything is compared through w = sum_i <c_i, y_i> with fixed random c: its tangent along a
    random direction d, and the gradient by the inputs of that tangent.
    """
    moving = range(len(case.inputs)) if case.moving is None else case.moving
    rng = np.random.default_rng(7)
    along = [rng.normal(size=case.inputs[i].shape) for i in moving]
    with nn.context_scope(CONTEXT), nn.auto_forward(False):
        variables = [nn.Variable.from_numpy_array(x) for x in case.inputs]
        for i, variable in enumerate(variables):
            variable.need_grad = i in moving
        built = case.build(*variables)
        outputs = list(built) if isinstance(built, (list, tuple)) else [built]
        cotangents = [rng.normal(size=y.shape) for y in outputs]
        directions = [nn.Variable.from_numpy_array(d.astype(np.float32)) for d in along]
        for direction in directions:
            direction.persistent = True
        tangents = {key(variables[i]): d for i, d in zip(moving, directions)}
        carry_tangents(outputs, tangents)
        assert any(key(y) in tangents for y in outputs), "no output moves"
        pairs = [
            (
                c,
                y,
                tangents.get(key(y))
                if tangents.get(key(y)) is not None
                else F.constant(0, y.shape),
            )
            for c, y in zip(cotangents, outputs)
        ]
        for _, y, tangent in pairs:
            y.persistent = tangent.persistent = True
            assert tangent.shape == y.shape, (tangent.shape, y.shape)
        total = F.add_n(
            *(
                F.reshape(F.sum(t * nn.Variable.from_numpy_array(c.astype(np.float32))), (1,))
                for c, _, t in pairs
            )
        )
        for variable in variables:
            variable.grad.zero()
        total.forward(clear_no_need_grad=True)
        nnabla_tangent = sum(float((c * t.d).sum()) for c, _, t in pairs)
        total.backward(clear_buffer=True)
        F.sink(*outputs).forward()  # the tangents need not every value
        nnabla_values = [np.array(y.d) for y in outputs]
        nnabla_second = [np.array(variables[i].g) for i in moving]

    if not numpy:
        _check_in_float32(case, moving, along, cotangents, nnabla_tangent, nnabla_second)
        return
    program = Program(outputs, case.normalizations)
    leaves = [key(v) for v in variables]

    def value(points: Sequence[np.ndarray]) -> float:
        slots = program.run(dict(zip(leaves, points)), {})
        return sum(float((c * slots[key(y)].value).sum()) for c, y in zip(cotangents, outputs))

    def tangent_at(points: Sequence[np.ndarray]) -> tuple[float, list[np.ndarray]]:
        tape = Tape()
        tensors = {leaves[i]: tape.variable(points[i]) for i in moving}
        fed = {k: tensors.get(k, x) for k, x in zip(leaves, points)}
        slots = program.run(fed, {leaves[i]: d for i, d in zip(moving, along)})
        found = [(c, slots[key(y)].tangent) for c, y in zip(cotangents, outputs)]
        found = [(c, t) for c, t in found if t is not None]
        tape.back([(t, c) for c, t in found])
        gradients = [tensors[leaves[i]].gradient for i in moving]
        zeros = [np.zeros(points[i].shape) for i in moving]
        return (
            sum(float((c * values(t)).sum()) for c, t in found),
            [z if g is None else g for g, z in zip(gradients, zeros)],
        )

    points = [x.astype(np.float64) for x in case.inputs]
    # Values: nnabla's own, in float32.
    slots = program.run(dict(zip(leaves, case.inputs)), {})
    for y, wanted in zip(outputs, nnabla_values):
        got = slots[key(y)].value
        assert got.dtype == np.float32, got.dtype
        assert relative(got, wanted) < 1e-6
    # The tangent: differences of values along the direction.
    wanted = _difference(value, points, moving, along)
    tangent, second = tangent_at(points)
    scale = max(abs(wanted), 1e-3)
    assert abs(tangent - wanted) < 1e-6 * scale, (tangent, wanted)
    assert abs(nnabla_tangent - wanted) < tolerance * max(
        scale, np.sqrt(sum(np.square(c).sum() for c in cotangents))
    ), (nnabla_tangent, wanted)
    # The gradient of the tangent: differences of tangents along another direction.
    other = [rng.normal(size=d.shape) for d in along]
    wanted = _difference(lambda at: tangent_at(at)[0], points, moving, other)
    got = sum(float((g * d).sum()) for g, d in zip(second, other))
    size = max(
        sum(float(np.linalg.norm(g) * np.linalg.norm(d)) for g, d in zip(second, other)), 1e-3
    )
    assert abs(got - wanted) < 1e-6 * size, (got, wanted)
    for g, n in zip(second, nnabla_second):
        if np.linalg.norm(g):
            assert relative(n, g) < tolerance
        else:
            assert np.abs(n).max() < tolerance


def _check_in_float32(
    case: FunctionCase,
    moving: Sequence[int],
    along: Sequence[np.ndarray],
    cotangents: Sequence[np.ndarray],
    tangent: float,
    second: Sequence[np.ndarray],
) -> None:
    """The rule in nnabla alone, against differences of nnabla's native backward in float32."""
    epsilon = 1e-2

    def gradients(points: Sequence[np.ndarray]) -> tuple[float, list[np.ndarray]]:
        with nn.context_scope(CONTEXT), nn.auto_forward(False):
            variables = [nn.Variable.from_numpy_array(x.astype(np.float32)) for x in points]
            for i, variable in enumerate(variables):
                variable.need_grad = i in moving
                variable.grad.zero()
            built = case.build(*variables)
            outputs = list(built) if isinstance(built, (list, tuple)) else [built]
            for y in outputs:
                y.persistent = True
            sink = F.sink(*outputs, one_input_grad=False)
            sink.forward()
            for y, c in zip(outputs, cotangents):
                y.g = c
            sink.backward()
            return [np.array(variables[i].g, np.float64) for i in moving]

    native = gradients(case.inputs)
    wanted = sum(float((g * d).sum()) for g, d in zip(native, along))
    size = sum(float(np.linalg.norm(g) * np.linalg.norm(d)) for g, d in zip(native, along))
    assert abs(tangent - wanted) < 1e-5 * max(size, 1e-3), (tangent, wanted)
    moved = []
    for sign in (1, -1):
        points = [np.array(x, np.float64) for x in case.inputs]
        for i, d in zip(moving, along):
            points[i] += sign * epsilon * d
        moved.append(gradients(points))
    for above, below, got in zip(*moved, second):
        difference = (above - below) / (2 * epsilon)
        assert np.abs(difference - got).max() < 1e-2 * max(np.abs(difference).max(), 1e-1)


def _difference(
    function: Callable[[Sequence[np.ndarray]], float],
    points: Sequence[np.ndarray],
    moving: Sequence[int],
    along: Sequence[np.ndarray],
) -> float:
    found = []
    for sign in (1, -1):
        moved = list(points)
        for i, d in zip(moving, along):
            moved[i] = points[i] + sign * EPSILON * d
        found.append(function(moved))
    return (found[0] - found[1]) / (2 * EPSILON)
