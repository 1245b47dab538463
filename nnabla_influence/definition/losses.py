"""Take the loss of a training apart: into one loss for each example, and penalties."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.graph import downstream, producers, shapes
from nnabla_influence.errors import UnsupportedError

# Functions that a mean passes through: the mean of what they return is the mean of their input.
_MEAN_KEEPING = ("Identity", "Mean", "Reshape", "Transpose")

# Losses that have no value below 0, for whatever data they accept.
_NEVER_NEGATIVE = frozenset(
    {
        *("SoftmaxCrossEntropy", "CategoricalCrossEntropy"),
        *("SigmoidCrossEntropy", "BinaryCrossEntropy"),
        *("SquaredError", "AbsoluteError", "HuberLoss", "EpsilonInsensitiveLoss"),
    }
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
        offset: What is added, whatever the data.
    """

    examples: tuple[Term, ...]
    penalties: tuple[Term, ...]
    offset: float

    @property
    def outputs(self) -> list[str]:
        """The names of the terms' variables."""
        return [term.variable for term in (*self.examples, *self.penalties)]


def loss_terms(path: Path, network: Any, losses: Sequence[str], data: Iterable[str]) -> LossTerms:
    """Take the sum of the means of ``losses`` apart.

    nnabla_cli's training descends on that sum, each mean taken over all elements. The losses of
    Neural Network Console have a value for each example; a script may have saved the mean over the
    mini-batch, or a weighted sum of such means and of penalties, which are followed back.

    Args:
        path: The model file, for messages.
        network: A proto network.
        losses: The names of its loss variables.
        data: The names of the inputs that hold examples.

    Raises:
        UnsupportedError: A loss is a number for the whole mini-batch in another way.
    """
    shape_of = shapes(network)
    producer = producers(network)
    of_data = downstream(network, data)
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
        if shape_of[name] and shape_of[name][0] == -1:
            examples.append(term)
            continue
        function = producer[name]
        if function.type in _MEAN_KEEPING:
            stack.append(Term(function.input[0], factor))
        elif function.type == "MulScalar":
            stack.append(Term(function.input[0], factor * function.mul_scalar_param.val))
        elif function.type == "AddScalar":
            offset += factor * function.add_scalar_param.val
            stack.append(Term(function.input[0], factor))
        elif function.type in ("Add2", "BcAdd2", "AddN"):
            stack.extend(Term(part, factor) for part in reversed(function.input))
        elif function.type == "Sub2":
            stack.append(Term(function.input[1], -factor))
            stack.append(Term(function.input[0], factor))
        else:
            raise UnsupportedError(
                f"{path}: the loss {_origin(losses, name)} is one number for the whole mini-batch,"
                f" made by the function {function.type} (layer {function.name!r}); make it the mean"
                " over the examples, or save a loss for each example"
            )
    return LossTerms(tuple(examples), tuple(penalties), offset)


def is_never_negative(definition: Definition) -> bool:
    """Tell whether no example's loss can be below 0, as far as the kinds of the losses say it."""
    path, network = definition.path, definition.network
    data = [assignment.variable_name for assignment in definition.optimizer.data_variable]
    terms = loss_terms(path, network, definition.loss_variables, data)
    producer = producers(network)

    def kind(name: str) -> str:
        function = producer.get(name)
        while function is not None and function.type in _MEAN_KEEPING:
            function = producer.get(function.input[0])
        return "" if function is None else str(function.type)

    return terms.offset >= 0 and all(
        term.factor >= 0 and kind(term.variable) in _NEVER_NEGATIVE for term in terms.examples
    )


def _origin(losses: Sequence[str], name: str) -> str:
    return repr(name) if name in losses or len(losses) > 1 else repr(losses[0])
