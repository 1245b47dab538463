"""The functions of a graph that nnabla has built, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nnabla as nn


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
    variables: tuple[tuple[nn.Variable, ...], tuple[nn.Variable, ...]]
    leaves: tuple[nn.Variable, ...]


def key(variable: nn.Variable) -> Any:
    """Return what is the same for all variables that stand for one.

    A parameter has a variable of its own at each place where it is used.
    """
    return variable if variable.parent is not None else variable.data


def functions_of(targets: Sequence[nn.Variable]) -> list[Function]:
    """Return the functions that ``targets`` need, each after those that it needs."""
    functions: list[Function] = []
    seen: set[Any] = set()

    def visit(function: Any) -> None:
        if function in seen:
            return
        seen.add(function)
        inputs, outputs = tuple(function.inputs), tuple(function.outputs)
        functions.append(
            Function(
                type=function.info.type_name,
                args=dict(function.info.args),
                inputs=tuple(key(v) for v in inputs),
                outputs=tuple(key(v) for v in outputs),
                variables=(inputs, outputs),
                leaves=tuple(v for v in inputs if v.parent is None),
            )
        )

    for target in targets:
        if target.parent is not None:
            target.visit(visit)
    return functions
