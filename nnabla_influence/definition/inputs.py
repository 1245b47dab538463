"""The inputs of a network that a dataset feeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nnabla_influence.definition.graph import Graph
from nnabla_influence.errors import ModelError, UnsupportedError


@dataclass(frozen=True)
class Input:
    """One network input that a dataset variable feeds.

    Attributes:
        column: The dataset's variable, such as ``x``.
        variable: The network's, such as ``Input``.
        shape: Of one example, without the batch axis.
        n_classes: The number of categories, where the values are category numbers (labels of a
            cross entropy, indices of an embedding), else None.
        ignores_negative: Whether only cross entropies read these numbers that give an example with
            a label below 0 the loss 0.
    """

    column: str
    variable: str
    shape: tuple[int, ...]
    n_classes: int | None
    ignores_negative: bool = False


# Functions whose output holds the same category numbers as their input.
_PASS_THROUGH_NAMES = """
Identity Unlink Reshape Transpose Flip Slice Split Stack Concatenate Broadcast BroadcastTo Tile
RepeatStart RepeatEnd RecurrentInput RecurrentOutput Delay
"""
_PASS_THROUGH = frozenset(_PASS_THROUGH_NAMES.split())


def network_inputs(
    path: Path, optimizer: Any, graph: Graph, losses: Sequence[str]
) -> tuple[Input, ...]:
    """Return the inputs that the loss depends on, one for each dataset column.

    Raises:
        ModelError: The optimizer section names a variable that the network lacks, or the network
            has a fixed batch size.
        UnsupportedError: An input is random, or changes during training.
    """
    needed = graph.upstream(losses)
    inputs: dict[str, Input] = {}
    for assignment in optimizer.data_variable:
        column, variable = assignment.data_name, assignment.variable_name
        if variable not in graph.shapes:
            raise ModelError(
                f"{path}: the optimizer feeds {variable!r}, which the network"
                f" {optimizer.network_name!r} does not hold; save the file again"
            )
        if variable not in needed:
            continue
        if column.startswith("%"):
            raise UnsupportedError(
                f"{path}: the input {variable!r} is fed with {column!r}, which changes during"
                " training; replace it by a constant to score"
            )
        shape = graph.shapes[variable]
        if not shape or shape[0] != -1:
            raise ModelError(
                f"{path}: the input {variable!r} has the fixed shape {shape}, so the batch size"
                " cannot be chosen; save the file with variable_batch_size=True"
            )
        readers = _readers(graph, variable, set())
        n_classes = min((reader.n_classes for reader in readers), default=None)
        ignores = bool(readers) and all(reader.ignores_negative for reader in readers)
        found = Input(column, variable, shape[1:], n_classes, ignores)
        if column not in inputs:
            inputs[column] = found
        elif inputs[column].shape != found.shape:
            raise UnsupportedError(
                f"{path}: the column {column!r} feeds {inputs[column].variable!r} of shape"
                f" {inputs[column].shape} and {variable!r} of shape {found.shape}; give them one"
                " shape"
            )
    if not inputs:
        raise ModelError(
            f"{path}: optimizer {optimizer.name!r} feeds no input of the loss from a dataset; set"
            " the dataset variables of the inputs and save the file again"
        )
    return tuple(inputs.values())


class _Reader(NamedTuple):
    """A function that reads category numbers."""

    n_classes: int
    ignores_negative: bool = False


def _readers(graph: Graph, variable: str, seen: set[str]) -> list[_Reader]:
    if variable in seen:
        return []
    seen.add(variable)
    found = []
    for node, position in graph.consumers(variable):
        axis = graph.category_axis(node)
        if axis is not None and position == 1:
            found.append(_Reader(graph.shapes[node.inputs[0]][axis], ignores_negative=True))
        elif node.type == "Embed" and position == 0 and graph.shapes[node.inputs[1]]:
            found.append(_Reader(graph.shapes[node.inputs[1]][0]))
        elif node.type == "SigmoidCrossEntropy" and position == 1:
            found.append(_Reader(2))  # nnabla rounds a target between 0 and 1 to a whole number
        elif node.type == "OneHot" and len(node.proto.one_hot_param.shape.dim) == 1:
            found.append(_Reader(node.proto.one_hot_param.shape.dim[0]))
        elif node.type in _PASS_THROUGH:
            for output in node.outputs:
                found.extend(_readers(graph, output, seen))
    return found


def constant_inputs(
    path: Path, optimizer: Any, graph: Graph, losses: Sequence[str]
) -> dict[str, float]:
    """Return the values of the inputs that are filled with a constant, by network variable.

    Raises:
        UnsupportedError: An input that the loss depends on is filled at random.
        ModelError: An input that the loss depends on is not fed at all.
    """
    needed = graph.upstream(losses)
    constants: dict[str, float] = {}
    for generator in optimizer.generator_variable:
        name = generator.variable_name
        if name not in needed:
            continue
        if generator.type != "Constant":
            raise UnsupportedError(
                f"{path}: the input {name!r} is filled at random ({generator.type}), so the loss"
                " of an example has no single value; replace it by a constant to score"
            )
        constants[name] = generator.multiplier
    fed = {assignment.variable_name for assignment in optimizer.data_variable}
    fed.update(graph.producers, graph.parameter_names, constants)
    unfed = [name for name in graph.shapes if name in needed and name not in fed]
    if not unfed:
        return constants
    name, network = unfed[0], optimizer.network_name
    if name.startswith("@"):  # nnabla.utils.save's, for no name
        reader = next((n for n, _ in graph.consumers(name) if needed & set(n.outputs)), None)
        raise ModelError(
            f"{path}: the function {reader.type if reader else '?'} of the network {network!r}"
            f" reads an array of shape {graph.shapes[name]}, whose values the file does not hold."
            " For a constant of NumPy, use nn.parameter.get_parameter_or_create(name, shape,"
            " initializer=array, need_grad=False), or numbers in place of the array; for an input,"
            " name it in save()'s names; save the file again"
        )
    raise ModelError(
        f"{path}: no dataset variable feeds the input {name!r} of the network {network!r}; set one"
        " and save the file again"
    )
