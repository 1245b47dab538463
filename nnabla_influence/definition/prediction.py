"""What a network predicts for an example, and the label that this is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.graph import Graph, Node, Shape
from nnabla_influence.definition.losses import loss_terms

# Functions between a loss and what is saved of it, and those that leave a label what it is.
TRANSPARENT = ("Identity", "MulScalar", "AddScalar", "Mean", "Sum", "Reshape")
_SAME_LABEL = ("Identity", "Reshape", "Unlink")
_REGRESSIONS = ("SquaredError", "AbsoluteError", "HuberLoss", "EpsilonInsensitiveLoss")
_BINARY = ("BinaryCrossEntropy", "SigmoidCrossEntropy")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network predicts.

    Attributes:
        variable: The variable that it is read off.
        read: From that variable of B examples to the predictions, shape ``(B,)``.
    """

    variable: str
    read: Callable[[nn.Variable], nn.Variable]


@dataclass(frozen=True)
class Label:
    """The dataset column that a predicted class is compared with.

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


def find_prediction(definition: Definition) -> Prediction | None:
    """Return what a network predicts for each example, read off its loss.

    It is the most likely category where the target is a category, also as one-hot; 0 or 1 where
    the loss compares one probability; and the value itself for a regression with one output.
    Anything else, such as an image or several labels, has no single prediction: None.
    """
    graph = definition.graph
    loss = _compared(definition, graph)
    if loss is None:
        return None
    scores, shape = loss.inputs[0], graph.shapes[loss.inputs[0]]
    axis = graph.category_axis(loss)
    if axis is not None:
        return _most_likely(scores, axis) if _size(shape) == shape[axis] else None
    target = graph.producers.get(loss.inputs[1]) if len(loss.inputs) > 1 else None
    if target is not None and _is_one_hot(target):
        return _most_likely(scores, tuple(range(1, len(shape))))
    if _size(shape) != 1:
        return None
    if loss.type in _BINARY:
        least = 0.5 if loss.type == "BinaryCrossEntropy" else 0.0
        return Prediction(scores, lambda variable: _flat(NF.greater_equal_scalar(variable, least)))
    if loss.type in _REGRESSIONS:
        computed = graph.downstream(graph.parameter_names)
        outputs = [name for name in loss.inputs if name in computed]
        return Prediction(outputs[0], _flat) if len(outputs) == 1 else None
    return None


def find_label(definition: Definition) -> Label | None:
    """Return the label that the loss compares with; None where the network predicts no class."""
    graph = definition.graph
    loss = _compared(definition, graph)
    if loss is None or len(loss.inputs) < 2:
        return None
    binary, target = loss.type in _BINARY, loss.inputs[1]
    one_hot = graph.producers.get(graph.behind(target, _SAME_LABEL))
    if one_hot is not None and _is_one_hot(one_hot):
        binary, target = False, one_hot.inputs[0]
    elif not binary and graph.category_axis(loss) is None:
        return None
    target = graph.behind(target, _SAME_LABEL)
    if target not in definition.data or _size(graph.shapes[target]) != 1:
        return None
    return Label(definition.data[target], binary)


def _compared(definition: Definition, graph: Graph) -> Node | None:
    """Return the function that compares outputs and targets, if there is only one."""
    examples = loss_terms(definition).examples
    if len(examples) != 1:
        return None
    return graph.producers.get(graph.behind(examples[0].variable, TRANSPARENT))


def _most_likely(scores: str, axis: int | tuple[int, ...]) -> Prediction:
    return Prediction(scores, lambda variable: _flat(NF.max(variable, axis=axis, only_index=True)))


def _is_one_hot(node: Node) -> bool:
    return node.type == "OneHot" and len(node.proto.one_hot_param.shape.dim) == 1


def _size(shape: Shape) -> int:
    return int(np.prod(shape[1:], dtype=int))


def _flat(variable: nn.Variable) -> nn.Variable:
    return NF.reshape(variable, (variable.shape[0],), inplace=False)
