r"""The guard: no scores from derivatives that are silently wrong.

Before any score is believed, a few rows go through both engines. NumPy and nnabla must agree in the
losses, the gradient, J g and H g, row by row: at a kink of ReLU or max pooling, rounding can put a
row on the other side, which is no error. What the two share, the tangent rules, is compared with
nnabla's native gradient g by :math:`\sum_j v_j (J g)_j = \|g\|^2`, and H with its transpose by
:math:`\langle H g, H g \rangle = \langle g, H (H g) \rangle`. A network of which NumPy lacks a
function has the last two checks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Objective
from nnabla_influence.engine.engine import Engine
from nnabla_influence.engine.nnabla_engine import NnablaEngine
from nnabla_influence.engine.numpy_engine import NumpyEngine, lacking_in_numpy
from nnabla_influence.errors import ScoreError, UnsupportedError

ROWS = 8
"""As many as tell; the guard costs as much as a few steps with so many."""

GRADIENT_TOLERANCE = 1e-3
"""Right networks differ by less than 1e-5; every silent error that was found by more than 0.1."""

HESSIAN_TOLERANCE = 0.03
"""Wider, since the Hessian of a nearly perfect fit is mostly cancellation in float32."""

OTHER_SIDE = 0.5
"""Of the rows, how many may be on the other side of a kink."""


def check_engines(
    build: Callable[[int], Objective], inputs: Mapping[str, np.ndarray], context: nn.Context
) -> None:
    """Refuse a network whose derivatives are wrong.

    Args:
        build: Builds the objective, at the trained parameters, for mini-batches of a size.
        inputs: One mini-batch: by dataset column, and by draw, arrays of shape ``(n, ...)``.
        context: Where nnabla computes.

    Raises:
        UnsupportedError: The derivatives are wrong.
        ScoreError: One of them is not finite at these parameters.
    """
    lengths = {len(array) for array in inputs.values()}
    if len(lengths) == 1:  # else a draw is that of the whole mini-batch
        inputs = {name: array[:ROWS] for name, array in inputs.items()}
    objective = build(max(len(array) for array in inputs.values()))
    native = NnablaEngine(objective, context)
    weights = np.full(objective.batch_size, 1 / objective.batch_size)
    g = _gradient(native, inputs, weights)
    own: Engine = native
    if not lacking_in_numpy(objective):
        own = NumpyEngine(objective)
        weights = weights * _agreeing(native, own, inputs, g)
        theirs, ours = _gradient(native, inputs, weights), _gradient(own, inputs, weights)
        _check("gradient", _norm(ours - theirs), _norm(theirs), GRADIENT_TOLERANCE)
    products, h = _products(own, inputs, weights, g)
    _, hh = _products(own, inputs, weights, h)
    if not all(np.isfinite(v).all() for v in (g, products, h, hh)):
        raise ScoreError(_why_not_finite(native, inputs))
    if own is not native:
        other = _products(native, inputs, weights, g)[1]
        _check("Hessian", _norm(h - other), _norm(other), HESSIAN_TOLERANCE)
    _check("Hessian", h @ h - g @ hh, h @ h, HESSIAN_TOLERANCE)
    even = np.full(len(weights), 1 / len(weights))
    along, _ = _products(native, inputs, even, g)
    unpenalized = _gradient(native, inputs, even, penalty=0)
    _check("tangents", even @ along - unpenalized @ g, unpenalized @ g, GRADIENT_TOLERANCE)


def _agreeing(
    one: Engine, other: Engine, inputs: Mapping[str, np.ndarray], g: np.ndarray
) -> np.ndarray:
    """Return which rows the engines agree in, shape ``(n,)``."""
    n = one.objective.batch_size
    agree = np.ones(n, bool)
    even = np.full(n, 1 / n)
    pairs = {
        "losses": [engine.outputs(inputs)[0] for engine in (one, other)],
        "tangents": [_products(engine, inputs, even, g)[0] for engine in (one, other)],
    }
    for what, (a, b) in pairs.items():
        if np.isfinite(a).all() and np.isfinite(b).all():
            agree &= np.abs(a - b) <= GRADIENT_TOLERANCE * np.abs(a).max()
            _check(what, (~agree).sum(), n, OTHER_SIDE)
    return agree


def _gradient(
    engine: Engine, inputs: Mapping[str, np.ndarray], weights: np.ndarray, penalty: float = 1
) -> np.ndarray:
    gradient = engine.zeros()
    engine.add_gradient(inputs, weights, gradient, penalty)
    return np.array(gradient.data, np.float64)


def _products(
    engine: Engine, inputs: Mapping[str, np.ndarray], weights: np.ndarray, u: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    direction, h = engine.zeros(), engine.zeros()
    direction.data = u
    tangents = engine.add_products(inputs, weights, direction, h)
    return tangents.losses, np.array(h.data, np.float64)


def _norm(v: np.ndarray) -> float:
    return float(np.linalg.norm(v))


_UNBOUNDED = {
    "BinaryCrossEntropy": (
        "where an output is exactly 0 or 1; SigmoidCrossEntropy, of what comes before a Sigmoid,"
        " does not"
    ),
    "CategoricalCrossEntropy": (
        "where an output is exactly 0; SoftmaxCrossEntropy, of what comes before a Softmax, does"
        " not"
    ),
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
    losses, _ = engine.outputs(inputs)
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
    if abs(difference) > tolerance * size:
        relative = abs(difference) / size if size else np.inf
        raise UnsupportedError(
            f"two ways to compute this network's derivatives differ (the {what} by a relative"
            f" {relative:.2g}); its scores would be wrong, so none are given. Please report the"
            " network's layers"
        )
