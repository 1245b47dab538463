"""The engine in nnabla, on any device: a graph of tangents, and one native backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition import Objective
from nnabla_influence.engine.engine import Chunk, Engine, decay_rates
from nnabla_influence.engine.graph import functions_of, key
from nnabla_influence.engine.nnabla_functions import NN
from nnabla_influence.engine.tangents import tangents_of


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
        parameters = list(o.parameters.values())
        directions = []
        for variable, along, gradient in zip(
            parameters, self._views(self._direction), self._views(self._gradient)
        ):
            variable.grad = gradient
            direction = nn.Variable(variable.shape)
            direction.data = along
            direction.persistent = True
            directions.append(direction)
        with nn.context_scope(context), nn.auto_forward(False):
            tangents = {key(v): d for v, d in zip(parameters, directions)}
            carry_tangents([o.losses, *([] if o.penalty is None else [o.penalty])], tangents)
            zero = NF.constant(0, (o.batch_size,))
            self._products = tangents.get(key(o.losses), zero)
            self._products.persistent = True
            of_penalty = None if o.penalty is None else tangents.get(key(o.penalty))
            self._weights = nn.Variable((o.batch_size,))
            self._penalty_weight = nn.Variable((1,))
            self._double = self._weighted(self._products, of_penalty)
            self._loss = self._weighted(o.losses, o.penalty)
            if o.statistics:
                self._r = nn.NdArray((sum(s.value.size for s in o.statistics),))
                self._rates = nn.NdArray.from_numpy_array(decay_rates(o))
                self._double_with_statistics = self._double + self._statistics_sum()
            outputs = [o.losses]
            o.losses.persistent = True
            if o.prediction is not None:
                o.prediction.persistent = True
                outputs.append(o.prediction)
            self._outputs = NF.sink(*outputs)

    def _weighted(self, examples: nn.Variable, penalty: nn.Variable | None) -> nn.Variable:
        total = NF.reshape(NF.sum(self._weights * examples), (1,), inplace=False)
        if penalty is None:
            return total
        return total + self._penalty_weight * NF.reshape(penalty, (1,), inplace=False)

    def _statistics_sum(self) -> nn.Variable:
        r"""Return :math:`-\sum_k (1 - d_k) \langle r_k, \sigma_k(\theta) \rangle`."""
        terms, start = [], 0
        for statistic in self.objective.statistics:
            size, shape = statistic.value.size, statistic.value.shape
            r = nn.Variable(shape)
            r.data = self._r.narrow(0, start, size).view(shape)
            r.persistent = True
            terms.append(NF.sum(statistic.value * r) * (statistic.decay_rate - 1))
            start += size
        return NF.add_n(*(NF.reshape(term, (1,), inplace=False) for term in terms))

    def add_products(
        self,
        inputs: Mapping[str, np.ndarray],
        weights: np.ndarray,
        u: nn.NdArray,
        h: nn.NdArray,
        r: nn.NdArray | None = None,
    ) -> np.ndarray:
        """See `Engine`."""
        double = self._double
        products = np.empty(len(weights), np.float64)
        with nn.context_scope(self._context):
            if r is not None and self.objective.statistics:
                double = self._double_with_statistics
                self._r.copy_from(r)
            self._direction.copy_from(u)
            self._gradient.copy_from(h)
            for chunk in self._fed(inputs, weights, penalty=1):
                double.forward(clear_no_need_grad=True)
                products[chunk.part] = self._products.d[: chunk.n]
                double.backward(clear_buffer=True)
            h.copy_from(self._gradient)
            if r is not None and self.objective.statistics:
                r.copy_from(r * self._rates)  # nnabla's `*=` gives a new array
        return products

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

    def outputs(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Engine`."""
        n = len(next(iter(inputs.values())))
        losses = np.empty(n, np.float64)
        prediction = self.objective.prediction
        predictions = None if prediction is None else np.empty(n, np.float64)
        with nn.context_scope(self._context):
            for chunk in self._fed(inputs, np.ones(n), penalty=0):
                self._outputs.forward(clear_buffer=True)
                losses[chunk.part] = self.objective.losses.d[: chunk.n]
                if predictions is not None and prediction is not None:
                    predictions[chunk.part] = prediction.d[: chunk.n]
        return losses, predictions

    def _fed(
        self, inputs: Mapping[str, np.ndarray], weights: np.ndarray, penalty: float
    ) -> Iterator[Chunk]:
        """Yield the chunks, each put into the graph's inputs."""
        o = self.objective
        for chunk in self._chunks(inputs, weights, penalty):
            for name, variable in o.inputs.items():
                variable.d = chunk.inputs[name]
            for draw in o.draws:
                draw.variable.d = chunk.inputs[draw.name]
            self._weights.d = chunk.weights
            self._penalty_weight.d = chunk.penalty
            yield chunk

    def _views(self, flat: nn.NdArray) -> Iterator[nn.NdArray]:
        start = 0
        for variable in self.objective.parameters.values():
            yield flat.narrow(0, start, variable.size).view(variable.shape)
            start += variable.size


def carry_tangents(targets: Sequence[nn.Variable], tangents: dict[Any, nn.Variable]) -> None:
    """Build the tangent of each variable that ``targets`` need.

    Args:
        targets: Variables of a graph.
        tangents: By `key`, those of the graph's leaves; the others are added. What has none does
            not move.
    """
    for function in functions_of(targets):
        dx = [tangents.get(k) for k in function.inputs]
        if all(d is None for d in dx):
            continue
        x, y = function.variables
        found = tangents_of(NN, function.type, function.args, x, dx, y)
        for k, tangent in zip(function.outputs, found):
            if tangent is not None:
                tangents[k] = tangent
