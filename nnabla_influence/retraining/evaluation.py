"""Losses and predictions of examples as a function of the parameters, in test mode."""

from __future__ import annotations

from collections.abc import Mapping

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition import Definition, Objective, build_objective, find_label
from nnabla_influence.runs.steps import FetchRows

BLOCK = 256


class Evaluator:
    """A network in test mode: running statistics, no randomness, no weight decay.

    Args:
        definition: The network.
        context: Where to compute.
        parameters: Any that the network can be built with.
        block: Examples in the network at once.
    """

    def __init__(
        self,
        definition: Definition,
        context: nn.Context,
        parameters: Mapping[str, np.ndarray],
        block: int = BLOCK,
    ):
        self._context = context
        self.objective: Objective = build_objective(definition, block, context, parameters)
        self._prediction = self.objective.prediction
        self._label = None if self._prediction is None else find_label(definition)
        outputs = [self.objective.losses]
        if self._prediction is not None:
            outputs.append(self._prediction)
        with nn.context_scope(context), nn.auto_forward(False):
            for output in outputs:
                output.persistent = True
            self._outputs = NF.sink(*outputs)

    def evaluate(
        self, parameters: Mapping[str, np.ndarray], fetch: FetchRows, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return each row's loss, float64 (n,), and whether its class is predicted, bool (n,).

        The latter is None where the network predicts no class.

        Raises:
            ModelError: The parameters do not fit the network, or are not finite.
        """
        objective, size, label = self.objective, self.objective.batch_size, self._label
        losses, right = np.empty(len(rows)), np.zeros(len(rows), bool)
        with nn.context_scope(self._context):
            objective.set_parameters(parameters)
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                block = slice(start, start + len(some))
                # Filled up with a real example: anything else could be outside a loss's domain.
                inputs = fetch(np.concatenate([some, np.repeat(some[-1:], size - len(some))]))
                for column, variable in objective.inputs.items():
                    variable.d = inputs[column]
                self._outputs.forward(clear_buffer=True)
                losses[block] = objective.losses.d[: len(some)]
                if label is not None and self._prediction is not None:
                    classes = label.of(inputs[label.column][: len(some)])
                    right[block] = self._prediction.d[: len(some)] == classes
        return losses, None if label is None else right

    def mean_loss(
        self, parameters: Mapping[str, np.ndarray], fetch: FetchRows, rows: np.ndarray
    ) -> float:
        """Return the mean loss of ``rows``, which may repeat, summed in float64 block by block."""
        losses, _ = self.evaluate(parameters, fetch, rows)
        blocks = range(0, len(rows), self.objective.batch_size)
        return sum(
            float(losses[start : start + self.objective.batch_size].sum()) for start in blocks
        ) / len(rows)
