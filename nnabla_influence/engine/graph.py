"""The functions of a graph that nnabla has built, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nnabla as nn

from nnabla_influence.definition.normalization import Normalization

Variables = tuple[nn.Variable, ...]


@dataclass(frozen=True, eq=False)
class Function:
    """A function of a graph.

    Attributes:
        type: nnabla's, such as ``Affine``.
        args: Its arguments, by nnabla's names.
        inputs: The `key` of each input.
        outputs: The `key` of each output.
        variables: The inputs, then the outputs.
        leaves: The inputs that no function computes.
    """

    type: str
    args: Mapping[str, Any]
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    variables: tuple[Variables, Variables]
    leaves: Variables


def key(variable: nn.Variable) -> Any:
    """Return what is the same for all variables that stand for one.

    A parameter has a variable of its own at each place where it is used.
    """
    return variable if variable.parent is not None else variable.data


def functions_of(
    targets: Sequence[nn.Variable], normalizations: Sequence[Normalization] = ()
) -> list[Function]:
    """Return the functions that ``targets`` need, each after those that it needs.

    Args:
        targets: Variables of a graph.
        normalizations: What is taken for one function each.
    """
    functions: list[Function] = []
    seen: set[Any] = set()
    whole = {key(v): n for n in normalizations for v in n.outputs}

    def add(kind: str, args: Mapping[str, Any], inputs: Variables, outputs: Variables) -> None:
        functions.append(
            Function(
                type=kind,
                args=dict(args),
                inputs=tuple(key(v) for v in inputs),
                outputs=tuple(key(v) for v in outputs),
                variables=(inputs, outputs),
                leaves=tuple(v for v in inputs if v.parent is None),
            )
        )

    def visit(function: Any) -> None:
        outputs = tuple(function.outputs)
        found = whole.get(key(outputs[0]), function)
        if found in seen:
            return
        seen.add(found)
        if found is function:
            add(function.info.type_name, function.info.args, tuple(function.inputs), outputs)
        else:
            add("BatchNormalization", found.args, found.inputs, found.outputs)

    for target in targets:
        if target.parent is not None:
            target.visit(visit)
    return _needed(functions, targets) if normalizations else functions


def _needed(functions: Sequence[Function], targets: Sequence[nn.Variable]) -> list[Function]:
    needed, found = {key(target) for target in targets}, []
    for function in reversed(functions):
        if not needed.isdisjoint(function.outputs):
            needed.update(function.inputs)
            found.append(function)
    return found[::-1]
