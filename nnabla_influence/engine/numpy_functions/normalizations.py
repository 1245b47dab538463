"""Normalisations: by constant statistics with their tangent, others of elementary functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.layers import Pair, paired
from nnabla_influence.engine.numpy_functions.tape import Array, Gradient, Tensor, values
from nnabla_influence.engine.tangents.normalizations import (
    Inputs,
    grouped,
    normalized,
    scale_and_shift,
    scale_and_shift_tangents,
)
from nnabla_influence.engine.threads import for_each

_BLOCK = 100_000
"""Values at a time: so that what was read once is still in the cache."""


def batch_normalization_pair(F: Any, *given: Pair, **args: Any) -> Pair:
    """Return y = s x + t and its tangent, by constant statistics."""
    v = Inputs.of(args, [pair.value for pair in given])
    d = Inputs.of(args, [pair.tangent for pair in given])
    ds, dt = scale_and_shift_tangents(F, args, v, d)
    s, t = scale_and_shift(F, args, v)
    return scaled(given[0], Pair(s, ds), Pair(t, dt))


def batch_normalization(F: Any, *x: Array, **args: Any) -> Any:
    """See nnabla; by constant statistics."""
    return batch_normalization_pair(F, *map(Pair, x), **args).value


def scaled(x: Pair, s: Pair, t: Pair) -> Pair:
    """Return y = s x + t and y' = s x' + s' x + t', with few passes over the memory of x.

    Args:
        x: Of any shape.
        s: Of as many axes; 1 along those that it is broadcast along.
        t: As s.
    """
    (x_, dx), (s_, ds), (t_, dt) = ([values(v) for v in pair] for pair in (x, s, t))
    shape, blocks = s_.shape, _blocks(x_, s_)
    s_, ds, t_, dt = (_repeated(v, x_) for v in (s_, ds, t_, dt))
    y = np.empty_like(x_)
    moves = any(v is not None for v in (dx, ds, dt))
    dy = np.empty_like(x_) if moves else None

    def forward(some: slice) -> None:
        _combine(y, some, (x_, s_), shift=t_)
        if dy is not None:
            _combine(dy, some, (dx, s_), (x_, ds), shift=dt)

    for_each(forward, blocks)

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        def gradient(v: Any, shape: Sequence[int], *products: Any) -> Any:
            known = [both for both in products if both[0] is not None and both[1] is not None]
            wanted = isinstance(v, Tensor) and known
            return (np.empty_like(x_, shape=shape), known) if wanted else None

        one = np.ones((1,) * x_.ndim, x_.dtype)
        parts = (len(blocks), *shape)
        large = [
            gradient(x.value, x_.shape, (p, s_), (q, ds)),
            gradient(x.tangent, x_.shape, (q, s_)),
        ]
        small = [
            gradient(s.value, parts, (p, x_), (q, dx)),
            gradient(s.tangent, parts, (q, x_)),
            gradient(t.value, parts, (p, one)),
            gradient(t.tangent, parts, (q, one)),
        ]

        def back(number: int) -> None:
            for out, products in filter(None, large):
                _combine(out, blocks[number], *products)
            for out, products in filter(None, small):
                out[number] = sum(_sum_of(g, v, blocks[number], shape) for g, v in products)

        for_each(back, range(len(blocks)))
        return [
            *(None if found is None else found[0] for found in large),
            *(None if found is None else found[0].sum(axis=0) for found in small),
        ]

    return paired((*x, *s, *t), y, dy, pullback)


def _blocks(x: np.ndarray, s: np.ndarray) -> list[slice]:
    """Return parts of the examples; all at once where each has an s of its own."""
    if x.ndim == 0 or s.shape[0] != 1 or not x.size:
        return [slice(None)]
    n = max(1, _BLOCK * len(x) // x.size)
    return [slice(i, i + n) for i in range(0, len(x), n)]


def _repeated(s: np.ndarray | None, x: np.ndarray) -> np.ndarray | None:
    """Repeat s along the axis of x's memory beside the last: NumPy's loops are long ones then."""
    if s is None or x.ndim < 3:
        return s
    last, beside = np.argsort(x.strides)[:2]
    if s.shape[last] == 1 or s.shape[beside] != 1 or beside == 0:
        return s
    longer = np.empty_like(
        x, shape=[n if i != beside else x.shape[i] for i, n in enumerate(s.shape)]
    )
    longer[...] = s
    return longer


def _combine(out: np.ndarray, some: slice, *products: Any, shift: np.ndarray | None = None) -> None:
    """Put a sum of products of large and small arrays, and a small one, into a part of ``out``."""
    out, empty = out[some], True
    for large, small in products:
        if large is None or small is None:
            continue
        if empty:
            np.multiply(large[some], small, out=out)
        else:
            out += large[some] * small
        empty = False
    if empty:
        out[...] = 0
    if shift is not None:
        out += shift


def _sum_of(g: np.ndarray, other: np.ndarray, some: slice, shape: Sequence[int]) -> np.ndarray:
    """Return the sum of a part of g times ``other`` over the axes where ``shape`` is 1."""
    letters = "abcdefghijkl"[: g.ndim]
    kept = "".join(letter for letter, n in zip(letters, shape) if n != 1)
    if other.size == 1:
        return np.einsum(f"{letters}->{kept}", g[some]).reshape(shape)
    return np.einsum(f"{letters},{letters}->{kept}", g[some], other[some]).reshape(shape)


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
    "batch_normalization": batch_normalization,
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
