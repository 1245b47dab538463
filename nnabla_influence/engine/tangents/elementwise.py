r"""Derivatives of functions of one number, :math:`y = f(x)`: :math:`y' = f'(x)\, x'`.

Each takes (F, x, y, arguments) and returns f'(x). A mask, such as F.greater_scalar, has no
derivative of its own.

At a kink, and where nnabla passes a gradient straight through a step, f' is what nnabla's own
gradient has there: training went along that one. So a Sign is no mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def _abs(F: Any, x: Any, y: Any) -> Any:
    return 2 * F.greater_equal_scalar(x, 0) - 1


def _acos(F: Any, x: Any, y: Any) -> Any:
    return -1.0 * F.pow_scalar(1 - x * x, -0.5)


def _acosh(F: Any, x: Any, y: Any) -> Any:
    return F.pow_scalar(x * x - 1, -0.5)


def _asin(F: Any, x: Any, y: Any) -> Any:
    return F.pow_scalar(1 - x * x, -0.5)


def _asinh(F: Any, x: Any, y: Any) -> Any:
    return F.pow_scalar(1 + x * x, -0.5)


def _atan(F: Any, x: Any, y: Any) -> Any:
    return 1 / (1 + x * x)


def _atanh(F: Any, x: Any, y: Any) -> Any:
    return 1 / (1 - x * x)


def _binary_sigmoid(F: Any, x: Any, y: Any) -> Any:
    return 0.5 * F.less_scalar(F.abs(x), 1)


def _binary_tanh(F: Any, x: Any, y: Any) -> Any:
    return F.less_scalar(F.abs(x), 1)


def _cos(F: Any, x: Any, y: Any) -> Any:
    return -1.0 * F.sin(x)


def _cosh(F: Any, x: Any, y: Any) -> Any:
    return F.sinh(x)


def _elu(F: Any, x: Any, y: Any, alpha: float) -> Any:
    above = F.greater_equal_scalar(x, 0)
    # x is masked before the exponential, too: above 88 that is infinite.
    return above + (1 - above) * (alpha * F.exp(F.minimum_scalar(x, 0)))


def _erf(F: Any, x: Any, y: Any) -> Any:
    return (2 / math.sqrt(math.pi)) * F.exp(-1.0 * (x * x))


def _exp(F: Any, x: Any, y: Any) -> Any:
    return y


def _gelu(F: Any, x: Any, y: Any) -> Any:
    """Of y = x (1 + t) / 2 with t = tanh(c (x + a x^3))."""
    c, a = math.sqrt(2 / math.pi), 0.044715
    t = F.tanh(c * (x + a * (x * x * x)))
    return 0.5 * (1 + t) + (0.5 * x) * (1 - t * t) * (c + (3 * a * c) * (x * x))


def _hard_sigmoid(F: Any, x: Any, y: Any) -> Any:
    return 0.2 * F.less_equal_scalar(F.abs(x), 2.5)


def _hard_tanh(F: Any, x: Any, y: Any) -> Any:
    return F.less_equal_scalar(F.abs(x), 1)


def _leaky_relu(F: Any, x: Any, y: Any, alpha: float, **_: Any) -> Any:
    return alpha + (1 - alpha) * F.greater_scalar(x, 0)


def _log(F: Any, x: Any, y: Any) -> Any:
    return 1 / x


def _log_sigmoid(F: Any, x: Any, y: Any) -> Any:
    return F.sigmoid(-1.0 * x)


def _maximum_scalar(F: Any, x: Any, y: Any, val: float) -> Any:
    return F.greater_scalar(x, val)


def _minimum_scalar(F: Any, x: Any, y: Any, val: float) -> Any:
    return F.less_scalar(x, val)


def _mish(F: Any, x: Any, y: Any) -> Any:
    """Of y = x t with t = tanh(log(1 + e^x))."""
    t = F.tanh(F.softplus(x))
    return t + x * (1 - t * t) * F.sigmoid(x)


def _pow_scalar(F: Any, x: Any, y: Any, val: float, **_: Any) -> Any:
    if val in (0, 1):
        return val
    if val == 2:
        return 2 * x
    return val * F.pow_scalar(x, val - 1)


def _r_div_scalar(F: Any, x: Any, y: Any, val: float) -> Any:
    return -1.0 * (y / x)


def _r_pow_scalar(F: Any, x: Any, y: Any, val: float) -> Any:
    return y * (math.log(val) if val > 0 else math.nan)


def _relu(F: Any, x: Any, y: Any, **_: Any) -> Any:
    return F.greater_scalar(x, 0)


def _relu6(F: Any, x: Any, y: Any) -> Any:
    return F.greater_scalar(x, 0) * F.less_scalar(x, 6)


def _reset_inf(F: Any, x: Any, y: Any, val: float) -> Any:
    return F.less_scalar(F.abs(x), math.inf)


def _reset_nan(F: Any, x: Any, y: Any, val: float) -> Any:
    return F.equal(x, x)


def _selu(F: Any, x: Any, y: Any, scale: float, alpha: float) -> Any:
    above = F.greater_scalar(x, 0)
    return scale * above + (1 - above) * (scale * alpha * F.exp(F.minimum_scalar(x, 0)))


def _sigmoid(F: Any, x: Any, y: Any) -> Any:
    return y * (1 - y)


def _sin(F: Any, x: Any, y: Any) -> Any:
    return F.cos(x)


def _sinc(F: Any, x: Any, y: Any) -> Any:
    """(cos x - y) / x, of which nothing is left near 0: its series there."""
    near = F.less_scalar(F.abs(x), 0.3)
    z = x * near
    series = z * (-1 / 3 + (z * z) * (1 / 30 - (z * z) * (1 / 840)))
    return series + (F.cos(x) - y) * (1 - near) / (x * (1 - near) + near)


def _sinh(F: Any, x: Any, y: Any) -> Any:
    return F.cosh(x)


def _softplus(F: Any, x: Any, y: Any, beta: float = 1.0) -> Any:
    return F.sigmoid(beta * x)


def _softsign(F: Any, x: Any, y: Any) -> Any:
    return F.pow_scalar(1 + F.abs(x), -2)


def _straight_through(F: Any, x: Any, y: Any, **_: Any) -> Any:
    return 1


def _swish(F: Any, x: Any, y: Any) -> Any:
    s = F.sigmoid(x)
    return s + x * (s * (1 - s))


def _tan(F: Any, x: Any, y: Any) -> Any:
    return 1 + y * y


def _tanh(F: Any, x: Any, y: Any) -> Any:
    return 1 - y * y


def _tanh_shrink(F: Any, x: Any, y: Any) -> Any:
    t = F.tanh(x)
    return t * t


DERIVATIVES: Mapping[str, Callable[..., Any]] = {
    "ACos": _acos,
    "ACosh": _acosh,
    "ASin": _asin,
    "ASinh": _asinh,
    "ATan": _atan,
    "ATanh": _atanh,
    "Abs": _abs,
    "BinarySigmoid": _binary_sigmoid,
    "BinaryTanh": _binary_tanh,
    "Ceil": _straight_through,
    "Cos": _cos,
    "Cosh": _cosh,
    "ELU": _elu,
    "Erf": _erf,
    "Exp": _exp,
    "Floor": _straight_through,
    "GELU": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardTanh": _hard_tanh,
    "LeakyReLU": _leaky_relu,
    "Log": _log,
    "LogSigmoid": _log_sigmoid,
    "MaximumScalar": _maximum_scalar,
    "MinimumScalar": _minimum_scalar,
    "Mish": _mish,
    "PowScalar": _pow_scalar,
    "Prune": _straight_through,
    "RDivScalar": _r_div_scalar,
    "RPowScalar": _r_pow_scalar,
    "ReLU": _relu,
    "ReLU6": _relu6,
    "ResetInf": _reset_inf,
    "ResetNaN": _reset_nan,
    "Round": _straight_through,
    "SELU": _selu,
    "Sigmoid": _sigmoid,
    "Sign": _straight_through,
    "Sin": _sin,
    "Sinc": _sinc,
    "Sinh": _sinh,
    "SoftPlus": _softplus,
    "SoftSign": _softsign,
    "Swish": _swish,
    "Tan": _tan,
    "Tanh": _tanh,
    "TanhShrink": _tanh_shrink,
}
