r"""Products with per-example gradients and with the Hessian, from one double backward.

For a mini-batch with per-example losses :math:`l_j(\theta)` and weights :math:`v_j`, let
:math:`s = \sum_j v_j l_j` and :math:`g = \partial s / \partial \theta` *as a graph*. One backward
through that graph, with a vector :math:`a` injected as the gradient of :math:`g`, computes
:math:`\partial \langle a, g \rangle`, that is

- at the weights: :math:`(J a)_j = \langle a, \nabla l_j \rangle`, whatever the weights are;
- at the parameters: :math:`H a = \sum_j v_j \nabla^2 l_j \, a`.

With :math:`v_j = 1/|S|` the latter is the Hessian of the *mean* loss of the mini-batch: no further
factor belongs anywhere. (Pearlmutter, "Fast exact multiplication by the Hessian", 1994.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import nnabla as nn
import nnabla.functions as NF
import numpy as np
from nnabla.grad import Grad

from nnabla_influence.definition import Objective, Statistic
from nnabla_influence.engine.stable_backward import stable_backward
from nnabla_influence.errors import UnsupportedError


class _Everything:
    def __contains__(self, variable: object) -> bool:
        return True


class _CompleteGrad(Grad):
    """`nnabla.grad` that also reaches the second and later uses of a parameter.

    `Grad` prunes its walk to the children of one of the several unlinked variables that stand for
    a parameter in a graph, and so drops the gradient of its other uses without a word. There is
    no public option; this hook is the smallest change that repairs it.
    """

    def _get_children(self, wrt_inputs: list[nn.Variable]) -> Any:
        return _Everything()


class _Statistics:
    r"""The sum :math:`-\sum_k (1 - d_k) \langle r_k, \sigma_k(\theta) \rangle`, as a graph."""

    def __init__(self, statistics: Sequence[Statistic]):
        sizes = [statistic.value.size for statistic in statistics]
        self._r = nn.NdArray((sum(sizes),))
        self._rates = nn.NdArray.from_numpy_array(
            np.repeat([s.decay_rate for s in statistics], sizes).astype(np.float32)
        )
        terms = []
        start = 0
        for statistic, size in zip(statistics, sizes):
            r = nn.Variable(statistic.value.shape)
            r.data = self._r.narrow(0, start, size).view(statistic.value.shape)
            terms.append(NF.sum(statistic.value * r) * (statistic.decay_rate - 1))
            start += size
        self.sum = NF.add_n(*(NF.reshape(term, (1,)) for term in terms))

    def inject(self, r: nn.NdArray) -> None:
        self._r.copy_from(r)
        self.sum.grad.fill(1)

    def decay(self, r: nn.NdArray) -> None:
        r.copy_from(r * self._rates)  # nnabla's `*=` gives a new array


class Derivatives:
    r"""J a, H a, gradients and losses of mini-batches, on static graphs of one size.

    A mini-batch of any length is worked off in chunks of ``objective.batch_size`` examples; the
    last chunk is filled up with examples of weight 0. The chunk size changes speed and memory,
    never the result (beyond rounding).

    Vectors over the parameters are flat `nnabla.NdArray` of shape ``(size,)``, in the order of
    ``objective.parameters``; they stay on the device.

    Args:
        objective: The network, built at the chunk's size (at least 2: nnabla cannot
            differentiate the cross entropies of a single example twice).
        context: The context that the objective was built in.

    Attributes:
        size: The number of trainable values p.
    """

    def __init__(self, objective: Objective, context: nn.Context):
        self.objective = objective
        self.size = sum(variable.size for variable in objective.parameters.values())
        self._context = context
        self._inputs = {
            **objective.inputs,
            **{draw.name: draw.variable for draw in objective.draws},
        }
        parameters = list(objective.parameters.values())
        # Every parameter's gradient is a view on one flat array, so that H a comes out flat.
        self._gradient = nn.NdArray((self.size,))
        for variable, view in zip(parameters, self._views(self._gradient)):
            variable.grad = view
        with nn.context_scope(context):
            self._weights = nn.Variable((objective.batch_size,), need_grad=True)
            objective.losses.persistent = True
            self._weighted_loss = NF.sum(self._weights * objective.losses)
            if objective.penalty is not None:
                self._penalty_weight = nn.Variable((1,))
                weighted = self._penalty_weight * NF.reshape(objective.penalty, (1,))
                self._weighted_loss = self._weighted_loss + NF.sum(weighted)
            try:
                with stable_backward():
                    graph_gradient = _CompleteGrad()([self._weighted_loss], parameters)
            except (NotImplementedError, TypeError, RuntimeError, NameError, ValueError) as error:
                raise UnsupportedError(
                    "the network cannot be differentiated twice by nnabla"
                    f" ({' '.join(str(error).split())[:200] or type(error).__name__});"
                    " replace the named function, or train without it"
                ) from error
            # For a parameter that the loss does not depend on, nnabla returns one 0.
            self._graph_gradient = [
                gradient if gradient.shape == parameter.shape else NF.constant(0, parameter.shape)
                for gradient, parameter in zip(graph_gradient, parameters)
            ]
            self._double = NF.sink(*self._graph_gradient, one_input_grad=False)
            self._statistics = _Statistics(objective.statistics) if objective.statistics else None
            if self._statistics is not None:
                self._double_with_statistics = NF.sink(
                    *self._graph_gradient, self._statistics.sum, one_input_grad=False
                )
            self._injected = nn.NdArray((self.size,))
            for variable, view in zip(self._graph_gradient, self._views(self._injected)):
                variable.grad = view
            outputs = [objective.losses]
            if objective.prediction is not None:
                objective.prediction.persistent = True
                outputs.append(objective.prediction)
            self._outputs = NF.sink(*outputs)

    def _views(self, flat: nn.NdArray) -> Iterator[nn.NdArray]:
        start = 0
        for variable in self.objective.parameters.values():
            yield flat.narrow(0, start, variable.size).view(variable.shape)
            start += variable.size

    def zeros(self) -> nn.NdArray:
        """Return a zero vector over the parameters, of shape ``(size,)``."""
        vector = nn.NdArray((self.size,))
        vector.zero()
        return vector

    def add_products(
        self,
        inputs: Mapping[str, np.ndarray],
        weights: np.ndarray,
        a: nn.NdArray,
        h: nn.NdArray,
        r: nn.NdArray | None = None,
    ) -> np.ndarray:
        r"""Return J a of a mini-batch and add its H a to ``h``.

        The Hessian has the penalty's part, once, where the loss has terms that are no example's.

        With ``r``, the gradient of what follows by the running statistics :math:`s^+` behind this
        mini-batch, it is also taken back through
        :math:`s^+ = d s + (1 - d) \sigma(\theta)`: ``h`` gets
        :math:`-(1 - d) (\partial \sigma / \partial \theta)^T r`, since h is what the adjoint
        *subtracts*, and r becomes :math:`d r`.

        Args:
            inputs: By dataset column, arrays of shape ``(n, ...)``; where the objective has draws,
                these too, by their names.
            weights: :math:`v_j`, shape ``(n,)``; ``1/n`` for the mean loss.
            a: Vector over the parameters, shape ``(size,)``.
            h: :math:`\sum_j v_j \nabla^2 l_j a` is added to it, in place.
            r: Shape ``(q,)``, in the order of ``objective.statistics``; taken back in place.

        Returns:
            :math:`\langle a, \nabla l_j \rangle`, shape ``(n,)``.

        Raises:
            ValueError: The mini-batch is not of the length that the objective was built for, and
                its losses depend on all of it.
        """
        statistics = self._statistics if r is not None else None
        double = self._double if statistics is None else self._double_with_statistics
        products = np.empty(len(weights), np.float64)
        with nn.context_scope(self._context):
            self._gradient.copy_from(h)
            for chunk in self._feed(inputs, weights, penalty=1):
                if statistics is not None:
                    statistics.inject(r)
                double.forward(clear_no_need_grad=True)
                # A copy, as the backward clears the buffers of what it has passed.
                self._injected.copy_from(a)
                self._weights.grad.zero()
                double.backward(clear_buffer=True)
                products[chunk] = self._weights.g[: chunk.stop - chunk.start]
            h.copy_from(self._gradient)
            if statistics is not None:
                statistics.decay(r)
        return products

    def add_gradient(
        self,
        inputs: Mapping[str, np.ndarray],
        weights: np.ndarray,
        gradient: nn.NdArray,
        penalty: float = 0,
    ) -> None:
        r"""Add :math:`\sum_j v_j \nabla l_j` of a mini-batch to ``gradient``, in place.

        The loss's terms that are no example's count ``penalty`` times.
        """
        with nn.context_scope(self._context):
            self._gradient.copy_from(gradient)
            for _ in self._feed(inputs, weights, penalty):
                self._weighted_loss.forward(clear_no_need_grad=True)
                self._weighted_loss.backward(clear_buffer=True)
            gradient.copy_from(self._gradient)

    def outputs(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the losses and, where the network has them, the predictions; shapes ``(n,)``."""
        n = len(next(iter(inputs.values())))
        losses = np.empty(n, np.float64)
        prediction = self.objective.prediction
        predictions = None if prediction is None else np.empty(n, np.float64)
        with nn.context_scope(self._context):
            for chunk in self._feed(inputs, np.ones(n), penalty=0):
                self._outputs.forward(clear_buffer=True)
                used = chunk.stop - chunk.start
                losses[chunk] = self.objective.losses.d[:used]
                if predictions is not None and prediction is not None:
                    predictions[chunk] = prediction.d[:used]
        return losses, predictions

    def graph_gradient(self, inputs: Mapping[str, np.ndarray], weights: np.ndarray) -> np.ndarray:
        """Return g, penalty included, as the graph has it: what the double backward starts from."""
        total = np.zeros(self.size)
        with nn.context_scope(self._context):
            for _ in self._feed(inputs, weights, penalty=1):
                self._double.forward()
                total += np.concatenate([np.ravel(g.d) for g in self._graph_gradient])
        return total

    def _feed(
        self, inputs: Mapping[str, np.ndarray], weights: np.ndarray, penalty: float
    ) -> Iterator[slice]:
        """Put chunk after chunk into the graph's inputs; yield which examples it holds."""
        size = self.objective.batch_size
        if self.objective.whole_batch and len(weights) != size:
            raise ValueError(
                f"a mini-batch of {len(weights)} examples for a training objective of {size}, whose"
                " losses depend on all of them; build one of the mini-batch's size"
            )
        for start in range(0, len(weights), size):
            chunk = slice(start, min(start + size, len(weights)))
            filling = size - (chunk.stop - start)
            for name, variable in self._inputs.items():
                data = inputs[name][chunk].astype(np.float32, copy=False)
                if filling:
                    # A real example, since anything else could be outside a loss's domain.
                    data = np.concatenate([data, np.repeat(data[-1:], filling, axis=0)])
                variable.d = data
            if self.objective.penalty is not None:
                self._penalty_weight.d = penalty if start == 0 else 0
            v = np.zeros(size, np.float32)
            v[: size - filling] = weights[chunk]
            self._weights.d = v
            yield chunk
