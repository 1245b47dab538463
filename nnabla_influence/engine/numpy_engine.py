"""The engine in NumPy, for a CPU: nnabla's graph, computed by functions that carry tangents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Objective
from nnabla_influence.engine.functions import named
from nnabla_influence.engine.engine import Chunk, Engine, decay_rates
from nnabla_influence.engine.graph import Function, functions_of, key
from nnabla_influence.engine.numpy_functions import NP
from nnabla_influence.engine.numpy_functions.pairs import PAIRS
from nnabla_influence.engine.numpy_functions.layers import Pair
from nnabla_influence.engine.numpy_functions.tape import Tape, Tensor, values
from nnabla_influence.engine.tangents import tangents_of


class NumpyEngine(Engine):
    """See `Engine`; it reads the values of the objective's variables, and computes in no context.

    Raises:
        UnsupportedError: A function of the network has no form here.
    """

    def __init__(self, objective: Objective):
        super().__init__(objective)
        o = objective
        self._outputs = [o.losses, *([] if o.prediction is None else [o.prediction])]
        targets = [o.losses, *([] if o.penalty is None else [o.penalty])]
        targets += [statistic.value for statistic in o.statistics]
        self._derived = Program(functions_of(targets))
        self._program = Program(functions_of(self._outputs))
        self._rates = decay_rates(o) if o.statistics else None

    def add_products(
        self,
        inputs: Mapping[str, np.ndarray],
        weights: np.ndarray,
        u: nn.NdArray,
        h: nn.NdArray,
        r: nn.NdArray | None = None,
    ) -> np.ndarray:
        """See `Engine`."""
        o = self.objective
        products = np.empty(len(weights), np.float64)
        direction = self._split(u.data)
        for chunk in self._chunks(inputs, weights, penalty=1):
            tape = Tape()
            variables = {name: tape.variable(v.d) for name, v in o.parameters.items()}
            slots = self._derived.run(self._leaves(chunk, variables), self._tangents(direction))
            tangent = slots[key(o.losses)].tangent
            seeds: list[Any] = []
            if tangent is None:
                products[chunk.part] = 0
            else:
                products[chunk.part] = values(tangent)[: chunk.n]
                seeds.append((tangent, chunk.weights))
            if o.penalty is not None and chunk.penalty:
                of_penalty = slots[key(o.penalty)].tangent
                if of_penalty is not None:
                    seeds.append((of_penalty, np.full(of_penalty.shape, chunk.penalty, np.float32)))
            if r is not None:
                seeds += self._statistics_seeds(slots, r.data)
            tape.back(seeds)
            self._add(h.data, variables)
        if r is not None and self._rates is not None:
            r.data *= self._rates
        return products

    def _statistics_seeds(self, slots: Any, r: np.ndarray) -> list[Any]:
        seeds, start = [], 0
        for statistic in self.objective.statistics:
            size = statistic.value.size
            part = r[start : start + size].reshape(statistic.value.shape)
            rate = np.float32(statistic.decay_rate)
            seeds.append((slots[key(statistic.value)].value, (rate - 1) * part))
            start += size
        return seeds

    def add_gradient(
        self,
        inputs: Mapping[str, np.ndarray],
        weights: np.ndarray,
        gradient: nn.NdArray,
        penalty: float = 0,
    ) -> None:
        """See `Engine`."""
        o = self.objective
        for chunk in self._chunks(inputs, weights, penalty):
            tape = Tape()
            variables = {name: tape.variable(v.d) for name, v in o.parameters.items()}
            slots = self._derived.run(self._leaves(chunk, variables), {})
            seeds = [(slots[key(o.losses)].value, chunk.weights)]
            if o.penalty is not None and chunk.penalty:
                seed = np.full(o.penalty.shape, chunk.penalty, np.float32)
                seeds.append((slots[key(o.penalty)].value, seed))
            tape.back(seeds)
            self._add(gradient.data, variables)

    def outputs(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Engine`."""
        o, n = self.objective, len(next(iter(inputs.values())))
        losses = np.empty(n, np.float64)
        predictions = None if o.prediction is None else np.empty(n, np.float64)
        for chunk in self._chunks(inputs, np.ones(n), penalty=0):
            slots = self._program.run(self._leaves(chunk, {}), {})
            losses[chunk.part] = slots[key(o.losses)].value[: chunk.n]
            if predictions is not None:
                predictions[chunk.part] = slots[key(o.prediction)].value[: chunk.n]
        return losses, predictions

    def _leaves(self, chunk: Chunk, variables: Mapping[str, Tensor]) -> dict[Any, Any]:
        o = self.objective
        leaves = {key(v): variables.get(name, v.d) for name, v in o.parameters.items()}
        leaves.update({key(v): v.d for v in o.buffers.values()})
        leaves.update({key(v): chunk.inputs[column] for column, v in o.inputs.items()})
        leaves.update({key(draw.variable): chunk.inputs[draw.name] for draw in o.draws})
        return leaves

    def _tangents(self, direction: Mapping[str, np.ndarray]) -> dict[Any, np.ndarray]:
        return {key(v): direction[name] for name, v in self.objective.parameters.items()}

    def _split(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        parts, start = {}, 0
        for name, variable in self.objective.parameters.items():
            parts[name] = flat[start : start + variable.size].reshape(variable.shape)
            start += variable.size
        return parts

    def _add(self, flat: np.ndarray, variables: Mapping[str, Tensor]) -> None:
        for name, part in self._split(flat).items():
            gradient = variables[name].gradient
            if gradient is not None:
                part += gradient


@dataclass(frozen=True)
class _Step:
    """A function of the network with the places of its inputs and outputs."""

    function: Function
    value: Callable[..., Any]
    pair: Callable[..., Pair] | None


class Program:
    """Functions in order, with what computes each."""

    def __init__(self, functions: Iterable[Function]):
        self._steps = [_Step(f, named(NP, f.type), PAIRS.get(f.type)) for f in functions]
        self._constants = {key(leaf): leaf for step in self._steps for leaf in step.function.leaves}

    def run(self, leaves: Mapping[Any, Any], tangents: Mapping[Any, Any]) -> dict[Any, Pair]:
        """Return the pair of every variable, from the leaves' values and tangents."""
        slots = {k: Pair(value, tangents.get(k)) for k, value in leaves.items()}
        for k, leaf in self._constants.items():
            if k not in slots:
                slots[k] = Pair(leaf.d)
        for step in self._steps:
            f = step.function
            inputs = [slots[k] for k in f.inputs]
            if step.pair is not None:
                outputs = [step.pair(*inputs, **f.args)]
            else:
                x = [pair.value for pair in inputs]
                y = step.value(*x, **f.args)
                ys = list(y) if isinstance(y, (list, tuple)) else [y]
                if all(pair.tangent is None for pair in inputs):
                    outputs = [Pair(each) for each in ys]
                else:
                    dx = [pair.tangent for pair in inputs]
                    dys = tangents_of(NP, f.type, f.args, x, dx, ys)
                    outputs = [Pair(*both) for both in zip(ys, dys)]
            slots.update(zip(f.outputs, outputs))
        return slots
