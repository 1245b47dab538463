"""Normalisations: by constant statistics with their tangent, others of elementary functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.layers import Pair, paired
from nnabla_influence.engine.numpy_functions.tape import Array, Gradient, Tensor, values
from nnabla_influence.engine.tangents.normalizations import (
    STATISTICAL,
    Fused,
    Inputs,
    fused_arguments,
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
    y = np.empty_like(x_)
    dy = None if dx is None and ds is None and dt is None else np.empty_like(x_)
    blocks = _blocks(x_, s_)

    def forward(some: slice) -> None:
        np.multiply(x_[some], s_, out=y[some])
        y[some] += t_
        if dy is None:
            return
        out = dy[some]
        if dx is not None:
            np.multiply(dx[some], s_, out=out)
            if ds is not None:
                out += x_[some] * ds
        elif ds is not None:
            np.multiply(x_[some], ds, out=out)
        else:
            out[...] = 0
        if dt is not None:
            out += dt

    for_each(forward, blocks)

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        inputs = (*x, *s, *t)
        by_x, by_dx, by_s, by_ds, by_t, by_dt = (
            g is not None and isinstance(v, Tensor)
            for g, v in zip((q if p is None else p, q, q if p is None else p, q, p, q), inputs)
        )
        large = [np.empty_like(x_) if wanted else None for wanted in (by_x, by_dx)]
        sums = [
            np.zeros((len(blocks), *s_.shape), x_.dtype) if wanted else None
            for wanted in (by_s, by_ds, by_t, by_dt)
        ]
        add = _summing(x_.ndim, s_.shape)

        def back(number: int) -> None:
            some = blocks[number]
            p_ = None if p is None else p[some]
            q_ = None if q is None else q[some]
            if large[0] is not None:
                _combine(large[0][some], (p_, s_), (q_, ds))
            if large[1] is not None:
                _combine(large[1][some], (q_, s_))
            for total, *products in (
                (sums[0], (p_, x_), (q_, dx)),
                (sums[1], (q_, x_)),
                (sums[2], (p_, None)),
                (sums[3], (q_, None)),
            ):
                if total is not None:
                    for g, other in products:
                        if g is not None and (other is not None or len(products) == 1):
                            add(total[number], g, None if other is None else other[some])

        for_each(back, range(len(blocks)))
        small = [None if total is None else total.sum(axis=0) for total in sums]
        return [*large, *small]

    return paired((*x, *s, *t), y, dy, pullback)


def _blocks(x: np.ndarray, s: np.ndarray) -> list[slice]:
    """Return parts of the examples; all at once where each has an s of its own."""
    if x.ndim == 0 or s.shape[0] != 1 or not x.size:
        return [slice(None)]
    n = max(1, _BLOCK * len(x) // x.size)
    return [slice(i, i + n) for i in range(0, len(x), n)]


def _combine(out: np.ndarray, *products: tuple[Gradient, Gradient]) -> None:
    """Put the sum of the products that there are into ``out``."""
    found = [(g, s) for g, s in products if g is not None and s is not None]
    if not found:
        out[...] = 0
    for number, (g, s) in enumerate(found):
        if number:
            out += g * s
        else:
            np.multiply(g, s, out=out)


def _summing(ndim: int, shape: Sequence[int]) -> Callable[..., None]:
    """Return what adds the sum of a product over the axes where ``shape`` is 1."""
    letters = "abcdefghijkl"[:ndim]
    kept = "".join(letter for letter, n in zip(letters, shape) if n != 1)

    def add(total: np.ndarray, g: np.ndarray, other: np.ndarray | None) -> None:
        if other is None:
            part = np.einsum(f"{letters}->{kept}", g)
        else:
            part = np.einsum(f"{letters},{letters}->{kept}", g, other)
        total += part.reshape(shape)

    return add


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
    if args["update_running_mean"]:
        raise ValueError("a MeanSubtraction that updates its mean has state: let it not update")
    return x - rmean


def fused_batch_normalization(F: Any, *x: Array, **args: Any) -> Any:
    """See nnabla; by constant statistics."""
    y = batch_normalization(F, *x[:5], **args)
    y = y + x[5] if len(x) > 5 else y
    return F.relu(y) if args["nonlinearity"] == "relu" else y


def fused_convolution(F: Any, *x: Array, **args: Any) -> Any:
    """See nnabla; by constant statistics."""
    of_convolution, of_normalization = fused_arguments(args)
    given = Fused.of(x, x)
    y = F.convolution(*given.convolution, **of_convolution)
    if given.normalization:
        y = batch_normalization(F, y, *given.normalization, **of_normalization)
    y = y + given.added[0] if given.added else y
    return F.relu(y) if args["nonlinearity"] == "relu" else y


COMPOSED: Mapping[str, Callable[..., Any]] = {
    "batch_normalization": batch_normalization,
    "fused_batch_normalization": fused_batch_normalization,
    "fused_convolution": fused_convolution,
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
"""Each takes the functions of NumPy, too."""
