"""The loss of a training: a value for each example, and penalties."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.graph import Graph, copied, keep_only
from nnabla_influence.errors import UnsupportedError

# Functions that a mean passes through: the mean of what they return is the mean of their input.
_MEAN_KEEPING = ("Identity", "Mean", "Reshape", "Transpose")
_ZERO_KEEPING = ("Identity", "MulScalar", "Mean", "Sum", "Reshape")

# Losses that have no value below 0, for any data that they accept.
_NEVER_NEGATIVE = (
    "SoftmaxCrossEntropy",
    "CategoricalCrossEntropy",
    "SigmoidCrossEntropy",
    "BinaryCrossEntropy",
    "SquaredError",
    "AbsoluteError",
    "HuberLoss",
    "EpsilonInsensitiveLoss",
)


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

    Raises:
        UnsupportedError: A loss is a number for the whole mini-batch in another way.
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
                f"{path}: the loss {', '.join(map(repr, losses))} is one number for the"
                f" whole mini-batch, made by the function {node.type} (layer {node.name!r}); make"
                " it the mean over the examples, or save a loss for each example"
            )
    return LossTerms(tuple(examples), tuple(penalties), offset)


def loss_network(definition: Definition) -> tuple[Any, LossTerms]:
    """Return a copy of the trained network without what its loss does not need, and its loss.

    Raises:
        UnsupportedError: As `loss_terms` does.
    """
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
