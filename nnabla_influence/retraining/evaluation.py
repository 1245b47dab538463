"""Losses and predictions of examples as a function of the parameters, in test mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition import Definition, Objective, build_objective
from nnabla_influence.definition.graph import categories, producers, shapes
from nnabla_influence.definition.losses import loss_terms
from nnabla_influence.runs.steps import FetchRows

BLOCK = 256

_SAME_CLASS = ("Identity", "Reshape", "Unlink")
_AROUND_LOSSES = ("Identity", "MulScalar", "AddScalar", "Mean", "Sum", "Reshape")
_BINARY = ("BinaryCrossEntropy", "SigmoidCrossEntropy")


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


@dataclass(frozen=True)
class Label:
    """The dataset column that holds what a network's predicted class is compared with.

    Attributes:
        column: Its name.
        binary: Whether it holds the probability of class 1.
    """

    column: str
    binary: bool

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the classes, (n,), of the column's values, (n, ...)."""
        flat = values.reshape(len(values))
        return flat >= 0.5 if self.binary else flat


def find_label(definition: Definition) -> Label | None:
    """Return the label that the loss compares with; None where the network predicts no class."""
    network = definition.network
    data = {a.variable_name: a.data_name for a in definition.optimizer.data_variable}
    terms = loss_terms(definition.path, network, definition.loss_variables, data)
    if len(terms.examples) != 1:
        return None
    producer, shape_of = producers(network), shapes(network)
    function = producer.get(terms.examples[0].variable)
    while function is not None and function.type in _AROUND_LOSSES:
        function = producer.get(function.input[0])
    if function is None or len(function.input) < 2:
        return None
    binary = function.type in _BINARY
    target = function.input[1]
    one_hot = producer.get(target)
    while one_hot is not None and one_hot.type in _SAME_CLASS:
        one_hot = producer.get(one_hot.input[0])
    if one_hot is not None and one_hot.type == "OneHot":
        binary, target = False, one_hot.input[0]
    elif not binary and categories(function, shape_of[function.input[0]]) is None:
        return None
    while target in producer and producer[target].type in _SAME_CLASS:
        target = producer[target].input[0]
    size = int(np.prod(shape_of[target][1:], dtype=int)) if target in shape_of else 0
    if target not in data or size != 1:
        return None
    return Label(data[target], binary)
