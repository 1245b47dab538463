"""Functions of two inputs or more, element by element; the four operators are in `tape`."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.tape import (
    Array,
    Gradient,
    Tensor,
    add2,
    recorded,
    unbroadcast,
    values,
)
from nnabla_influence.engine.tangents.arithmetic import PARTIALS, slopes

VALUES: Mapping[str, Callable[..., np.ndarray]] = {
    "atan2": np.arctan2,
    "maximum2": np.maximum,
    "minimum2": np.minimum,
    "mod2": lambda x0, x1, fmod=False: np.fmod(x0, x1),
    "pow2": lambda x0, x1, inplace=False: x0**x1,
}
"""By nnabla's name; their derivatives are in `nnabla_influence.engine.tangents.arithmetic`."""


def binary(
    forward: Callable[..., Any], partials: Sequence[Callable[..., Any]], F: Any
) -> Callable[..., Any]:
    """Return a function of two arrays or tensors, from its values and its two derivatives."""

    def function(x0: Array, x1: Array, *given: Any, **args: Any) -> Any:
        a, b = values(x0), values(x1)
        y = forward(a, b, *given, **args)

        def pullback(g: np.ndarray) -> Sequence[Gradient]:
            return [
                unbroadcast(g * partial(F, a, b, y, *given, **args), x)
                if isinstance(x, Tensor)
                else None
                for x, partial in zip((x0, x1), partials)
            ]

        return recorded([x0, x1], y, pullback)

    return function


def functions(F: Any) -> dict[str, Callable[..., Any]]:
    """Return the functions, by nnabla's names, that call others of F."""

    def celu(x: Array, alpha: float, axis: int) -> Any:
        return F.concatenate(F.elu(x, alpha), F.elu(-x, alpha), axis=axis)

    def crelu(x: Array, axis: int) -> Any:
        above = F.greater_scalar(x, 0)
        return F.concatenate(x * above, x * (above - 1), axis=axis)

    def prelu(x0: Array, x1: Array, base_axis: int) -> Any:
        above = F.greater_equal_scalar(x0, 0)
        return x0 * (above + (1 - above) * slopes(F, x1, x0.ndim, base_axis))

    return {
        "add_n": lambda *x: functools.reduce(operator.add, x),
        "bc_add2": add2,
        "celu": celu,
        "crelu": crelu,
        "mul_n": lambda *x: functools.reduce(operator.mul, x),
        "prelu": prelu,
        "r_sub_scalar": lambda x, val: val - x,
        "where": where,
        **by_values(VALUES, PARTIALS, F),
    }


def by_values(
    forwards: Mapping[str, Callable[..., Any]],
    partials: Mapping[str, Sequence[Callable[..., Any]]],
    F: Any,
) -> dict[str, Callable[..., Any]]:
    """Return `binary` functions by nnabla's names; ``partials`` are by its types."""
    of_name = {kind.lower(): both for kind, both in partials.items()}
    return {
        name: binary(forward, of_name.get(name.replace("_", ""), ()), F)
        for name, forward in forwards.items()
    }


def where(condition: Array, x_true: Array, x_false: Array) -> Any:
    """See nnabla: the condition may have fewer axes, the first ones."""
    chosen = values(condition) != 0
    chosen = chosen.reshape(chosen.shape + (1,) * (x_true.ndim - chosen.ndim))
    y = np.where(chosen, values(x_true), values(x_false))
    zero = y.dtype.type(0)
    return recorded(
        [condition, x_true, x_false],
        y,
        lambda g: [None, np.where(chosen, g, zero), np.where(chosen, zero, g)],
    )
