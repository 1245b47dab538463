"""The engine in NumPy, for a CPU: nnabla's graph, computed by functions that carry tangents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Objective
from nnabla_influence.engine.engine import Chunk, Engine, Tangents, decay_rates
from nnabla_influence.engine.functions import named
from nnabla_influence.engine.graph import Function, functions_of, key
from nnabla_influence.engine.numpy_functions import NP
from nnabla_influence.engine.numpy_functions.layers import Pair
from nnabla_influence.engine.numpy_functions.limits import computes
from nnabla_influence.engine.numpy_functions.pairs import PAIRS
from nnabla_influence.engine.numpy_functions.tape import Tape, Tensor, values
from nnabla_influence.engine.tangents import tangents_of

Seeds = list[tuple[Any, np.ndarray]]


class NumpyEngine(Engine):
    """See `Engine`; it needs no context, and nothing of nnabla but the objective's graph.

    Args:
        objective: The network, built at the size of a chunk.
        dtype: To compute in.
    """

    def __init__(self, objective: Objective, dtype: type[np.floating[Any]] = np.float32):
        super().__init__(objective, dtype)
        o = objective
        penalty = [] if o.penalty is None else [o.penalty]
        statistics = [statistic.value for statistic in o.statistics]
        outputs = [] if o.outputs is None else [o.outputs]
        prediction = [] if o.prediction is None else [o.prediction]
        self._products = Program([o.losses, *outputs, *penalty, *statistics])
        self._loss = Program([o.losses, *penalty])
        self._outputs = Program([o.losses, *prediction])
        self._parameters = {name: np.array(v.d, dtype) for name, v in o.parameters.items()}
        self._buffers = {name: np.array(v.d, dtype) for name, v in o.buffers.items()}
        self._rates = decay_rates(o) if o.statistics else None

    def set_parameters(self, values: Mapping[str, np.ndarray]) -> None:
        """See `Engine`."""
        self.objective.check_parameters(values)
        for own in (self._parameters, self._buffers):
            own.update({name: np.asarray(values[name], self.dtype) for name in own})

    def parameters(self) -> dict[str, np.ndarray]:
        """Return what `set_parameters` takes: all values by name."""
        return {**self._parameters, **self._buffers}

    def parts(self, flat: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield views of a vector over the parameters, in their shapes, by name."""
        start = 0
        for name, value in self._parameters.items():
            yield name, flat[start : start + value.size].reshape(value.shape)
            start += value.size

    def add_products(
        self,
        inputs: Mapping[str, np.ndarray],
        weights: np.ndarray,
        u: nn.NdArray,
        h: nn.NdArray,
        r: nn.NdArray | None = None,
        gauss_newton: bool = False,
    ) -> Tangents:
        """See `Engine`."""
        o = self.objective
        cut = {key(self._check_gauss_newton())} if gauss_newton else frozenset()
        of_losses, of_outputs = np.zeros(len(weights)), []
        directions = {key(o.parameters[name]): part for name, part in self.parts(np.asarray(u.data, self.dtype))}
        total = h.data
        for chunk in self._chunks(inputs, weights, penalty=1):
            tape, variables = self._variables()
            leaves = self._leaves(chunk, variables)
            found = self._products.run(leaves, directions, cut)
            seeds: Seeds = []
            tangent = found[key(o.losses)].tangent
            if tangent is not None:
                of_losses[chunk.part] = values(tangent)[: chunk.n]
                seeds.append((tangent, chunk.weights))
            if o.outputs is not None:
                of_outputs.append(_values_of_tangent(found[key(o.outputs)])[: chunk.n])
            if o.penalty is not None and found[key(o.penalty)].tangent is not None:
                seeds.append((found[key(o.penalty)].tangent, self._full(o.penalty, chunk.penalty)))
            if r is not None:
                seeds += self._statistics_seeds(found, r.data)
            tape.back(seeds)
            self._add(variables, total)
        if r is not None and self._rates is not None:
            r.data *= self._rates
        return Tangents(of_losses, np.concatenate(of_outputs) if of_outputs else None)

    def add_gradient(
        self,
        inputs: Mapping[str, np.ndarray],
        weights: np.ndarray,
        gradient: nn.NdArray,
        penalty: float = 0,
    ) -> None:
        """See `Engine`."""
        o, total = self.objective, gradient.data
        for chunk in self._chunks(inputs, weights, penalty):
            tape, variables = self._variables()
            found = self._loss.run(self._leaves(chunk, variables), {})
            seeds: Seeds = [(found[key(o.losses)].value, chunk.weights)]
            if o.penalty is not None:
                seeds.append((found[key(o.penalty)].value, self._full(o.penalty, chunk.penalty)))
            tape.back(seeds)
            self._add(variables, total)

    def outputs(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Engine`."""
        o, n = self.objective, len(next(iter(inputs.values())))
        losses = np.empty(n)
        predictions = None if o.prediction is None else np.empty(n)
        for chunk in self._chunks(inputs, np.ones(n), penalty=0):
            found = self._outputs.run(self._leaves(chunk, self._parameters), {})
            losses[chunk.part] = found[key(o.losses)].value[: chunk.n]
            if predictions is not None:
                predictions[chunk.part] = found[key(o.prediction)].value[: chunk.n]
        return losses, predictions

    def _statistics_seeds(self, found: Mapping[Any, Pair], r: np.ndarray) -> Seeds:
        r"""Return the seeds of :math:`-\sum_k (1 - d_k) \langle r_k, \sigma_k(\theta) \rangle`."""
        seeds: Seeds = []
        start = 0
        for statistic in self.objective.statistics:
            shape, size = statistic.value.shape, statistic.value.size
            factor = self.dtype(statistic.decay_rate - 1)
            part = factor * r[start : start + size].reshape(shape)
            seeds.append((found[key(statistic.value)].value, part))
            start += size
        return seeds

    def _variables(self) -> tuple[Tape, dict[str, Tensor]]:
        tape = Tape()
        return tape, {name: tape.variable(value) for name, value in self._parameters.items()}

    def _leaves(self, chunk: Chunk, parameters: Mapping[str, Any]) -> dict[Any, Any]:
        o = self.objective
        leaves = {key(v): parameters[name] for name, v in o.parameters.items()}
        leaves.update((key(v), self._buffers[name]) for name, v in o.buffers.items())
        leaves.update((key(v), chunk.inputs[column]) for column, v in o.inputs.items())
        leaves.update((key(draw.variable), chunk.inputs[draw.name]) for draw in o.draws)
        return leaves

    def _full(self, variable: nn.Variable, value: float) -> np.ndarray:
        return np.full(variable.shape, value, self.dtype)

    def _add(self, variables: Mapping[str, Tensor], total: np.ndarray) -> None:
        for name, part in self.parts(total):
            gradient = variables[name].gradient
            if gradient is not None:
                part += gradient


def lacking_in_numpy(objective: Objective) -> list[str]:
    """Return the types of an objective's functions that have no form in NumPy, sorted."""
    o = objective
    targets = [o.losses, o.penalty, o.outputs, o.prediction, *(s.value for s in o.statistics)]
    functions = functions_of([target for target in targets if target is not None])
    return sorted({f.type for f in functions if not computes(f.type, f.args)})


def _values_of_tangent(pair: Pair) -> np.ndarray:
    if pair.tangent is None:
        return np.zeros(values(pair.value).shape, np.float32)
    return np.asarray(values(pair.tangent))


@dataclass(frozen=True, eq=False)
class _Step:
    """A function of the network, and what computes it: its value or, at once, its pair.

    Attributes:
        function: In nnabla's graph.
        value: From values to the value, or a list of them.
        pair: From pairs to a pair; None where a rule gives the tangent.
        last: What no later step needs.
    """

    function: Function
    value: Callable[..., Any]
    pair: Callable[..., Pair] | None
    last: Sequence[Any]


class Program:
    """The functions that some variables of a graph need, in order, to compute with NumPy."""

    def __init__(self, targets: Sequence[nn.Variable]):
        functions = functions_of(targets)
        self._targets = {key(target) for target in targets}
        self._constants = {key(leaf): leaf for f in functions for leaf in f.leaves}
        last: dict[Any, int] = {}
        for number, f in enumerate(functions):
            last.update(dict.fromkeys((*f.inputs, *f.outputs), number))
        ends: dict[int, list[Any]] = {}
        for k, number in last.items():
            if k not in self._targets:
                ends.setdefault(number, []).append(k)
        self._steps = [
            _Step(f, named(NP, f.type), PAIRS.get(f.type), ends.get(number, ()))
            for number, f in enumerate(functions)
        ]

    def run(
        self, leaves: Mapping[Any, Any], tangents: Mapping[Any, Any], cut: Set[Any] = frozenset()
    ) -> dict[Any, Pair]:
        """Return the pairs of the targets, by `key`.

        Args:
            leaves: The values of the graph's inputs by `key`; of others, their variables'.
            tangents: Of the leaves, by `key`.
            cut: The `key` of variables whose tangents are taken as constants.
        """
        slots = {k: Pair(value, tangents.get(k)) for k, value in leaves.items()}
        for k, leaf in self._constants.items():
            if k not in slots:
                slots[k] = Pair(leaf.d)
        for step in self._steps:
            inputs = [slots[k] for k in step.function.inputs]
            for k, output in zip(step.function.outputs, _computed(step, inputs)):
                slots[k] = output._replace(tangent=values(output.tangent)) if k in cut else output
            for k in step.last:
                del slots[k]
        return {k: slots[k] for k in self._targets}


def _computed(step: _Step, inputs: Sequence[Pair]) -> list[Pair]:
    f = step.function
    if step.pair is not None:
        return [step.pair(*inputs, **f.args)]
    x, dx = [pair.value for pair in inputs], [pair.tangent for pair in inputs]
    found = step.value(*x, **f.args)
    y = list(found) if isinstance(found, (list, tuple)) else [found]
    if all(d is None for d in dx):
        return [Pair(each) for each in y]
    return [Pair(*both) for both in zip(y, tangents_of(NP, f.type, f.args, x, dx, y))]
