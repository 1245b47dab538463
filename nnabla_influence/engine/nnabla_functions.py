"""nnabla's functions, with masks that no gradient passes through, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import nnabla.function_bases as NF


def _mask(function: Callable[..., Any]) -> Callable[..., Any]:
    def without_gradient(*x: Any, **args: Any) -> Any:
        return function(*x, **args).apply(need_grad=False)

    return without_gradient


def one_hot_at(index: Any, n: int, axis: int) -> Any:
    """Return 1 at the indices along an axis of n, which is 1 in ``index``; else 0."""
    axis %= index.ndim
    shape = [size for i, size in enumerate(index.shape) if i != axis]
    hot = NF.one_hot(NF.reshape(index, (*shape, 1), inplace=False), (n,))
    order = [*range(axis), len(shape), *range(axis, len(shape))]
    return NF.transpose(hot, order).apply(need_grad=False)


_COMPARISONS = """
equal equal_scalar greater greater_equal greater_equal_scalar greater_scalar less less_equal
less_equal_scalar less_scalar not_equal not_equal_scalar
"""

NN: Any = SimpleNamespace(**{name: value for name, value in vars(NF).items() if name[0] != "_"})
for _name in _COMPARISONS.split():
    setattr(NN, _name, _mask(getattr(NF, _name)))
NN.one_hot_at = one_hot_at
