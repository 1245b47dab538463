"""The engine of the training objective at the checkpoint of any step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Definition
from nnabla_influence.engine import Engine
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.solvers import Before

LEAST_CHUNK = 2
"""`check_independence` replaces one example beside another."""

_SMALL_CHUNK = 16
_CHUNK_VALUES = 2**18


class StepEngines:
    """`Engine`s at the checkpoint of a step; one for each mini-batch size where needed.

    Args:
        build: Builds the engine for mini-batches of a size.
        whole: Whether a mini-batch must go through the network whole, since its examples depend on
            each other (batch statistics). Otherwise all go in chunks of one size.
        chunk_size: That size.
    """

    def __init__(self, build: Callable[[int], Engine], whole: bool, chunk_size: int):
        self._build = build
        self._whole = whole
        self._chunk_size = chunk_size
        self._by_size: dict[int, Engine] = {}
        self._set_to: dict[int, Checkpoint] = {}
        self._checkpoint: Checkpoint | None = None

    def at(self, checkpoint: Checkpoint) -> StepEngines:
        """Return these, which compute at ``checkpoint`` from now on."""
        self._checkpoint = checkpoint
        return self

    def before(self, inputs: Sequence[Mapping[str, np.ndarray]]) -> Before:
        """Return what the update of these mini-batches started from, with their gradient."""
        checkpoint = self._checkpoint
        assert checkpoint is not None
        engine = self.of_size(_length(inputs[0]))
        gradient = engine.zeros()
        for batch in inputs:
            n = _length(batch)
            self.of_size(n).add_gradient(batch, np.full(n, 1 / n), gradient, penalty=1)
        names = list(engine.objective.parameters)
        return Before(
            theta=_flat([checkpoint.parameters[name] for name in names]),
            gradient=gradient,
            states={
                state: _flat([values[name] for name in names])
                for state, values in checkpoint.solver.values.items()
            },
            t=checkpoint.solver.t,
        )

    def of_size(self, n: int) -> Engine:
        """Return the engine for mini-batches of ``n`` examples, at the checkpoint."""
        size = n if self._whole else self._chunk_size
        if size not in self._by_size:
            self._by_size[size] = self._build(size)
        engine = self._by_size[size]
        if self._checkpoint is not None and self._set_to.get(size) is not self._checkpoint:
            engine.set_parameters(self._checkpoint.parameters)
            self._set_to[size] = self._checkpoint
        return engine


def _length(inputs: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(inputs.values())))


def _flat(arrays: Sequence[np.ndarray]) -> nn.NdArray:
    flat = np.concatenate([np.ravel(array) for array in arrays])
    return nn.NdArray.from_numpy_array(flat.astype(np.float32, copy=False))


def default_chunk_size(definition: Definition, batch_size: int) -> int:
    """Return how many examples of mini-batches of ``batch_size`` to put through a network at once.

    Networks with large feature maps are fast in chunks of 16, of which each thread takes one; the
    smaller a network, the more the overhead of a chunk weighs, and the larger may it be.
    """
    values_per_example = sum(
        math.prod(variable.shape.dim[1:])
        for variable in definition.network.variable
        if variable.type != "Parameter"
    )
    fitting = max(_SMALL_CHUNK, _CHUNK_VALUES // max(values_per_example, 1))
    return max(LEAST_CHUNK, min(batch_size, fitting))
