"""Walks over nnabla's proto networks: what feeds what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

EdgeFilter = Callable[[Any, int], bool]
"""Says of a function and the position of one of its inputs whether to walk through it."""


def find_network(proto: Any, name: str) -> Any | None:
    """Return the proto ``Network`` called ``name``, or None."""
    return next((network for network in proto.network if network.name == name), None)


def shapes(network: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a proto network's variables by name; the batch axis is -1."""
    return {variable.name: tuple(variable.shape.dim) for variable in network.variable}


def categories(function: Any, shape: tuple[int, ...]) -> int | None:
    """Return the axis of the categories in the scores of a cross entropy, None for other functions.

    Args:
        function: A proto function.
        shape: Of its first input.
    """
    if function.type == "SoftmaxCrossEntropy":
        axis = function.softmax_cross_entropy_param.axis
    elif function.type == "CategoricalCrossEntropy":
        axis = function.categorical_cross_entropy_param.axis
    else:
        return None
    return axis if -len(shape) <= axis < len(shape) else None


def producers(network: Any) -> dict[str, Any]:
    """Return the function that computes each variable of a proto network."""
    return {name: function for function in network.function for name in function.output}


def consumers(network: Any, variable: str) -> list[tuple[Any, int]]:
    """Return the functions that read a variable, with the position at which each reads it."""
    return [
        (function, position)
        for function in network.function
        for position, name in enumerate(function.input)
        if name == variable
    ]


def _any_edge(function: Any, position: int) -> bool:
    return True


def upstream(network: Any, names: Iterable[str], edge: EdgeFilter = _any_edge) -> set[str]:
    """Return the variables that ``names`` depend on, ``names`` included.

    Args:
        network: A proto network, with its loops not yet expanded.
        names: Where to start.
        edge: Inputs of functions for which this is false are not walked through.
    """
    producer = producers(network)
    seen: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        function = producer.get(name)
        if function is not None:
            stack.extend(n for i, n in enumerate(function.input) if edge(function, i))
    return seen


def downstream(network: Any, names: Iterable[str], edge: EdgeFilter = _any_edge) -> set[str]:
    """Return the variables that depend on ``names``, ``names`` included."""
    reached = set(names)
    grown = True
    while grown:
        grown = False
        for function in network.function:
            if set(function.output) <= reached:
                continue
            if any(n in reached and edge(function, i) for i, n in enumerate(function.input)):
                reached.update(function.output)
                grown = True
    return reached


def keep_only(network: Any, outputs: Sequence[str]) -> None:
    """Drop from a proto network, in place, what ``outputs`` do not depend on."""
    needed = upstream(network, outputs)
    functions = [f for f in network.function if needed.intersection(f.output)]
    # All outputs of a kept function must stay.
    needed.update(name for function in functions for name in function.output)
    variables = [v for v in network.variable if v.name in needed]
    kept_functions = [_copy(function) for function in functions]
    kept_variables = [_copy(variable) for variable in variables]
    del network.function[:]
    del network.variable[:]
    network.function.extend(kept_functions)
    network.variable.extend(kept_variables)


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
