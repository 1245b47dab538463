r"""Reverse mode for NumPy: a tape of what was computed from the variables, and the way back.

A function of this package takes arrays and tensors. Of arrays alone it returns an array; as soon as
one of its inputs is a tensor it notes on that tensor's tape how gradients go back through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Union

import numpy as np

Array = Union[np.ndarray, "Tensor"]
Gradient = Union[np.ndarray, None]
Pullback = Callable[..., Sequence[Gradient]]


class Tape:
    """What was computed, in order; `back` goes through it once and forgets it."""

    def __init__(self) -> None:
        self._records: list[_Record] = []

    def variable(self, data: np.ndarray) -> Tensor:
        """Return a tensor that gradients are asked for."""
        return Tensor(data, self)

    def record(
        self, inputs: Sequence[Any], outputs: Sequence[np.ndarray], pullback: Pullback
    ) -> list[Tensor]:
        """Note a function, and return its outputs as tensors.

        Args:
            inputs: Tensors and others.
            outputs: What it computed.
            pullback: From the gradients by the outputs, None for one that nothing depends on, to
                those by the inputs; what it returns for others than tensors is dropped.
        """
        tensors = [Tensor(output, self) for output in outputs]
        self._records.append(_Record(inputs, tensors, pullback))
        return tensors

    def back(self, seeds: Iterable[tuple[Array, np.ndarray]]) -> None:
        """Add the gradient of sum_i <seed_i, tensor_i> to every tensor that it depends on."""
        for tensor, seed in seeds:
            if isinstance(tensor, Tensor):
                tensor.add_gradient(seed)
        while self._records:
            inputs, outputs, pullback = self._records.pop()
            gradients = [output.gradient for output in outputs]
            if all(gradient is None for gradient in gradients):
                continue
            for output in outputs:
                output.gradient = None
            for tensor, gradient in zip(inputs, pullback(*gradients)):
                if gradient is not None and isinstance(tensor, Tensor):
                    tensor.add_gradient(gradient)


class Tensor:
    """An array that depends on a tape's variables.

    Attributes:
        data: Its values.
        gradient: What `Tape.back` added up; None where nothing did.
    """

    __array_ufunc__ = None  # so that an array beside it leaves an operator to it
    __slots__ = ("_own", "data", "gradient", "tape")

    def __init__(self, data: np.ndarray, tape: Tape):
        self.data = data
        self.tape = tape
        self.gradient: np.ndarray | None = None
        self._own = False  # whether nothing else holds the array of the gradient

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the values."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Of the values."""
        return self.data.ndim

    def add_gradient(self, gradient: np.ndarray) -> None:
        """Add to the gradient."""
        if self.gradient is None:
            self.gradient = gradient
        elif self._own:
            self.gradient += gradient
        else:
            self.gradient, self._own = self.gradient + gradient, True

    def __add__(self, other: Any) -> Tensor:
        return add_scalar(self, other) if isinstance(other, (int, float)) else add2(self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Tensor:
        return add_scalar(self, -other) if isinstance(other, (int, float)) else sub2(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return sub2(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return mul_scalar(self, other) if isinstance(other, (int, float)) else mul2(self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tensor:
        return div2(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return div2(other, self)

    def __neg__(self) -> Tensor:
        return mul_scalar(self, -1.0)


class _Record(NamedTuple):
    inputs: Sequence[Any]
    outputs: list[Tensor]
    pullback: Pullback


def values(x: Any) -> Any:
    """Return the array of a tensor; anything else as it is."""
    return x.data if isinstance(x, Tensor) else x


def recorded(inputs: Sequence[Any], output: np.ndarray, pullback: Pullback) -> Any:
    """Return a function's output: a tensor where one of its inputs is one, else the array."""
    for x in inputs:
        if isinstance(x, Tensor):
            return x.tape.record(inputs, [output], pullback)[0]
    return output


def unbroadcast(gradient: np.ndarray, x: Any) -> np.ndarray:
    """Sum a gradient over the axes along which ``x`` was broadcast."""
    shape = np.shape(values(x))
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    axes = [*range(extra)]
    axes += [extra + i for i, size in enumerate(shape) if size == 1 < gradient.shape[extra + i]]
    return gradient.sum(axis=tuple(axes), keepdims=True).reshape(shape)


def add2(x0: Array, x1: Array, inplace: bool = False) -> Any:
    """x0 + x1."""

    def pullback(g: np.ndarray) -> Sequence[Gradient]:
        return [unbroadcast(g, x) if isinstance(x, Tensor) else None for x in (x0, x1)]

    return recorded((x0, x1), values(x0) + values(x1), pullback)


def sub2(x0: Array, x1: Array, inplace: bool = False) -> Any:
    """x0 - x1."""

    def pullback(g: np.ndarray) -> Sequence[Gradient]:
        return (
            unbroadcast(g, x0) if isinstance(x0, Tensor) else None,
            unbroadcast(-g, x1) if isinstance(x1, Tensor) else None,
        )

    return recorded((x0, x1), values(x0) - values(x1), pullback)


def mul2(x0: Array, x1: Array, inplace: bool = False) -> Any:
    """x0 x1."""

    def pullback(g: np.ndarray) -> Sequence[Gradient]:
        return (
            unbroadcast(g * values(x1), x0) if isinstance(x0, Tensor) else None,
            unbroadcast(g * values(x0), x1) if isinstance(x1, Tensor) else None,
        )

    return recorded((x0, x1), values(x0) * values(x1), pullback)


def div2(x0: Array, x1: Array, inplace: bool = False) -> Any:
    """x0 / x1."""
    y = values(x0) / values(x1)

    def pullback(g: np.ndarray) -> Sequence[Gradient]:
        by_x0 = g / values(x1)
        return (
            unbroadcast(by_x0, x0) if isinstance(x0, Tensor) else None,
            unbroadcast(-by_x0 * y, x1) if isinstance(x1, Tensor) else None,
        )

    return recorded((x0, x1), y, pullback)


def add_scalar(x: Array, val: float, inplace: bool = False) -> Any:
    """X + val."""
    data = values(x)
    return recorded([x], data + data.dtype.type(val), lambda g: [g])


def mul_scalar(x: Array, val: float, inplace: bool = False) -> Any:
    """Val x."""
    data = values(x)
    factor = data.dtype.type(val)
    return recorded([x], data * factor, lambda g: [g * factor])


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add2": add2,
    "add_scalar": add_scalar,
    "div2": div2,
    "mul2": mul2,
    "mul_scalar": mul_scalar,
    "sub2": sub2,
}
