"""Gradients of ELU, SELU and CELU as graphs that can be differentiated for large inputs too.

nnabla's own have ``exp(x) * mask``, with a mask of 0 where x > 0: above x = 88 that is infinity
times 0, not a number. Here x is masked before the exponential, too. Elsewhere nothing changes, bit
for bit; the functions themselves, and nnabla's native backward, are right everywhere and stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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


_STABLE = {"ELU": _elu, "SELU": _selu, "CELU": _celu}
