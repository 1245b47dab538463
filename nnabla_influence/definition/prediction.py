"""What a network predicts for an example, read off its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition.graph import categories, downstream, producers, shapes

_TRANSPARENT = ("Identity", "MulScalar", "AddScalar", "Mean", "Sum", "Reshape")
_REGRESSIONS = ("SquaredError", "AbsoluteError", "HuberLoss", "EpsilonInsensitiveLoss")

Prediction = Callable[[nn.Variable], nn.Variable]


def find_prediction(network: Any, loss: str) -> tuple[str, Prediction] | None:
    """Return the variable that holds the prediction, and how to read it, for one loss.

    It is the most likely category where the target is a category, also as one-hot; 0 or 1 where
    the loss compares one probability; and the value itself for a regression with one output.
    Anything else, such as an image or several labels, has no single prediction: None.

    Args:
        network: A proto network.
        loss: A variable with a value (or array) for each example.
    """
    producer = producers(network)
    function = producer.get(loss)
    while function is not None and function.type in _TRANSPARENT:
        function = producer.get(function.input[0])
    if function is None:
        return None
    shape_of = shapes(network)
    scores = function.input[0]
    shape = shape_of[scores]
    axis = categories(function, shape)
    if axis is not None:
        if _size(shape) != shape[axis]:
            return None
        return scores, lambda variable: _flat(NF.max(variable, axis=axis, only_index=True))
    if len(function.input) > 1 and _is_one_hot(producer.get(function.input[1])):
        axes = tuple(range(1, len(shape)))
        return scores, lambda variable: _flat(NF.max(variable, axis=axes, only_index=True))
    if _size(shape) != 1:
        return None
    if function.type == "BinaryCrossEntropy":
        return scores, lambda variable: _flat(NF.greater_equal_scalar(variable, 0.5))
    if function.type == "SigmoidCrossEntropy":
        return scores, lambda variable: _flat(NF.greater_equal_scalar(variable, 0.0))
    if function.type in _REGRESSIONS:
        parameters = [v.name for v in network.variable if v.type == "Parameter"]
        computed = downstream(network, parameters)
        outputs = [name for name in function.input if name in computed]
        return (outputs[0], _flat) if len(outputs) == 1 else None
    return None


def _is_one_hot(function: Any) -> bool:
    return (
        function is not None
        and function.type == "OneHot"
        and len(function.one_hot_param.shape.dim) == 1
    )


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[1:], dtype=int))


def _flat(variable: nn.Variable) -> nn.Variable:
    return NF.reshape(variable, (variable.shape[0],), inplace=False)
