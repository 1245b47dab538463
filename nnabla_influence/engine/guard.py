r"""The guard: no scores from derivatives that are silently wrong.

Before any score is believed, a few rows go through three checks.

- NumPy and nnabla must agree in the losses, the gradient, J u and H u, in float32, row by row: at a
  kink of ReLU or max pooling, rounding can put a row on the other side, which is no error.
- The rules of tangents, which the two share, must agree with differences of losses and gradients,
  :math:`(\nabla l(\theta + \epsilon u) - \nabla l(\theta - \epsilon u)) / 2 \epsilon`, in float64,
  where a difference so small meets no kink.
- Where NumPy lacks a function, or training takes another gradient than the loss's (`_STEPS`), J is
  compared with nnabla's own gradient g, :math:`\sum_j v_j (J g)_j = \|g\|^2`, and H with its
  transpose, :math:`\langle H g, H g \rangle = \langle g, H (H g) \rangle`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Objective
from nnabla_influence.engine.engine import Engine
from nnabla_influence.engine.graph import functions_of, key
from nnabla_influence.engine.nnabla_engine import NnablaEngine
from nnabla_influence.engine.numpy_engine import NumpyEngine, lacking_in_numpy
from nnabla_influence.errors import ScoreError, UnsupportedError

ROWS = 4
"""As many as tell; the guard costs as much as a few steps with so many."""

TOLERANCE = 1e-3
"""Right networks differ by less than 1e-5; every silent error that was found by more than 0.01."""

HESSIAN_TOLERANCE = 0.03
"""In float32 the Hessian of a nearly perfect fit is mostly cancellation."""

OTHER_SIDE = 0.5
"""Of the rows, how many may be on the other side of a kink."""

EPSILON = 1e-9
"""Of the differences, relative to the parameters' length; a gradient keeps seven digits."""

_STEPS = ("BinarySigmoid", "BinaryTanh", "Ceil", "Floor", "Round", "Sign", "Unlink")
"""Functions whose gradient in training is not that of their values: it passes straight through, or
not at all."""

Inputs = Mapping[str, np.ndarray]


def check_engines(build: Callable[[int], Objective], inputs: Inputs, context: nn.Context) -> None:
    """Refuse a network whose derivatives are wrong.

    Args:
        build: Builds the objective, at the trained parameters, for mini-batches of a size.
        inputs: One mini-batch: by dataset column, and by draw, arrays of shape ``(n, ...)``.
        context: Where nnabla computes.

    Raises:
        UnsupportedError: The derivatives are wrong.
        ScoreError: One of them is not finite at these parameters.
    """
    if len({len(array) for array in inputs.values()}) == 1:
        inputs = {name: array[:ROWS] for name, array in inputs.items()}
    # Else a draw is that of the whole mini-batch.
    objective = build(max(len(array) for array in inputs.values()))
    native = NnablaEngine(objective, context)
    even = np.full(objective.batch_size, 1 / objective.batch_size)
    g = _gradient(native, inputs, even)
    length = _norm(g) or 1.0  # The loss may ignore all these rows.
    u = np.random.default_rng(0).normal(size=g.size) * (length / np.sqrt(g.size)) + g
    along, h = _products(native, inputs, even, u)
    if not all(np.isfinite(v).all() for v in (g, along, h)):
        raise ScoreError(_why_not_finite(native, inputs))
    in_numpy = not lacking_in_numpy(objective)
    if in_numpy:
        _check_agreement(native, NumpyEngine(objective), inputs, u, (g, along, h))
    if in_numpy and not _steps(objective):
        _check_differences(NumpyEngine(objective, np.float64), inputs, u)
    else:
        _check_alone(native, inputs, g)


def _steps(objective: Objective) -> bool:
    """Return whether one of the `_STEPS` is between a parameter and the losses."""
    moving = {key(parameter) for parameter in objective.parameters.values()}
    for function in functions_of([objective.losses]):
        if not moving.isdisjoint(function.inputs):
            if function.type in _STEPS:
                return True
            moving.update(function.outputs)
    return False


def _check_agreement(
    native: Engine, own: Engine, inputs: Inputs, u: np.ndarray, found: Sequence[np.ndarray]
) -> None:
    """Compare with what nnabla found for all rows: the gradient, J u and H u."""
    n = native.objective.batch_size
    even = np.full(n, 1 / n)
    agree = np.ones(n, bool)
    g, along, h = found
    own_along, own_h = _products(own, inputs, even, u)
    for what, theirs, ours in (
        ("tangents", along, own_along),
        ("losses", native.outputs(inputs).losses, own.outputs(inputs).losses),
    ):
        agree &= np.abs(ours - theirs) <= TOLERANCE * np.abs(theirs).max()
        _check(what, float((~agree).sum()), n, OTHER_SIDE if np.isfinite(ours).all() else 0)
    weights = even * agree
    if not agree.all():
        g, own_h = _gradient(native, inputs, weights), _products(own, inputs, weights, u)[1]
        h = _products(native, inputs, weights, u)[1]
    _check("gradient", _norm(_gradient(own, inputs, weights) - g), _norm(g), TOLERANCE)
    _check("Hessian", _norm(own_h - h), _norm(h), HESSIAN_TOLERANCE)


def _check_differences(own: NumpyEngine, inputs: Inputs, u: np.ndarray) -> None:
    n = own.objective.batch_size
    even = np.full(n, 1 / n)
    along, h = _products(own, inputs, even, u)
    theta = own.parameters()
    length = np.sqrt(sum(_norm(theta[name]) ** 2 for name, _ in own.parts(u)))
    step = EPSILON * max(length, 1e-3) / _norm(u)
    losses, gradients = [], []
    for sign in (1, -1):
        moved_by = {name: theta[name] + sign * step * part for name, part in own.parts(u)}
        own.set_parameters({**theta, **moved_by})
        losses.append(own.outputs(inputs).losses)
        gradients.append(_gradient(own, inputs, even))
    moved, turned = ((a - b) / (2 * step) for a, b in (losses, gradients))
    _check("tangents", _norm(along - moved), _norm(moved), TOLERANCE)
    _check("Hessian", _norm(h - turned), _norm(turned), TOLERANCE)


def _check_alone(native: Engine, inputs: Inputs, g: np.ndarray) -> None:
    n = native.objective.batch_size
    even = np.full(n, 1 / n)
    along, h = _products(native, inputs, even, g)
    _, hh = _products(native, inputs, even, h)
    examples = _gradient(native, inputs, even, penalty=0)
    _check("tangents", even @ along - examples @ g, examples @ g, TOLERANCE)
    _check("Hessian", h @ h - g @ hh, h @ h, HESSIAN_TOLERANCE)


def _gradient(
    engine: Engine, inputs: Inputs, weights: np.ndarray, penalty: float = 1
) -> np.ndarray:
    gradient = nn.NdArray.from_numpy_array(np.zeros(engine.size, engine.dtype))
    engine.add_gradient(inputs, weights, gradient, penalty)
    return np.array(gradient.data, np.float64)


def _products(
    engine: Engine, inputs: Inputs, weights: np.ndarray, u: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    direction, h = (
        nn.NdArray.from_numpy_array(v.astype(engine.dtype)) for v in (u, np.zeros(engine.size))
    )
    tangents = engine.add_products(inputs, weights, direction, h)
    return tangents.losses, np.array(h.data, np.float64)


def _norm(v: np.ndarray) -> float:
    return float(np.linalg.norm(v))


_UNBOUNDED = {
    "KLMultinomial": "where a target is exactly 0",
    "Log": "at 0",
    "PowScalar": "at 0",
    "Pow2": "at 0",
    "RDivScalar": "at 0",
    "Div2": "at 0",
    "Norm": "of zeros",
    "NormNormalization": "of zeros",
    "Sinc": "at 0",
    "Asin": "at -1 and 1",
    "Acos": "at -1 and 1",
    "Exp": "above 88",
    "Sinh": "beyond 88",
    "Cosh": "beyond 88",
}
"""Functions with a derivative that is not finite in float32, and where."""


def _why_not_finite(engine: Engine, inputs: Mapping[str, np.ndarray]) -> str:
    losses = engine.outputs(inputs).losses
    bad = int((~np.isfinite(losses)).sum())
    if bad:
        return (
            f"the loss of {bad} of {len(losses)} training rows is not finite at the trained"
            " parameters; look for extreme values in the training data, and for outputs outside of"
            " what the loss takes"
        )
    kinds: list[str] = []
    engine.objective.losses.visit(lambda function: kinds.append(function.info.type_name))
    known = [
        f"{kind} has no finite one {where}" for kind, where in _UNBOUNDED.items() if kind in kinds
    ]
    advice = "look for extreme values in the training data, else report the network's layers"
    return (
        "a derivative of the loss is not finite at the trained parameters, though the losses are:"
        f" {'; '.join(known) or advice}"
    )


def _check(what: str, difference: Any, size: Any, tolerance: float) -> None:
    if not abs(difference) <= tolerance * size:  # nor where it is not a number
        relative = abs(difference) / size if size else np.inf
        raise UnsupportedError(
            f"two ways to compute this network's derivatives differ (the {what} by a relative"
            f" {relative:.2g}); its scores would be wrong, so none are given. Please report the"
            " network's layers"
        )
