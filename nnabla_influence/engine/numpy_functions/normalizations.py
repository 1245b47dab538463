"""Normalisations that are made of elementary functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnabla_influence.engine.numpy_functions.tape import Array
from nnabla_influence.engine.tangents.normalizations import (
    Inputs,
    grouped,
    normalized,
)


def _statistical(kind: str) -> Callable[..., Any]:
    def function(F: Any, *x: Array, **args: Any) -> Any:
        """See nnabla: gamma n + beta."""
        v = Inputs.of({"no_bias": len(x) < 2, "no_scale": len(x) < 2, **args}, x)
        shape, axes = grouped(kind, args, v.x.shape)
        n, _ = normalized(F, F.reshape(v.x, shape), axes, args["eps"])
        y = F.reshape(n, v.x.shape)
        y = y if v.gamma is None else y * v.gamma
        return y if v.beta is None else y + v.beta

    return function


def weight_normalization(F: Any, w: Array, g: Array, dim: int = 0, eps: float = 1e-12) -> Any:
    """See nnabla."""
    axes = [i for i in range(w.ndim) if i != dim % w.ndim]
    size = F.sum(w * w, axes=axes, keep_dims=True)
    scale = F.reshape(g, size.shape) * F.pow_scalar(F.add_scalar(size, eps), -0.5)
    return w * scale


def norm(
    F: Any,
    x: Array,
    p: float | None = None,
    axes: Sequence[int] | None = None,
    keep_dims: bool = False,
) -> Any:
    """See nnabla."""
    p = 2.0 if p is None else p
    sign = F.greater_scalar(x, 0) - F.less_scalar(x, 0)
    return F.pow_scalar(F.sum(F.pow_scalar(x * sign, p), axes, keep_dims), 1 / p)


def norm_normalization(F: Any, x: Array, p: float, axes: Sequence[int], eps: float = 1e-12) -> Any:
    """See nnabla, which makes no use of eps."""
    return x / norm(F, x, p, axes, keep_dims=True)


def mean_subtraction(F: Any, x: Array, rmean: Array, t: Array, **args: Any) -> Any:
    """See nnabla; by a constant mean."""
    return x - rmean


_COMPOSED: Mapping[str, Callable[..., Any]] = {
    "group_normalization": _statistical("GroupNormalization"),
    "instance_normalization": _statistical("InstanceNormalization"),
    "layer_normalization": _statistical("LayerNormalization"),
    "mean_subtraction": mean_subtraction,
    "norm": norm,
    "norm_normalization": norm_normalization,
    "tensor_normalization": _statistical("TensorNormalization"),
    "weight_normalization": weight_normalization,
    "weight_standardization": _statistical("WeightStandardization"),
}


def functions(F: Any) -> dict[str, Callable[..., Any]]:
    """Return the normalisations by nnabla's names, made of the functions F."""
    return {name: functools.partial(function, F) for name, function in _COMPOSED.items()}
