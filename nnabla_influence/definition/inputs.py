"""The inputs of a network that a dataset feeds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
) -> tuple[tuple[Input, ...], dict[str, float]]:
    """Return what the loss reads that no function computes.

    Returns:
        The inputs that a dataset feeds, one for each column; and the constants that fill other
        inputs, by network variable.

    Raises:
        ModelError: An input is not fed, or has a fixed batch size.
        UnsupportedError: An input is random, or changes during training.
    """
    needed = graph.upstream(losses)
    inputs = _dataset_inputs(path, optimizer, graph, needed)
    constants = _constants(path, optimizer, needed)
    fed = {assignment.variable_name for assignment in optimizer.data_variable}
    fed.update(graph.producers, graph.parameter_names, constants)
    for name in graph.shapes:
        if name in needed and name not in fed:
            raise _not_fed(path, optimizer.network_name, graph, name, needed)
    return inputs, constants


def _dataset_inputs(
    path: Path, optimizer: Any, graph: Graph, needed: Collection[str]
) -> tuple[Input, ...]:
    inputs: dict[str, Input] = {}
    for assignment in optimizer.data_variable:
        column, variable = assignment.data_name, assignment.variable_name
        if variable not in graph.shapes:
            raise ModelError(
                f"{path}: the optimizer feeds {variable!r}, which is not in the network"
                f" {optimizer.network_name!r}; save the file again"
            )
        if variable not in needed:
            continue
        if column.startswith("%"):
            raise UnsupportedError(
                f"{path}: the input {variable!r} is fed with {column!r}, which changes during"
                " training; replace it by a constant"
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
        if inputs.setdefault(column, found).shape != found.shape:
            raise UnsupportedError(
                f"{path}: the column {column!r} feeds {inputs[column].variable!r} of shape"
                f" {inputs[column].shape} and {variable!r} of shape {found.shape}; give them the"
                " same shape"
            )
    if not inputs:
        raise ModelError(
            f"{path}: the optimizer {optimizer.name!r} feeds no input of the loss from a dataset;"
            " set the dataset variables of the inputs and save the file again"
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


def _constants(path: Path, optimizer: Any, needed: Collection[str]) -> dict[str, float]:
    generators = [g for g in optimizer.generator_variable if g.variable_name in needed]
    for generator in generators:
        if generator.type != "Constant":
            raise UnsupportedError(
                f"{path}: the input {generator.variable_name!r} is filled at random"
                f" ({generator.type}), so the loss of an example has no single value; replace it"
                " by a constant"
            )
    return {generator.variable_name: generator.multiplier for generator in generators}


def _not_fed(
    path: Path, network: str, graph: Graph, name: str, needed: Collection[str]
) -> ModelError:
    if not name.startswith("@"):
        return ModelError(
            f"{path}: no dataset variable feeds the input {name!r} of the network {network!r}; set"
            " one and save the file again"
        )
    # nnabla.utils.save names arrays and unnamed inputs so.
    reader = next((n for n, _ in graph.consumers(name) if set(n.outputs) & set(needed)), None)
    return ModelError(
        f"{path}: the function {reader.type if reader else '?'} of the network {network!r} reads an"
        f" array of shape {graph.shapes[name]}, whose values are not in the file; make a constant"
        " a parameter (nn.parameter.get_parameter_or_create(name, shape, initializer=array,"
        " need_grad=False)) or a number, or name an input in save()'s names; save the file again"
    )
