r"""Derivatives of functions of one number, :math:`y = f(x)`: :math:`y' = f'(x)\, x'`.

Each takes (F, x, y, arguments) and returns f'(x). A mask, such as F.greater_scalar, has no
derivative of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _relu(F: Any, x: Any, y: Any, **_: Any) -> Any:
    return F.greater_scalar(x, 0)


def _tanh(F: Any, x: Any, y: Any) -> Any:
    return 1 - y * y


def _sigmoid(F: Any, x: Any, y: Any) -> Any:
    return y * (1 - y)


def _exp(F: Any, x: Any, y: Any) -> Any:
    return y


def _log(F: Any, x: Any, y: Any) -> Any:
    return 1 / x


def _pow_scalar(F: Any, x: Any, y: Any, val: float, **_: Any) -> Any:
    if val == 2:
        return 2 * x
    return val * F.pow_scalar(x, val - 1)


def _elu(F: Any, x: Any, y: Any, alpha: float) -> Any:
    above = F.greater_scalar(x, 0)
    # x is masked before the exponential, too: above 88 that is infinite.
    return above + (1 - above) * (alpha * F.exp(F.minimum_scalar(x, 0)))


def _maximum_scalar(F: Any, x: Any, y: Any, val: float) -> Any:
    return F.greater_equal_scalar(x, val)


def _minimum_scalar(F: Any, x: Any, y: Any, val: float) -> Any:
    return F.less_equal_scalar(x, val)


DERIVATIVES: Mapping[str, Callable[..., Any]] = {
    "ELU": _elu,
    "Exp": _exp,
    "Log": _log,
    "MaximumScalar": _maximum_scalar,
    "MinimumScalar": _minimum_scalar,
    "PowScalar": _pow_scalar,
    "ReLU": _relu,
    "Sigmoid": _sigmoid,
    "Tanh": _tanh,
}
