"""Functions of one number, and masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.tape import Tensor, recorded, values


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


VALUES: Mapping[str, Callable[..., np.ndarray]] = {
    "elu": _elu,
    "exp": np.exp,
    "log": np.log,
    "maximum_scalar": lambda x, val: np.maximum(x, val),
    "minimum_scalar": lambda x, val: np.minimum(x, val),
    "pow_scalar": lambda x, val, inplace=False: x**val,
    "relu": lambda x, inplace=False: np.maximum(x, 0),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
}
"""By nnabla's name. Their derivatives are those of `nnabla_influence.engine.tangents.elementwise`."""


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
    """Return 1 and 0, without a derivative."""

    def function(x: Any, val: float = 1) -> Any:
        data = values(x)
        return compare(data, val).astype(data.dtype)

    return function


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "equal_scalar": mask(np.equal),
    "greater_equal_scalar": mask(np.greater_equal),
    "greater_scalar": mask(np.greater),
    "less_equal_scalar": mask(np.less_equal),
    "less_scalar": mask(np.less),
    "not_equal_scalar": mask(np.not_equal),
}
