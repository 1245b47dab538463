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

from nnabla_influence.errors import ScoreError, UnsupportedError
from nnabla_influence.gradients import Derivatives

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
        raise ScoreError(
            "a derivative of the loss is not finite at the trained parameters; outputs that are"
            " exactly 0 or 1 do this, and a loss of logits (SoftmaxCrossEntropy,"
            " SigmoidCrossEntropy) does not"
        )
    _check("gradient", np.linalg.norm(built - whole), np.linalg.norm(whole), GRADIENT_TOLERANCE)
    _check("gradients of examples", weights @ products - g @ g, g @ g, GRADIENT_TOLERANCE)
    _check("Hessian", hg @ hg - g @ hhg, hg @ hg, HESSIAN_TOLERANCE)


def _check(what: str, difference: Any, size: Any, tolerance: float) -> None:
    if abs(difference) > tolerance * size:
        relative = abs(difference) / size if size else np.inf
        raise UnsupportedError(
            f"nnabla's second derivative of this network is wrong (the {what} by a relative"
            f" {relative:.2g}); its scores would be wrong, so none are given. Please report the"
            " network's layers"
        )
