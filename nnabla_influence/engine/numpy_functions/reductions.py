"""Sums, products and extremes, also cumulative ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.tape import (
    Array,
    recorded,
    values,
)


def sum_(x: Array, axes: Sequence[int] | None = None, keep_dims: bool = False) -> Any:
    """See nnabla."""
    data = values(x)
    summed = _axes(data, axes)

    def pullback(g: np.ndarray) -> list[np.ndarray]:
        g = g if keep_dims else np.expand_dims(g, summed)
        return [np.broadcast_to(g, data.shape)]

    return recorded([x], np.asarray(data.sum(axis=summed, keepdims=keep_dims)), pullback)


def mean(x: Array, axes: Sequence[int] | None = None, keep_dims: bool = False) -> Any:
    """See nnabla."""
    n = int(np.prod([x.shape[axis] for axis in _axes(values(x), axes)]))
    # Not a number: that would make NumPy 1 turn a float32 without axes into a float64.
    return sum_(x, axes, keep_dims) * np.asarray(1 / n, values(x).dtype)


def _axes(x: np.ndarray, axes: Sequence[int] | None) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axes is None else tuple(axis % x.ndim for axis in axes)


def cumsum(
    x: Array, axis: int | None = None, exclusive: bool = False, reverse: bool = False
) -> Any:
    """See nnabla."""
    axis = 0 if axis is None else axis
    y = _cumulated(np.cumsum, values(x), axis, exclusive, reverse, 0)
    return recorded([x], y, lambda g: [_cumulated(np.cumsum, g, axis, exclusive, not reverse, 0)])


def _cumulated(
    function: Any, x: np.ndarray, axis: int, exclusive: bool, reverse: bool, first: float
) -> np.ndarray:
    if reverse:
        return np.flip(_cumulated(function, np.flip(x, axis), axis, exclusive, False, first), axis)
    if exclusive:
        x = np.moveaxis(x, axis, 0)
        x = np.moveaxis(np.concatenate([np.full_like(x[:1], first), x[:-1]]), 0, axis)
    return np.asarray(function(x, axis=axis))


def cumprod(
    x: Array, axis: int | None = None, exclusive: bool = False, reverse: bool = False
) -> Any:
    """See nnabla."""
    axis, data = 0 if axis is None else axis, values(x)
    y = _cumulated(np.cumprod, data, axis, exclusive, reverse, 1)

    def pullback(g: np.ndarray) -> list[np.ndarray]:
        # D_ji, the derivative of y_i by x_j: 1 takes its place, since some may be zero.
        n = data.shape[axis]
        eye = np.eye(n, dtype=data.dtype)
        others = np.moveaxis(data, axis, -1)[..., None, :] * (1 - eye) + eye
        products = _cumulated(np.cumprod, others, -1, exclusive, reverse, 1)
        products *= _cumulated(np.cumsum, eye, -1, exclusive, reverse, 0)
        by_x = (products @ np.moveaxis(g, axis, -1)[..., None])[..., 0]
        return [np.moveaxis(by_x, -1, axis)]

    return recorded([x], y, pullback)


def prod(x: Array, axes: Sequence[int] | None = None, keep_dims: bool = False) -> Any:
    """See nnabla."""
    data = values(x)
    axes = _axes(data, axes)
    y = np.asarray(data.prod(axis=axes, keepdims=keep_dims))

    def pullback(g: np.ndarray) -> list[np.ndarray]:
        flat, back = _last(data, axes)
        below = _cumulated(np.cumprod, flat, -1, True, False, 1)
        above = _cumulated(np.cumprod, flat, -1, True, True, 1)
        return [back(below * above * g.reshape(*flat.shape[:-1], 1))]

    return recorded([x], y, pullback)


def _last(x: np.ndarray, axes: Sequence[int]) -> tuple[np.ndarray, Callable[..., np.ndarray]]:
    """Return x with some axes as its last one, and the way back."""
    order = [axis for axis in range(x.ndim) if axis not in axes] + list(axes)
    moved = x.transpose(order)
    flat = moved.reshape(*moved.shape[: x.ndim - len(axes)], -1)
    return flat, lambda g: g.reshape(moved.shape).transpose(np.argsort(order))


def _extreme(choose: Any) -> Any:
    def function(
        x: Array,
        axes: Sequence[int] | None = None,
        keep_dims: bool = False,
        with_index: bool = False,
        only_index: bool = False,
    ) -> Any:
        """See nnabla: the first of equal ones."""
        data = values(x)
        axes = _axes(data, axes)
        flat, back = _last(data, axes)
        index = choose(flat, axis=-1)[..., None]
        shape = data.sum(axis=axes, keepdims=keep_dims).shape
        places = index.reshape(shape).astype(data.dtype)
        if only_index:
            return places

        def pullback(g: np.ndarray) -> list[np.ndarray]:
            whole = np.zeros(flat.shape, g.dtype)
            np.put_along_axis(whole, index, g.reshape(index.shape), -1)
            return [back(whole)]

        y = recorded([x], np.take_along_axis(flat, index, -1).reshape(shape), pullback)
        return [y, places] if with_index else y

    return function


FUNCTIONS = {
    "reduce_mean": mean,
    "reduce_sum": sum_,
    "cumprod": cumprod,
    "cumsum": cumsum,
    "max": _extreme(np.argmax),
    "mean": mean,
    "min": _extreme(np.argmin),
    "prod": prod,
    "sum": sum_,
}
