"""Functions of one number, and masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.tape import Tensor, recorded, values
from nnabla_influence.engine.tangents.elementwise import DERIVATIVES


def _binary_sigmoid(x: np.ndarray) -> np.ndarray:
    return (x > 0).astype(x.dtype)


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[x.dtype])(x)


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


def _log_sigmoid(x: np.ndarray) -> np.ndarray:
    return -_softplus(-x)


def _mish(x: np.ndarray) -> np.ndarray:
    return x * np.tanh(_softplus(x))


def _round(x: np.ndarray) -> np.ndarray:
    """Halves go away from 0."""
    whole = np.trunc(x)
    return whole + np.trunc(2 * (x - whole))


def _selu(x: np.ndarray, scale: float, alpha: float) -> np.ndarray:
    return scale * _elu(x, alpha)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def _sinc(x: np.ndarray) -> np.ndarray:
    return np.divide(np.sin(x), x, out=np.ones_like(x), where=x != 0)


def _softplus(x: np.ndarray, beta: float = 1.0) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-beta * np.abs(x))) / beta


VALUES: Mapping[str, Callable[..., np.ndarray]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "binary_sigmoid": _binary_sigmoid,
    "binary_tanh": lambda x: 2 * _binary_sigmoid(x) - 1,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "elu": _elu,
    "erf": _erf,
    "exp": np.exp,
    "floor": np.floor,
    "gelu": _gelu,
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "leaky_relu": lambda x, alpha=0.1, inplace=False: np.where(x > 0, x, alpha * x),
    "log": np.log,
    "log_sigmoid": _log_sigmoid,
    "maximum_scalar": lambda x, val: np.maximum(x, val),
    "minimum_scalar": lambda x, val: np.minimum(x, val),
    "mish": _mish,
    "pow_scalar": lambda x, val, inplace=False: x**val,
    "r_div_scalar": lambda x, val: val / x,
    "r_pow_scalar": lambda x, val: np.power(val, x, dtype=x.dtype),
    "relu": lambda x, inplace=False: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "reset_inf": lambda x, val: np.where(np.isinf(x), x.dtype.type(val), x),
    "reset_nan": lambda x, val: np.where(np.isnan(x), x.dtype.type(val), x),
    "round": _round,
    "selu": _selu,
    "sigmoid": _sigmoid,
    "sign": lambda x, alpha: np.where(x == 0, x.dtype.type(alpha), np.sign(x)),
    "sin": np.sin,
    "sinc": _sinc,
    "sinh": np.sinh,
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "swish": lambda x: x * _sigmoid(x),
    "tan": np.tan,
    "tanh": np.tanh,
    "tanh_shrink": lambda x: x - np.tanh(x),
}
"""By nnabla's name; their derivatives are in `nnabla_influence.engine.tangents.elementwise`."""


def unary(
    forward: Callable[..., Any], derivative: Callable[..., Any], F: Any
) -> Callable[..., Any]:
    """Return a function of arrays and tensors, from its values and its derivative."""

    def function(x: Any, *given: Any, **args: Any) -> Any:
        data = values(x)
        y = forward(data, *given, **args)
        if not isinstance(x, Tensor):
            return y
        return recorded([x], y, lambda g: [g * derivative(F, data, y, *given, **args)])

    return function


def mask(compare: Callable[..., Any]) -> Callable[..., Any]:
    """Return 1 and 0, without a derivative; of one array, or with another, or with a number."""

    def function(x: Any, *others: Any, **args: Any) -> Any:
        data = values(x)
        return compare(data, *map(values, others), *args.values()).astype(data.dtype)

    return function


_COMPARISONS: Mapping[str, Callable[..., Any]] = {
    "equal": np.equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "not_equal": np.not_equal,
}

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "identity": lambda x: x,
    "isinf": mask(np.isinf),
    "isnan": mask(np.isnan),
    "logical_not": mask(np.logical_not),
    "unlink": values,
    **{name: mask(compare) for name, compare in _COMPARISONS.items()},
    **{f"{name}_scalar": mask(compare) for name, compare in _COMPARISONS.items()},
}


def functions(F: Any) -> dict[str, Callable[..., Any]]:
    """Return the `VALUES` with their derivatives, by nnabla's names."""
    derivatives = {kind.lower(): derivative for kind, derivative in DERIVATIVES.items()}
    return {
        name: unary(forward, derivatives[name.replace("_", "")], F)
        for name, forward in VALUES.items()
    }
