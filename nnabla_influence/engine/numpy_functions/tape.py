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
    """What was computed, in order; `back` goes through it once and forgets it.

    Args:
        k: The number of targets whose tangents are carried at once, None for one alone. Tangents
            have a first axis for them then, and so have all gradients.

    Attributes:
        target: While something is computed for one of the targets alone, its number.
    """

    def __init__(self, k: int | None = None) -> None:
        self._records: list[_Record] = []
        self._k = k
        self.target: int | None = None

    def variable(self, data: np.ndarray) -> Tensor:
        """Return a tensor that gradients are asked for."""
        return Tensor(data, self)

    def record(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[np.ndarray],
        pullback: Pullback,
        stacked: bool = False,
    ) -> list[Tensor]:
        """Note a function, and return its outputs as tensors.

        Args:
            inputs: Tensors and others.
            outputs: What it computed.
            pullback: From the gradients by the outputs, None for one that nothing depends on, to
                those by the inputs; what it returns for others than tensors is dropped.
            stacked: Whether the pullback takes gradients of all targets at once, where there are
                several; else it is called for each of them.
        """
        tensors = [Tensor(output, self) for output in outputs]
        self._records.append(_Record(inputs, tensors, pullback, stacked, self.target))
        return tensors

    def back(self, seeds: Iterable[tuple[Array, np.ndarray]]) -> None:
        """Add the gradient of sum_i <seed_i, tensor_i> to every tensor that it depends on."""
        for tensor, seed in seeds:
            if isinstance(tensor, Tensor):
                tensor.add_gradient(seed)
        while self._records:
            record = self._records.pop()
            gradients = [output.gradient for output in record.outputs]
            if all(gradient is None for gradient in gradients):
                continue
            if self._k is None or record.stacked or record.target is not None:
                found = record.pullback(*gradients)
            else:
                found = _for_each_target(record.pullback, gradients, self._k)
            for tensor, gradient in zip(record.inputs, found):
                if gradient is None or not isinstance(tensor, Tensor):
                    continue
                if record.target is not None and tensor.target is None:
                    tensor.add_gradient_of(record.target, gradient, self._k or 1)
                else:
                    tensor.add_gradient(gradient)

    def taken(self, tangent: Array | None, target: int) -> Any:
        """Return one target's part of a tangent; within the block that computes for it."""
        if not isinstance(tangent, Tensor):
            return None if tangent is None else tangent[target]
        return self.record([tangent], [tangent.data[target]], lambda g: [g])[0]

    def stacked(self, parts: Sequence[Array | None]) -> Any:
        """Return the tangent of all targets, of the parts of each; None where all are."""
        known = [values(part) for part in parts if part is not None]
        if not known:
            return None
        data = np.stack([np.zeros_like(known[0]) if p is None else values(p) for p in parts])
        if not any(isinstance(part, Tensor) for part in parts):
            return data
        return self.record(parts, [data], list, stacked=True)[0]


def _for_each_target(pullback: Pullback, gradients: Sequence[Gradient], k: int) -> list[Gradient]:
    parts = [pullback(*(None if g is None else g[i] for g in gradients)) for i in range(k)]
    return [None if part[0] is None else np.stack(part) for part in zip(*parts)]


class Tensor:
    """An array that depends on a tape's variables.

    Attributes:
        data: Its values.
        gradient: What `Tape.back` added up; None where nothing did.
        target: The target that it was computed for, None for all.
    """

    __array_ufunc__ = None  # so that an array beside it leaves an operator to it
    __slots__ = ("_own", "data", "gradient", "tape", "target")

    def __init__(self, data: np.ndarray, tape: Tape):
        self.data = data
        self.tape = tape
        self.target = tape.target
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

    def add_gradient_of(self, target: int, gradient: np.ndarray, k: int) -> None:
        """Add to the gradient of one of k targets."""
        if self.gradient is None:
            self.gradient = np.zeros((k, *gradient.shape), gradient.dtype)
        elif not self._own:
            self.gradient = self.gradient.copy()
        self._own = True
        self.gradient[target] += gradient

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
    stacked: bool
    target: int | None


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
