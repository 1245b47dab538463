"""How good parameters are on data: accuracy and mean loss, in test mode."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.curves.opening import Opened
from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import (
    Objective,
    build_objective,
    check_independence,
    find_label,
)
from nnabla_influence.definition.training_network import initial_parameters
from nnabla_influence.scoring.chunk import default_chunk_size

BLOCK = 256


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
    label = None if prediction is None else find_label(opened.definition)
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
