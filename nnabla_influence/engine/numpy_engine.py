"""The engine in NumPy, for a CPU: nnabla's graph, computed by functions that carry tangents."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Objective
from nnabla_influence.engine.engine import Chunk, Engine, Evaluation, Tangents, decay_rates
from nnabla_influence.engine.graph import functions_of, key
from nnabla_influence.engine.numpy_functions.layers import Pair
from nnabla_influence.engine.numpy_functions.limits import computes
from nnabla_influence.engine.numpy_functions.tape import Tape, Tensor, values
from nnabla_influence.engine.program import Program, Several
from nnabla_influence.engine.threads import in_threads, one_blas_thread

Method = TypeVar("Method", bound=Callable[..., Any])
Seeds = list[tuple[Any, np.ndarray]]


def _on_one_blas_thread(method: Method) -> Method:
    @functools.wraps(method)
    def within(*given: Any, **named: Any) -> Any:
        # What is not finite is refused by name, so NumPy need not warn of it.
        with one_blas_thread(), np.errstate(all="ignore"):
            return method(*given, **named)

    return cast(Method, within)


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
        targets = [o.losses, *outputs, *penalty, *statistics]
        self._products = Program(targets, o.normalizations)
        self._loss = Program([o.losses, *penalty], o.normalizations)
        self._outputs = Program(self._evaluated, o.normalizations)
        self._parameters = {name: np.array(v.d, dtype) for name, v in o.parameters.items()}
        self._buffers = {name: np.array(v.d, dtype) for name, v in o.buffers.items()}
        ends = itertools.accumulate(v.size for v in self._parameters.values())
        self._parts = [
            (name, slice(end - value.size, end), value.shape)
            for end, (name, value) in zip(ends, self._parameters.items())
        ]
        self._rates = decay_rates(o) if o.statistics else None
        # The places of the graph's leaves, and of what is asked for.
        self._of_parameters = {name: key(v) for name, v in o.parameters.items()}
        self._of_buffers = {name: key(v) for name, v in o.buffers.items()}
        self._of_inputs = {name: key(v) for name, v in o.inputs.items()}
        self._of_inputs.update({draw.name: key(draw.variable) for draw in o.draws})
        self._of_losses = key(o.losses)
        self._of_outputs = None if o.outputs is None else key(o.outputs)

    def set_parameters(self, values: Mapping[str, np.ndarray]) -> None:
        """See `Engine`."""
        self.objective.check_parameters(values)
        for own in (self._parameters, self._buffers):
            own.update({name: np.array(values[name], self.dtype) for name in own})

    def parameters(self) -> dict[str, np.ndarray]:
        """Return what `set_parameters` takes: all values by name."""
        return {**self._parameters, **self._buffers}

    def parts(self, flat: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield views of a vector over the parameters, or of k, in their shapes, by name."""
        lead = flat.shape[:-1]
        for name, part, shape in self._parts:
            yield name, flat[..., part].reshape((*lead, *shape))

    @_on_one_blas_thread
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
        o, total = self.objective, h.data
        cut = {key(self._check_gauss_newton())} if gauss_newton else frozenset()
        along = self.parts(np.asarray(u.data, self.dtype))
        directions = {self._of_parameters[name]: part for name, part in along}
        lead = total.shape[:-1]
        of_losses, of_outputs = np.zeros((*lead, len(weights))), []

        def products(chunk: Chunk) -> tuple[Chunk, Any, Any, dict[str, Tensor]]:
            tape, variables = self._variables(*lead)
            several = Several(lead[0], tape) if lead else None
            found = self._products.run(self._leaves(chunk, variables), directions, cut, several)
            seeds: Seeds = []
            losses, outputs = found[self._of_losses].tangent, None
            if losses is not None:
                v = np.broadcast_to(chunk.weights, losses.shape) if lead else chunk.weights
                seeds.append((losses, v))
            if self._of_outputs is not None:
                outputs = _tangent(found[self._of_outputs], lead)
            if o.penalty is not None and found[key(o.penalty)].tangent is not None:
                of_penalty = found[key(o.penalty)].tangent
                seeds.append((of_penalty, self._full(of_penalty, chunk.penalty)))
            if r is not None:
                seeds += self._statistics_seeds(found, r.data)
            tape.back(seeds)
            return chunk, values(losses), outputs, variables

        chunks = self._chunks(inputs, weights, penalty=1)
        for chunk, losses, outputs, variables in in_threads(products, chunks):
            if losses is not None:
                of_losses[..., chunk.part] = losses[..., : chunk.n]
            if outputs is not None:
                of_outputs.append(outputs[:, : chunk.n] if lead else outputs[: chunk.n])
            self._add(variables, total)
        if r is not None and self._rates is not None:
            r.data *= self._rates
        outputs = np.concatenate(of_outputs, axis=len(lead)) if of_outputs else None
        return Tangents(of_losses, outputs)

    @_on_one_blas_thread
    def add_gradient(
        self,
        inputs: Mapping[str, np.ndarray],
        weights: np.ndarray,
        gradient: nn.NdArray,
        penalty: float = 0,
    ) -> None:
        """See `Engine`."""
        o, total = self.objective, gradient.data

        def back(chunk: Chunk) -> dict[str, Tensor]:
            tape, variables = self._variables()
            found = self._loss.run(self._leaves(chunk, variables), {})
            seeds: Seeds = [(found[self._of_losses].value, chunk.weights)]
            if o.penalty is not None:
                seeds.append((found[key(o.penalty)].value, self._full(o.penalty, chunk.penalty)))
            tape.back(seeds)
            return variables

        for variables in in_threads(back, self._chunks(inputs, weights, penalty)):
            self._add(variables, total)

    @_on_one_blas_thread
    def outputs(self, inputs: Mapping[str, np.ndarray]) -> Evaluation:
        """See `Engine`."""
        n = len(next(iter(inputs.values())))
        evaluation = self._no_evaluation(n)

        def forward(chunk: Chunk) -> tuple[Chunk, dict[Any, Pair]]:
            return chunk, self._outputs.run(self._leaves(chunk, self._parameters), {})

        for chunk, found in in_threads(forward, self._chunks(inputs, np.ones(n), penalty=0)):
            for variable, array in evaluation.items():
                array[chunk.part] = found[key(variable)].value[: chunk.n]
        return self._evaluation(evaluation)

    def _statistics_seeds(self, found: Mapping[Any, Pair], r: np.ndarray) -> Seeds:
        r"""Return the seeds of :math:`-\sum_k (1 - d_k) \langle r_k, \sigma_k(\theta) \rangle`."""
        seeds: Seeds = []
        start = 0
        for statistic in self.objective.statistics:
            shape, size = statistic.value.shape, statistic.value.size
            factor = self.dtype(statistic.decay_rate - 1)
            part = factor * r[..., start : start + size].reshape((*r.shape[:-1], *shape))
            seeds.append((found[key(statistic.value)].value, part))
            start += size
        return seeds

    def _variables(self, k: int | None = None) -> tuple[Tape, dict[str, Tensor]]:
        tape = Tape(k)
        return tape, {name: tape.variable(value) for name, value in self._parameters.items()}

    def _leaves(self, chunk: Chunk, parameters: Mapping[str, Any]) -> dict[Any, Any]:
        leaves = {k: parameters[name] for name, k in self._of_parameters.items()}
        leaves.update({k: self._buffers[name] for name, k in self._of_buffers.items()})
        leaves.update({k: chunk.inputs[name] for name, k in self._of_inputs.items()})
        return leaves

    def _full(self, variable: Any, value: float) -> np.ndarray:
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


def _tangent(pair: Pair, lead: tuple[int, ...]) -> np.ndarray:
    if pair.tangent is None:
        return np.zeros((*lead, *pair.value.shape), values(pair.value).dtype)
    return np.asarray(values(pair.tangent))
