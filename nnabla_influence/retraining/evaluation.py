"""Losses and predictions of examples as a function of the parameters, in test mode."""

from __future__ import annotations

from collections.abc import Mapping

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Definition, build_objective, find_label
from nnabla_influence.engine import build_engine
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
        objective = build_objective(definition, block, context, parameters)
        self.engine = build_engine(objective, context)
        self._label = None if objective.prediction is None else find_label(definition)

    def evaluate(
        self, parameters: Mapping[str, np.ndarray], fetch: FetchRows, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return each row's loss, float64 (n,), and whether its class is predicted, bool (n,).

        The latter is None where the network predicts no class.

        Raises:
            ModelError: The parameters do not fit the network, or are not finite.
        """
        size, label = self.engine.objective.batch_size, self._label
        losses, right = np.empty(len(rows)), np.zeros(len(rows), bool)
        self.engine.set_parameters(parameters)
        for start in range(0, len(rows), size):
            block = slice(start, start + size)
            inputs = fetch(rows[block])
            found = self.engine.outputs(inputs)
            losses[block] = found.losses
            if label is not None and found.predictions is not None:
                right[block] = found.predictions == label.of(inputs[label.column])
        return losses, None if label is None else right

    def mean_loss(
        self, parameters: Mapping[str, np.ndarray], fetch: FetchRows, rows: np.ndarray
    ) -> float:
        """Return the mean loss of ``rows``, which may repeat, summed in float64 block by block."""
        losses, _ = self.evaluate(parameters, fetch, rows)
        blocks = range(0, len(rows), self.engine.objective.batch_size)
        return sum(
            float(losses[start : start + self.engine.objective.batch_size].sum())
            for start in blocks
        ) / len(rows)
