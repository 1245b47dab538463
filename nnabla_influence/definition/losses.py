"""The loss of a training: a value for each example, penalties, and what it compares."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.graph import Graph, Node, Shape, copied, keep_only
from nnabla_influence.errors import UnsupportedError

# Functions that a mean passes through: the mean of what they return is the mean of their input.
_MEAN_KEEPING = ("Identity", "Mean", "Reshape", "Transpose")
# Functions between a loss and what is saved of it, and those that leave a label what it is.
TRANSPARENT = ("Identity", "MulScalar", "AddScalar", "Mean", "Sum", "Reshape")
_SAME_LABEL = ("Identity", "Reshape", "Unlink")
_ZERO_KEEPING = ("Identity", "MulScalar", "Mean", "Sum", "Reshape")

_REGRESSIONS = ("SquaredError", "AbsoluteError", "HuberLoss", "EpsilonInsensitiveLoss")
_BINARY = ("BinaryCrossEntropy", "SigmoidCrossEntropy")

_CROSS_ENTROPIES = ("SoftmaxCrossEntropy", "CategoricalCrossEntropy", *_BINARY)

# Losses that have no value below 0, for any data that they accept.
_NEVER_NEGATIVE = (*_CROSS_ENTROPIES, *_REGRESSIONS)


@dataclass(frozen=True)
class Term:
    """A variable of the network, whose mean times ``factor`` is a part of the loss."""

    variable: str
    factor: float


@dataclass(frozen=True)
class LossTerms:
    """The loss of a mini-batch: the sum of the terms' means, and a constant.

    Attributes:
        examples: Terms with one value (or array) for each example of the mini-batch.
        penalties: Terms that depend on parameters only, such as an L1 norm.
        offset: The constant.
    """

    examples: tuple[Term, ...]
    penalties: tuple[Term, ...]
    offset: float

    @property
    def outputs(self) -> list[str]:
        """The names of the terms' variables."""
        return [term.variable for term in (*self.examples, *self.penalties)]


def loss_terms(definition: Definition) -> LossTerms:
    """Return the parts of a definition's loss; see `split_loss`."""
    return split_loss(definition.path, definition.graph, definition.loss_variables, definition.data)


def split_loss(path: Path, graph: Graph, losses: Sequence[str], data: Collection[str]) -> LossTerms:
    """Split the loss: the sum of the means of the definition's loss variables.

    nnabla_cli's training descends on that sum, each mean taken over all elements. The losses of
    Neural Network Console have a value for each example; a script may have saved the mean over the
    mini-batch, or a weighted sum of such means and of penalties, which are followed back.
    """
    of_data = graph.downstream(data)
    examples: list[Term] = []
    penalties: list[Term] = []
    offset = 0.0
    stack = [Term(loss, 1.0) for loss in reversed(losses)]
    while stack:
        term = stack.pop()
        name, factor = term.variable, term.factor
        if name not in of_data:
            penalties.append(term)
            continue
        if graph.shapes[name] and graph.shapes[name][0] == -1:
            examples.append(term)
            continue
        node = graph.producers[name]
        if node.type in _MEAN_KEEPING:
            stack.append(Term(node.inputs[0], factor))
        elif node.type == "MulScalar":
            stack.append(Term(node.inputs[0], factor * node.proto.mul_scalar_param.val))
        elif node.type == "AddScalar":
            offset += factor * node.proto.add_scalar_param.val
            stack.append(Term(node.inputs[0], factor))
        elif node.type in ("Add2", "BcAdd2", "AddN"):
            stack.extend(Term(part, factor) for part in reversed(node.inputs))
        elif node.type == "Sub2":
            stack.append(Term(node.inputs[1], -factor))
            stack.append(Term(node.inputs[0], factor))
        else:
            raise UnsupportedError(
                f"{path}: the loss {', '.join(map(repr, losses))} is one number for the whole"
                f" mini-batch, made by the function {node.type} (layer {node.name!r}); make it the"
                " mean over the examples, or save a loss for each example"
            )
    return LossTerms(tuple(examples), tuple(penalties), offset)


def loss_network(definition: Definition) -> tuple[Any, LossTerms]:
    """Return a copy of the trained network without what its loss does not need, and its loss."""
    network, terms = copied(definition.network), loss_terms(definition)
    keep_only(network, terms.outputs)
    return network, terms


def is_never_negative(definition: Definition) -> bool:
    """Whether no example's loss can be below 0, judged by the kinds of the losses."""
    graph, terms = definition.graph, loss_terms(definition)
    kinds = [graph.producers.get(graph.behind(t.variable, _MEAN_KEEPING)) for t in terms.examples]
    return (
        terms.offset >= 0
        and all(term.factor >= 0 for term in terms.examples)
        and all(kind is not None and kind.type in _NEVER_NEGATIVE for kind in kinds)
    )


def is_cross_entropy(definition: Definition) -> bool:
    """Whether the loss is made of cross entropies of labels, and of nothing else."""
    graph, examples = definition.graph, loss_terms(definition).examples
    kinds = [graph.producers.get(graph.behind(term.variable, TRANSPARENT)) for term in examples]
    return all(kind is not None and kind.type in _CROSS_ENTROPIES for kind in kinds)


def ignoring_columns(definition: Definition) -> tuple[str, ...]:
    """Return the columns that make the loss ignore an example where all their labels are below 0.

    nnabla's cross entropies of categories give such an example the loss 0. None where a part of the
    loss counts whatever the labels are, such as a regression beside a cross entropy.
    """
    graph = definition.graph
    columns: list[str] = []
    for term in loss_terms(definition).examples:
        node = graph.producers.get(graph.behind(term.variable, _ZERO_KEEPING))
        if node is None or graph.category_axis(node) is None:
            return ()
        read = graph.upstream([node.inputs[1]])
        labels = [i.column for i in definition.inputs if i.ignores_negative and i.variable in read]
        if not labels:
            return ()
        columns += labels
    return tuple(dict.fromkeys(columns))


@dataclass(frozen=True)
class Label:
    """The dataset column that a predicted class is compared with."""

    column: str
    binary: bool  # whether it holds the probability of class 1

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the classes, (n,), of the column's values, (n, ...)."""
        flat = values.reshape(len(values))
        return flat >= 0.5 if self.binary else flat


def build_prediction(
    definition: Definition, built: Callable[[str], nn.Variable]
) -> nn.Variable | None:
    """Build what a network predicts for each of B examples, (B,), read off its loss.

    It is the most likely category where the target is a category, also as one-hot; 0 or 1 where
    the loss compares one probability; and the value itself for a regression with one output.
    Anything else, such as an image or several labels, has no single prediction: None.

    Args:
        definition: The network.
        built: From a variable's name to what was built for it.
    """
    graph = definition.graph
    loss = _compared(definition, graph)
    if loss is None:
        return None
    scores, shape = loss.inputs[0], graph.shapes[loss.inputs[0]]
    axis = graph.category_axis(loss)
    if axis is not None:
        return _most_likely(built(scores), axis) if _size(shape) == shape[axis] else None
    target = graph.producers.get(loss.inputs[1]) if len(loss.inputs) > 1 else None
    if target is not None and _is_one_hot(target):
        return _most_likely(built(scores), tuple(range(1, len(shape))))
    if _size(shape) != 1:
        return None
    if loss.type in _BINARY:
        least = 0.5 if loss.type == "BinaryCrossEntropy" else 0.0
        return _flat(NF.greater_equal_scalar(built(scores), least))
    if loss.type in _REGRESSIONS:
        computed = graph.downstream(graph.parameter_names)
        outputs = [name for name in loss.inputs if name in computed]
        return _flat(built(outputs[0])) if len(outputs) == 1 else None
    return None


def build_outputs(
    definition: Definition, built: Callable[[str], nn.Variable]
) -> nn.Variable | None:
    """Return what the loss compares with its target, (B, ...).

    Of a cross entropy of a Sigmoid's or a Softmax's probabilities, that is what comes before these.
    None where there are several losses, where the loss is made of other functions, or where its
    target depends on parameters, too.
    """
    graph = definition.graph
    loss = _compared(definition, graph)
    if loss is None or loss.type not in (*_NEVER_NEGATIVE, "KLMultinomial"):
        return None
    computed = graph.downstream(graph.parameter_names)
    outputs = [name for name in loss.inputs if name in computed]
    if len(outputs) != 1:
        return None
    node = graph.producers.get(outputs[0])
    activation = {"BinaryCrossEntropy": "Sigmoid", "CategoricalCrossEntropy": "Softmax"}
    if node is not None and node.type == activation.get(loss.type):
        return built(node.inputs[0])
    return built(outputs[0])


class OutputKind(Enum):
    """What `build_outputs` returns of a network that predicts a class, (B, C) or (B, 1)."""

    LOGITS = "logits of C classes"
    SCORES = "scores of C classes, such as probabilities"
    LOGIT = "the logit of class 1"
    PROBABILITY = "the probability of class 1"


def kind_of_outputs(definition: Definition) -> OutputKind | None:
    """Return the kind of a network's outputs; None where it predicts no single class."""
    graph = definition.graph
    loss = _compared(definition, graph)
    label = find_label(definition)
    if loss is None or label is None:
        return None
    node, size = graph.producers.get(loss.inputs[0]), _size(graph.shapes[loss.inputs[0]])
    before = None if node is None else node.type
    axis = graph.category_axis(loss)
    if axis is not None:
        if size != graph.shapes[loss.inputs[0]][axis]:
            return None
        has_logits = loss.type == "SoftmaxCrossEntropy" or before == "Softmax"
        return OutputKind.LOGITS if has_logits else OutputKind.SCORES
    if not label.binary:
        return OutputKind.SCORES
    if size != 1:
        return None
    has_logit = loss.type == "SigmoidCrossEntropy" or before == "Sigmoid"
    return OutputKind.LOGIT if has_logit else OutputKind.PROBABILITY


def comparison_factor(definition: Definition) -> float:
    """Return what the loss multiplies its comparison of one class by, such as a weight."""
    (term,), graph = loss_terms(definition).examples, definition.graph
    factor, node = term.factor, graph.producers.get(term.variable)
    while node is not None and node.type in TRANSPARENT:
        if node.type == "MulScalar":
            factor *= node.proto.mul_scalar_param.val
        node = graph.producers.get(node.inputs[0])
    return factor


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


def _most_likely(scores: nn.Variable, axis: int | tuple[int, ...]) -> nn.Variable:
    return _flat(NF.max(scores, axis=axis, only_index=True))


def _is_one_hot(node: Node) -> bool:
    return node.type == "OneHot" and len(node.proto.one_hot_param.shape.dim) == 1


def _size(shape: Shape) -> int:
    return int(np.prod(shape[1:], dtype=int))


def _flat(variable: nn.Variable) -> nn.Variable:
    return NF.reshape(variable, (variable.shape[0],), inplace=False)
