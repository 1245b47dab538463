"""nnabla's functions in NumPy, with the gradients by their inputs, under nnabla's names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from nnabla_influence.engine.numpy_functions import (
    arithmetic,
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

NP: Any = SimpleNamespace()
"""The functions; some of them call others by it."""

for _functions in (
    tape.FUNCTIONS,
    elementwise.FUNCTIONS,
    elementwise.functions(NP),
    arithmetic.functions(NP),
    arrays.FUNCTIONS,
    indexing.FUNCTIONS,
    matrices.FUNCTIONS,
    reductions.FUNCTIONS,
    losses.functions(NP),
    normalizations.functions(NP),
    pooling.FUNCTIONS,
    deconvolution.FUNCTIONS,
):
    vars(NP).update(_functions)
