"""nnabla's functions in NumPy, with the gradients by their inputs, under nnabla's names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from nnabla_influence.engine.functions import named
from nnabla_influence.engine.numpy_functions import (
    arrays,
    deconvolution,
    elementwise,
    indexing,
    losses,
    matrices,
    normalizations,
    pooling,
    reductions,
    tape,
)
from nnabla_influence.engine.tangents.elementwise import DERIVATIVES

NP: Any = SimpleNamespace()
NP.__dict__.update(elementwise.FUNCTIONS)
NP.__dict__.update(arrays.FUNCTIONS)
NP.__dict__.update(indexing.FUNCTIONS)
NP.__dict__.update(matrices.FUNCTIONS)
NP.__dict__.update(reductions.FUNCTIONS)
NP.__dict__.update(losses.FUNCTIONS)
NP.__dict__.update(normalizations.functions(NP))
NP.__dict__.update(pooling.FUNCTIONS)
NP.__dict__.update(deconvolution.FUNCTIONS)
NP.__dict__.update(
    add2=tape.add2,
    sub2=tape.sub2,
    mul2=tape.mul2,
    div2=tape.div2,
    add_scalar=lambda x, val, inplace=False: x + val,
    mul_scalar=lambda x, val, inplace=False: x * val,
)
for kind, derivative in DERIVATIVES.items():
    name = next((n for n in elementwise.VALUES if n.replace("_", "") == kind.lower()), None)
    if name is not None:
        setattr(NP, name, elementwise.unary(elementwise.VALUES[name], derivative, NP))

__all__ = ["NP", "named"]
