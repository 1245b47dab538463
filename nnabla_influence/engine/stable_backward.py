"""Gradients as graphs, where nnabla's own are wrong for some values that its native backward takes.

- ELU, SELU, CELU: nnabla has ``exp(x) * mask``, with a mask of 0 where x > 0: above x = 88 that is
  infinity times 0, not a number. Here x is masked before the exponential, too.
- KLMultinomial of a Softmax that rounds to 0: nnabla has ``log(0)``, times the 0 of the Softmax.
- Cross entropies with a label below 0, which the native ones ignore: nnabla's graph does not, and
  writes outside of an array.

Elsewhere nothing changes, bit for bit; the functions themselves, and nnabla's native backward, are
right everywhere and stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import nnabla as nn
import nnabla.functions as NF
from nnabla.backward_function.utils import create_slice
from nnabla.backward_functions import registry


@contextlib.contextmanager
def stable_backward() -> Iterator[None]:
    """Let `nnabla.grad` use them within the block."""
    before = {name: registry[name] for name in _STABLE}
    registry.update(_STABLE)
    try:
        yield
    finally:
        registry.update(before)


# nnabla calls them with lists: the gradients by the outputs, the inputs, their shapes, the outputs,
# their shapes; and with the function's arguments.


def _elu(dy: Any, x: Any, *_: Any, alpha: float = 1.0) -> nn.Variable:
    above, below = _masks(x[0])
    return dy[0] * (above + alpha * NF.exp(x[0] * below) * below)


def _selu(dy: Any, x: Any, *_: Any, scale: float, alpha: float) -> nn.Variable:
    above, below = _masks(x[0])
    return dy[0] * scale * (above + alpha * NF.exp(x[0] * below) * below)


def _celu(dy: Any, x: Any, *_: Any, alpha: float = 1.0, axis: int = 1) -> nn.Variable:
    above, below = _masks(x[0])
    of_x = NF.slice(dy[0], *create_slice(dy[0].shape, axis, True))
    of_minus_x = NF.slice(dy[0], *create_slice(dy[0].shape, axis, False))
    left = of_x * (above + alpha * NF.exp(x[0] * below) * below)
    return left - of_minus_x * (below + alpha * NF.exp(-x[0] * above) * above)


def _masks(x: nn.Variable) -> tuple[nn.Variable, nn.Variable]:
    above = NF.greater_scalar(x, 0)
    below = 1 - above
    return above.apply(need_grad=False), below.apply(need_grad=False)


def _ignoring_negative(own: Callable[..., Any]) -> Callable[..., Any]:
    def backward(dy: Any, x: Any, *others: Any, **arguments: Any) -> Any:
        scores, labels = x
        seen = NF.greater_equal_scalar(labels, 0).apply(need_grad=False)
        return own([dy[0] * seen], [scores, NF.maximum_scalar(labels, 0)], *others, **arguments)

    return backward


def _kl_multinomial(dy: Any, x: Any, *others: Any, **arguments: Any) -> Any:
    above_0 = [NF.maximum_scalar(probability, _LEAST) for probability in x]
    by_p, _ = _own_kl_multinomial(dy, above_0, *others, **arguments)
    _, by_q = _own_kl_multinomial(dy, x, *others, **arguments)
    return by_p, by_q


_LEAST = 1.2e-38  # about the least float32 of full precision
_own_kl_multinomial = registry["KLMultinomial"]
_STABLE = {
    "CELU": _celu,
    "CategoricalCrossEntropy": _ignoring_negative(registry["CategoricalCrossEntropy"]),
    "ELU": _elu,
    "KLMultinomial": _kl_multinomial,
    "SELU": _selu,
    "SoftmaxCrossEntropy": _ignoring_negative(registry["SoftmaxCrossEntropy"]),
}
