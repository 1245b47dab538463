r"""The guard: no scores from a double backward that is silently wrong.

nnabla's `nn.grad` is wrong without a word for some networks. On one mini-batch, three things must
agree: g as a graph with nnabla's native gradient; J g with it, since
:math:`\sum_j v_j (J g)_j = \|g\|^2`; and H with its transpose,
:math:`\langle H g, H g \rangle = \langle g, H (H g) \rangle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnabla_influence.engine.gradients import Derivatives
from nnabla_influence.errors import ScoreError, UnsupportedError

GRADIENT_TOLERANCE = 1e-3
"""Right networks differ by less than 1e-6, every silent error that was found by more than 0.1."""

HESSIAN_TOLERANCE = 0.03
"""Wider, since the Hessian of a nearly perfect fit is mostly cancellation in float32."""


def check_derivatives(derivatives: Derivatives, inputs: Mapping[str, np.ndarray]) -> None:
    """Refuse a network whose double backward is wrong.

    Args:
        derivatives: At the trained parameters.
        inputs: One mini-batch: by dataset column, arrays of shape ``(n, ...)``.

    Raises:
        UnsupportedError: The derivatives are wrong.
        ScoreError: One of them is not finite at these parameters.
    """
    n = len(next(iter(inputs.values())))
    weights = np.full(n, 1 / n)
    native, penalized = derivatives.zeros(), derivatives.zeros()
    h, hh = derivatives.zeros(), derivatives.zeros()
    derivatives.add_gradient(inputs, weights, native)
    derivatives.add_gradient(inputs, weights, penalized, penalty=1)
    built = derivatives.graph_gradient(inputs, weights)
    products = derivatives.add_products(inputs, weights, native, h)
    derivatives.add_products(inputs, weights, h, hh)
    g, whole, hg, hhg = (v.data.astype(np.float64) for v in (native, penalized, h, hh))
    if not all(np.isfinite(v).all() for v in (g, whole, built, products, hg, hhg)):
        raise ScoreError(_why_not_finite(derivatives, inputs))
    _check("gradient", np.linalg.norm(built - whole), np.linalg.norm(whole), GRADIENT_TOLERANCE)
    _check("gradients of examples", weights @ products - g @ g, g @ g, GRADIENT_TOLERANCE)
    _check("Hessian", hg @ hg - g @ hhg, hg @ hg, HESSIAN_TOLERANCE)


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


def _why_not_finite(derivatives: Derivatives, inputs: Mapping[str, np.ndarray]) -> str:
    losses, _ = derivatives.outputs(inputs)
    bad = int((~np.isfinite(losses)).sum())
    if bad:
        return (
            f"the loss of {bad} of {len(losses)} training rows is not finite at the trained"
            " parameters; look for extreme values in the training data, and for outputs outside of"
            " what the loss takes"
        )
    kinds: list[str] = []
    derivatives.objective.losses.visit(lambda function: kinds.append(function.info.type_name))
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
            f"nnabla's second derivative of this network is wrong (the {what} by a relative"
            f" {relative:.2g}); its scores would be wrong, so none are given. Please report the"
            " network's layers"
        )
