"""How good parameters are on data: accuracy and mean loss, in test mode."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import (
    Definition,
    Objective,
    build_objective,
    check_independence,
)
from nnabla_influence.definition.graph import categories, producers, shapes
from nnabla_influence.definition.initial import initial_parameters
from nnabla_influence.definition.losses import loss_terms
from nnabla_influence.retraining.inputs import Opened
from nnabla_influence.scoring.chunk import default_chunk_size

BLOCK = 256

_SAME_CLASS = ("Identity", "Reshape", "Unlink")
_AROUND_LOSSES = ("Identity", "MulScalar", "AddScalar", "Mean", "Sum", "Reshape")
_BINARY = ("BinaryCrossEntropy", "SigmoidCrossEntropy")


@dataclass(frozen=True)
class Tested:
    """How good parameters are on a data set.

    Attributes:
        accuracy: Part of the rows whose label is predicted; None where the network predicts no
            class.
        loss: Mean loss, no weight decay.
    """

    accuracy: Optional[float]
    loss: float


def tested(opened: Opened, parameters: Mapping[str, np.ndarray]) -> Tested:
    """Return how good ``parameters`` are on the test data."""
    losses, right = evaluate(opened, opened.test, parameters)
    return Tested(None if right is None else float(right.mean()), float(losses.mean()))


def evaluate(
    opened: Opened, dataset: Dataset, parameters: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, Optional[np.ndarray]]:
    """Return each row's loss, float64 (n,), and whether its class is predicted, bool (n,).

    Test mode: no randomness, running statistics, no weight decay.

    Raises:
        ModelError: The parameters do not fit.
    """
    network = _network(opened)
    objective, size = network.objective, network.objective.batch_size
    prediction = objective.prediction
    label = None if prediction is None else label_of(opened.definition)
    losses, right = np.empty(len(dataset)), np.zeros(len(dataset), bool)
    with nn.context_scope(opened.device.context):
        objective.set_parameters(parameters)
        for start in range(0, len(dataset), size):
            rows = np.arange(start, min(start + size, len(dataset)))
            # Filled up with a real example: anything else could be outside a loss's domain.
            inputs = dataset.batch(np.concatenate([rows, np.repeat(rows[-1:], size - len(rows))]))
            for column, variable in objective.inputs.items():
                variable.d = inputs[column]
            network.outputs.forward(clear_buffer=True)
            losses[rows] = objective.losses.d[: len(rows)]
            if label is not None and prediction is not None:
                predicted = prediction.d[: len(rows)]
                right[rows] = predicted == label.of(inputs[label.column][: len(rows)])
    return losses, None if label is None else right


@dataclass(frozen=True, eq=False)
class _Network:
    objective: Objective
    outputs: nn.Variable


@functools.lru_cache(maxsize=2)
def _network(opened: Opened) -> _Network:
    definition, context = opened.definition, opened.device.context
    block = default_chunk_size(definition, BLOCK)
    objective = build_objective(definition, block, context, initial_parameters(definition, 0))
    check_independence(
        objective, opened.test.batch(np.arange(min(len(opened.test), block))), context
    )
    with nn.context_scope(context), nn.auto_forward(False):
        outputs = [objective.losses]
        if objective.prediction is not None:
            outputs.append(objective.prediction)
        for output in outputs:
            output.persistent = True
        return _Network(objective, NF.sink(*outputs))


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


def label_of(definition: Definition) -> Optional[Label]:
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
