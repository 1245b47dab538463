"""The network as nnabla unrolls it, and the names of its parameters there."""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import nnabla as nn
import numpy as np
from nnabla.core.graph_def import ProtoGraph
from nnabla.ext_utils import get_extension_context
from nnabla.utils import nnabla_pb2

from nnabla_influence.errors import ModelError, UnsupportedError
from nnabla_influence.limits import ADVICE, raised

_MOST_PARTS = 10_000


def check_sizes(path: Path, networks: Iterable[Any]) -> None:
    """Refuse what would be unrolled for hours; nnabla builds some thousand functions at most.

    Raises:
        ModelError: A network has too many parts.
    """
    for network in networks:
        times = {repeat.id: max(repeat.times, 1) for repeat in network.repeat_info}
        for parts, what in ((network.function, "functions"), (network.variable, "variables")):
            n_parts = sum(math.prod(times.get(repeat, 1) for repeat in p.repeat_id) for p in parts)
            if n_parts > raised(_MOST_PARTS):
                raise ModelError(
                    f"{path}: the network {network.name!r} has {n_parts:,} {what}, with its repeats"
                    f" unrolled; {ADVICE}"
                )


def expand(
    path: Path,
    network: Any,
    scope: dict[str, Any] | None = None,
    rng: np.random.RandomState | None = None,
) -> Any:
    """Return nnabla's ``ProtoNetwork`` of a proto ``Network``, its loops unrolled.

    Args:
        path: The model file, for messages.
        network: The proto network.
        scope: The private parameter scope that building the network shall use.
        rng: What the parameters' initialisers, once they are called, draw from.

    Raises:
        ModelError: nnabla cannot make it.
    """
    proto = nnabla_pb2.NNablaProtoBuf()
    proto.network.add().CopyFrom(network)
    for function in proto.network[0].function:
        if function.type == "SyncBatchNormalization":
            _unsynchronise(function)
    try:
        _check_names(network)
        # nnabla makes an instance of each function only to read its arguments; any context does.
        with nn.context_scope(get_extension_context("cpu")):
            scope = {} if scope is None else scope
            graph = ProtoGraph.from_proto(proto, param_scope=scope, rng=rng)
            expanded = graph.networks[network.name].expand_loop_control()
        _check_order(expanded)
    except Exception as error:  # nnabla lets through whatever a damaged network runs into
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path}: nnabla cannot build the network {network.name!r}"
            f" ({type(error).__name__}: {reason}); check that nnabla_cli can train the file"
        ) from error
    return expanded


def _check_names(network: Any) -> None:
    names = collections.Counter(function.name for function in network.function)
    outputs = collections.Counter(name for f in network.function for name in f.output)
    for count, what in ((names, "function"), (outputs, "output")):
        twice = [name for name, times in count.items() if times > 1]
        if twice:
            raise ValueError(f"the {what} {twice[0]!r} is there twice")


def _check_order(expanded: Any) -> None:
    """Raise if functions wait for each other in a circle, in which nnabla would run for ever."""
    state: dict[str, bool] = {}  # False while what a function waits for is being looked at
    for start in expanded.functions:
        stack = [start]
        while stack:
            name = stack[-1]
            if name in state:
                state[stack.pop()] = True
                continue
            state[name] = False
            for parent in _waits_for(expanded, name):
                if state.get(parent) is False:
                    raise ValueError(f"the function {name!r} waits for itself")
                if parent not in state:
                    stack.append(parent)


def _waits_for(expanded: Any, function: str) -> list[str]:
    inputs = expanded.functions[function].inputs
    parents = [expanded.variables[name].parent for name in inputs if name in expanded.variables]
    return [parent for parent in parents if parent]


def _unsynchronise(function: Any) -> None:
    # nnabla cannot load it, and without other processes it is the plain function.
    settings = function.sync_batch_normalization_param
    axes, decay_rate, eps = list(settings.axes), settings.decay_rate, settings.eps
    batch_stat = settings.batch_stat
    function.type = "BatchNormalization"
    plain = function.batch_normalization_param  # a oneof: `settings` is gone from here on
    plain.axes.extend(axes)
    plain.decay_rate, plain.eps, plain.batch_stat = decay_rate, eps, batch_stat


def matching_names(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the unrolled names that a name of the optimizer section stands for.

    This is nnabla_cli's own rule, with its quirks, since it decides what is trained: a name that
    exists stands for itself; in any other, ``{...}`` stands for an index of *one* digit, and the
    rest of a name may follow.
    """
    if pattern in names:
        return [pattern]
    regex = re.compile(re.sub(r"{[^}]*}", lambda match: r"\[[\d+]\]", pattern))
    return [name for name in names if regex.match(name)]


def trainable_names(
    path: Path, optimizer: Any, expanded: Any, losses: Sequence[str]
) -> tuple[str, ...]:
    """Return the sorted names of the parameters that the solver moves and the loss depends on.

    Raises:
        ModelError: There is none.
        UnsupportedError: A trained variable is no parameter, so no file of parameters holds it.
    """
    names = [*expanded.parameters, *expanded.variables]
    multipliers: dict[str, float] = {}
    for entry in optimizer.parameter_variable:
        for name in matching_names(entry.variable_name, names):
            multipliers[name] = entry.learning_rate_multiplier
    chosen = {name for name, multiplier in multipliers.items() if multiplier > 0}
    moved = chosen & _moved_by_the_loss(expanded, losses)
    variables = sorted(
        name for name in moved if name in expanded.variables and not expanded.variables[name].parent
    )
    if variables:
        raise UnsupportedError(
            f"{path}: the solver trains {variables[0]!r}, which is no parameter and so is saved"
            " nowhere; make it a parameter"
        )
    trainable = tuple(sorted(name for name in moved if name in expanded.parameters))
    if not trainable:
        raise ModelError(
            f"{path}: optimizer {optimizer.name!r} trains no parameter that the loss depends on;"
            " set a learning-rate multiplier above 0 and save the file again"
        )
    return trainable


def differentiated_inputs(function: Any) -> list[str]:
    """Return the inputs of nnabla's ``ProtoFunction`` that gradients pass to in training."""
    if function.type == "Unlink":
        return []
    if function.type in ("BatchNormalization", "SyncBatchNormalization"):
        return function.inputs[:-2]  # not the running mean and variance
    if function.type == "FusedBatchNormalization":
        return function.inputs[:3] + function.inputs[5:]
    return function.inputs


def execution_order(
    expanded: Any, outputs: Iterable[str], past: Callable[[Any], bool] = lambda function: True
) -> list[Any]:
    """Return the functions that ``outputs`` need, in the order in which nnabla runs them.

    That is depth first from the outputs, the inputs of a function one after the other before it.

    Args:
        expanded: nnabla's unrolled ``ProtoNetwork``.
        outputs: Names of variables.
        past: What a function needs is left out where this is false of it.
    """
    order: list[Any] = []
    opened: set[str] = set()
    stack: list[tuple[str, bool]] = [(name, False) for name in reversed(list(outputs))]
    while stack:
        name, ready = stack.pop()
        if ready:
            order.append(expanded.functions[name])
            continue
        parent = expanded.variables[name].parent if name in expanded.variables else None
        if parent and parent not in opened:
            opened.add(parent)
            stack.append((parent, True))
            function = expanded.functions[parent]
            if past(function):
                stack.extend((i, False) for i in reversed(function.inputs))
    return order


def _moved_by_the_loss(expanded: Any, losses: Sequence[str]) -> set[str]:
    """Return the variables that the gradient of the loss reaches in training."""
    seen: set[str] = set()
    stack = [name for name in losses if name in expanded.variables]
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        variable = expanded.variables.get(name)
        if variable is not None and variable.parent:
            stack.extend(differentiated_inputs(expanded.functions[variable.parent]))
    return seen
