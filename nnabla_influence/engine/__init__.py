"""Losses, J u and H u of mini-batches, in NumPy and in nnabla; the guard compares them."""

from __future__ import annotations

from collections.abc import Sequence

import nnabla as nn

from nnabla_influence.definition import Objective
from nnabla_influence.engine.engine import Engine, Evaluation, Tangents
from nnabla_influence.engine.nnabla_engine import NnablaEngine
from nnabla_influence.engine.numpy_engine import NumpyEngine, lacking_in_numpy
from nnabla_influence.engine.refusals import check_differentiable, check_independence

__all__ = [
    "Engine",
    "Evaluation",
    "NnablaEngine",
    "NumpyEngine",
    "Tangents",
    "build_engine",
    "check_differentiable",
    "check_independence",
    "is_cpu",
    "lacking_in_numpy",
]


def build_engine(objective: Objective, context: nn.Context) -> Engine:
    """Return the engine of an objective: in NumPy on a CPU, else in nnabla.

    Args:
        objective: The network, built at the size of a chunk.
        context: The context that it was built in. On a CPU, nnabla computes a network of which
            NumPy lacks a function (`lacking_in_numpy`).
    """
    if is_cpu(context) and not lacking_in_numpy(objective):
        return NumpyEngine(objective)
    return NnablaEngine(objective, context)


def is_cpu(context: nn.Context) -> bool:
    """Return whether a context computes on a CPU."""
    backends: Sequence[str] = context.backend
    return all(backend.startswith("cpu") for backend in backends)
