"""The engine in nnabla, on any device: a graph of tangents, and one native backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition import Objective
from nnabla_influence.engine.engine import Chunk, Engine, Evaluation, Tangents, decay_rates
from nnabla_influence.engine.graph import functions_of, key
from nnabla_influence.engine.nnabla_functions import NN
from nnabla_influence.engine.tangents import tangents_of


@dataclass(frozen=True, eq=False)
class _Pass:
    """A graph that computes tangents, and whose backward pass gives H u.

    Attributes:
        all: What the forward pass computes.
        total: What is differentiated, shape ``(1,)``.
        losses: J u.
        outputs: The outputs' tangent; None where the objective has none.
    """

    all: nn.Variable
    total: nn.Variable
    losses: nn.Variable
    outputs: nn.Variable | None


class NnablaEngine(Engine):
    """See `Engine`.

    Args:
        objective: The network, built at the chunk's size.
        context: The context that the objective was built in.
    """

    def __init__(self, objective: Objective, context: nn.Context):
        super().__init__(objective)
        self._context = context
        o = objective
        # The directions and the gradients are views on flat arrays, so that vectors go in and
        # come out in one piece.
        self._direction, self._gradient = nn.NdArray((self.size,)), nn.NdArray((self.size,))
        self._directions = {}
        parameters = o.parameters.values()
        parts = zip(parameters, self._parts(self._direction), self._parts(self._gradient))
        for variable, along, gradient in parts:
            variable.grad = gradient
            self._directions[key(variable)] = _leaf(along)
        self._passes: dict[tuple[bool, bool], _Pass] = {}
        if o.statistics:
            self._r = nn.NdArray((sum(s.value.size for s in o.statistics),))
            self._rates = nn.NdArray.from_numpy_array(decay_rates(o))
        with nn.context_scope(context), nn.auto_forward(False):
            self._weights = nn.Variable((o.batch_size,))
            self._penalty_weight = nn.Variable((1,))
            self._loss = self._weighted(o.losses, o.penalty)
            # Once: nnabla views no part of an array twice.
            self._statistics = self._statistics_sum() if o.statistics else None
            for variable in self._evaluated:
                variable.persistent = True
            self._outputs = NF.sink(*self._evaluated)

    def set_parameters(self, values: Mapping[str, np.ndarray]) -> None:
        """See `Engine`."""
        self.objective.set_parameters(values)

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
        if len(u.shape) == 2:
            found = [
                self.add_products(
                    inputs,
                    weights,
                    _row(u, i),
                    _row(h, i),
                    None if r is None else _row(r, i),
                    gauss_newton,
                )
                for i in range(u.shape[0])
            ]
            outputs = [tangents.outputs for tangents in found if tangents.outputs is not None]
            losses = np.stack([tangents.losses for tangents in found])
            return Tangents(losses, np.stack(outputs) if outputs else None)
        with_statistics = r is not None and bool(self.objective.statistics)
        of_losses, of_outputs = np.empty(len(weights)), []
        with nn.context_scope(self._context):
            both = self._pass(gauss_newton, with_statistics)
            if with_statistics:
                self._r.copy_from(r)
            self._direction.copy_from(u)
            self._gradient.copy_from(h)
            for chunk in self._fed(inputs, weights, penalty=1):
                both.all.forward(clear_no_need_grad=True)
                of_losses[chunk.part] = both.losses.d[: chunk.n]
                if both.outputs is not None:
                    of_outputs.append(both.outputs.d[: chunk.n].copy())
                both.total.backward(clear_buffer=True)
            h.copy_from(self._gradient)
            if r is not None and with_statistics:
                r.copy_from(r * self._rates)  # nnabla's `*=` gives a new array
        return Tangents(of_losses, np.concatenate(of_outputs) if of_outputs else None)

    def add_gradient(
        self,
        inputs: Mapping[str, np.ndarray],
        weights: np.ndarray,
        gradient: nn.NdArray,
        penalty: float = 0,
    ) -> None:
        """See `Engine`."""
        with nn.context_scope(self._context):
            self._gradient.copy_from(gradient)
            for _ in self._fed(inputs, weights, penalty):
                self._loss.forward(clear_no_need_grad=True)
                self._loss.backward(clear_buffer=True)
            gradient.copy_from(self._gradient)

    def outputs(self, inputs: Mapping[str, np.ndarray]) -> Evaluation:
        """See `Engine`."""
        n = len(next(iter(inputs.values())))
        found = self._no_evaluation(n)
        with nn.context_scope(self._context):
            for chunk in self._fed(inputs, np.ones(n), penalty=0):
                self._outputs.forward(clear_buffer=True)
                for variable, array in found.items():
                    array[chunk.part] = variable.d[: chunk.n]
        return self._evaluation(found)

    def _pass(self, gauss_newton: bool, with_statistics: bool) -> _Pass:
        """Return a pass; it is built when it is needed first."""
        kind = (gauss_newton, with_statistics)
        if kind not in self._passes:
            with nn.auto_forward(False):
                self._passes[kind] = self._built(*kind)
        return self._passes[kind]

    def _built(self, gauss_newton: bool, with_statistics: bool) -> _Pass:
        o = self.objective
        cut = {key(self._check_gauss_newton())} if gauss_newton else frozenset()
        tangents = dict(self._directions)
        targets = [v for v in (o.losses, o.outputs, o.penalty) if v is not None]
        carry_tangents(targets, tangents, cut)
        losses, outputs, penalty = (
            None if v is None else tangents.get(key(v), NF.constant(0, v.shape))
            for v in (o.losses, o.outputs, o.penalty)
        )
        total = self._weighted(losses, penalty)
        if with_statistics:
            total = total + self._statistics
        for variable in (losses, outputs):
            if variable is not None:
                variable.persistent = True
        everything = total if outputs is None else NF.sink(total, outputs)
        return _Pass(everything, total, losses, outputs)

    def _weighted(self, examples: Any, penalty: nn.Variable | None) -> nn.Variable:
        total = NF.reshape(NF.sum(self._weights * examples), (1,), inplace=False)
        if penalty is None:
            return total
        return total + self._penalty_weight * NF.reshape(penalty, (1,), inplace=False)

    def _statistics_sum(self) -> nn.Variable:
        r"""Return :math:`-\sum_k (1 - d_k) \langle r_k, \sigma_k(\theta) \rangle`."""
        terms, start = [], 0
        for statistic in self.objective.statistics:
            size, shape = statistic.value.size, statistic.value.shape
            r = _leaf(self._r.narrow(0, start, size).view(shape))
            terms.append(NF.sum(statistic.value * r) * (statistic.decay_rate - 1))
            start += size
        return NF.add_n(*(NF.reshape(term, (1,), inplace=False) for term in terms))

    def _fed(
        self, inputs: Mapping[str, np.ndarray], weights: np.ndarray, penalty: float
    ) -> Iterator[Chunk]:
        """Yield the chunks, each put into the graph's inputs."""
        o = self.objective
        variables = {**o.inputs, **{draw.name: draw.variable for draw in o.draws}}
        for chunk in self._chunks(inputs, weights, penalty):
            for name, variable in variables.items():
                variable.d = chunk.inputs[name]
            self._weights.d = chunk.weights
            self._penalty_weight.d = chunk.penalty
            yield chunk

    def _parts(self, flat: nn.NdArray) -> Iterator[nn.NdArray]:
        start = 0
        for variable in self.objective.parameters.values():
            yield flat.narrow(0, start, variable.size).view(variable.shape)
            start += variable.size


def carry_tangents(
    targets: Sequence[nn.Variable], tangents: dict[Any, nn.Variable], cut: Set[Any] = frozenset()
) -> None:
    """Build the tangent of each variable that ``targets`` need.

    Args:
        targets: Variables of a graph.
        tangents: By `key`, those of the graph's leaves; the others are added. What has none does
            not move.
        cut: The `key` of variables whose tangents are taken as constants.
    """
    for function in functions_of(targets):
        dx = [tangents.get(k) for k in function.inputs]
        if all(d is None for d in dx):
            continue
        x, y = function.variables
        found = tangents_of(NN, function.type, function.args, x, dx, y)
        for k, tangent in zip(function.outputs, found):
            if tangent is not None:
                tangents[k] = _constant(tangent) if k in cut else tangent


def _row(matrix: nn.NdArray, i: int) -> nn.NdArray:
    return matrix.narrow(0, i, 1).view(matrix.shape[1:])


def _constant(tangent: nn.Variable) -> nn.Variable:
    return NF.unlink(tangent).apply(need_grad=False)


def _leaf(array: nn.NdArray) -> nn.Variable:
    """Return a graph's input that holds this very array, and that no pass clears."""
    variable = nn.Variable(array.shape)
    variable.data = array
    variable.persistent = True
    return variable
