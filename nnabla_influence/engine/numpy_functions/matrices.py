"""Functions of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnabla_influence.engine.numpy_functions.arrays import at
from nnabla_influence.engine.numpy_functions.tape import (
    Array,
    Gradient,
    Tensor,
    recorded,
    unbroadcast,
    values,
)


def eye_like(x: Array, k: int = 0) -> np.ndarray:
    """See nnabla."""
    return np.eye(x.shape[0], x.shape[1], k, dtype=values(x).dtype)


def batch_matmul(a: Array, b: Array, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    """See nnabla."""
    left, right = values(a), values(b)
    left = left.swapaxes(-1, -2) if transpose_a else left
    right = right.swapaxes(-1, -2) if transpose_b else right

    def pullback(g: np.ndarray) -> list[Gradient]:
        by_a = by_b = None
        if isinstance(a, Tensor):
            by_a = g @ right.swapaxes(-1, -2)
            by_a = unbroadcast(by_a.swapaxes(-1, -2) if transpose_a else by_a, a)
        if isinstance(b, Tensor):
            by_b = left.swapaxes(-1, -2) @ g
            by_b = unbroadcast(by_b.swapaxes(-1, -2) if transpose_b else by_b, b)
        return [by_a, by_b]

    return recorded([a, b], left @ right, pullback)


def matrix_diag(x: Array) -> Any:
    """See nnabla."""
    data = values(x)
    places = np.arange(data.shape[-1])
    y = np.zeros((*data.shape, data.shape[-1]), data.dtype)
    y[..., places, places] = data
    return recorded([x], y, lambda g: [g[..., places, places]])


def matrix_diag_part(x: Array) -> Any:
    """See nnabla."""
    places = np.arange(x.shape[-1])
    return at(x, (..., places, places))


def trilu(x: Array, k: int = 0, upper: bool = True) -> Any:
    """See nnabla."""
    part = np.triu if upper else np.tril
    return recorded([x], part(values(x), k), lambda g: [part(g, k)])


def batch_inv(x: Array) -> Any:
    """See nnabla."""
    y = np.linalg.inv(values(x))
    turned = y.swapaxes(-1, -2)
    return recorded([x], y, lambda g: [-(turned @ g @ turned)])


def batch_det(x: Array) -> Any:
    """See nnabla."""
    y = np.linalg.det(values(x))

    def pullback(g: np.ndarray) -> list[np.ndarray]:
        return [(g * y)[..., None, None] * np.linalg.inv(values(x)).swapaxes(-1, -2)]

    return recorded([x], y, pullback)


def einsum(*x: Array, equation: str) -> Any:
    """See nnabla; each letter once in an input, and the output given."""
    given, result = equation.replace(" ", "").split("->")
    letters, datas = given.split(","), [values(v) for v in x]

    def gradient(i: int, g: np.ndarray) -> np.ndarray:
        others = [(name, data) for j, (name, data) in enumerate(zip(letters, datas)) if j != i]
        # A letter that is nowhere else was summed alone: its gradient is the same all along.
        found = result + "".join(name for name, _ in others)
        kept = "".join(letter for letter in letters[i] if letter in found)
        equation = ",".join([result, *(name for name, _ in others)]) + "->" + kept
        part = np.einsum(equation, g, *(data for _, data in others), optimize=True)
        shape = [n if c in kept else 1 for c, n in zip(letters[i], datas[i].shape)]
        return np.broadcast_to(part.reshape(shape), datas[i].shape)

    def pullback(g: np.ndarray) -> list[Gradient]:
        return [gradient(i, g) if isinstance(v, Tensor) else None for i, v in enumerate(x)]

    return recorded(x, np.asarray(np.einsum(equation, *datas, optimize=True)), pullback)


FUNCTIONS = {
    "batch_det": batch_det,
    "batch_inv": batch_inv,
    "einsum": einsum,
    "batch_matmul": batch_matmul,
    "eye_like": eye_like,
    "matrix_diag": matrix_diag,
    "matrix_diag_part": matrix_diag_part,
    "trilu": trilu,
}
