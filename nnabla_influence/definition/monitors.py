"""The monitors of a definition: the network that it validates with, and what they must not change.

The validation network is used where its inputs differ from the training network's: Neural Network
Console's ILSVRC2012 samples train on pictures of 480x480, of which random pieces are cut, and
validate on 320x320. Otherwise the training network in test mode computes the same, and is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.graph import Graph, copied, find_network
from nnabla_influence.definition.inputs import network_inputs
from nnabla_influence.definition.losses import TRANSPARENT
from nnabla_influence.definition.modes import set_batch_statistics
from nnabla_influence.definition.normalization import moved_statistics, running_statistics
from nnabla_influence.definition.unrolled import expand
from nnabla_influence.errors import UnsupportedError


def validation_definition(definition: Definition) -> Definition:
    """Return the definition as if it trained the network that it validates with.

    It is ``definition`` itself where that network's inputs have the training network's shapes, and
    where the file names no validation dataset or no network for it.

    Raises:
        ModelError: The file is damaged.
        UnsupportedError: The validation network computes none of the training's losses.
    """
    monitor = _monitor(definition)
    if monitor is None:
        return definition
    path = definition.path
    proto = copied(definition.proto)
    network = find_network(proto, monitor.network_name)
    assert network is not None  # `_monitor` has found it
    graph = Graph.of(network)
    losses = _losses(definition, monitor, graph)
    optimizer = proto.optimizer[0]
    optimizer.network_name = network.name
    for field in ("data_variable", "generator_variable"):
        optimizer.ClearField(field)
        getattr(optimizer, field).extend(getattr(monitor, field))
    inputs, constants = network_inputs(path, optimizer, graph, losses)
    moved = running_statistics(definition)
    set_batch_statistics(network, moved)
    validating = dataclasses.replace(
        definition,
        proto=proto,
        network_name=network.name,
        inputs=inputs,
        constants=constants,
        loss_variables=losses,
    )
    unshared = set(moved).symmetric_difference(running_statistics(validating))
    if unshared:
        raise UnsupportedError(
            f"{path}: the running statistic {min(unshared)!r} belongs to only one of the networks"
            f" {definition.network_name!r} (training) and {network.name!r} (validation); give both"
            " the same batch normalisations"
        )
    return validating


def _monitor(definition: Definition) -> Any | None:
    """Return the monitor of the validation dataset, if its network's inputs are of other shapes."""
    validation = definition.validation
    trained = {i.column: i.shape for i in definition.inputs}
    for monitor in definition.proto.monitor:
        if validation is None or validation.name not in monitor.dataset_name:
            continue
        network = find_network(definition.proto, monitor.network_name)
        if network is None or network.name == definition.network_name:
            continue
        shapes = Graph.of(network).shapes
        fed = {v.data_name: shapes.get(v.variable_name, ()) for v in monitor.data_variable}
        if any(fed[name][1:] != shape for name, shape in trained.items() if fed.get(name)):
            return monitor
    return None


def _losses(definition: Definition, monitor: Any, graph: Graph) -> tuple[str, ...]:
    """Return the variables of the validation network that are the training's loss.

    The Console names them as in the training network; a script need not, and then they are what the
    monitor shows, if the same function computes it.
    """
    named = tuple(name for name in definition.loss_variables if name in graph.producers)
    if named:
        return named
    kinds = {_kind(definition.graph, name) for name in definition.loss_variables}
    shown = [variable.variable_name for variable in monitor.monitor_variable]
    alike = tuple(n for n in shown if n in graph.producers and _kind(graph, n) in kinds)
    if not alike:
        raise UnsupportedError(
            f"{definition.path}: the network {monitor.network_name!r}, which validates on inputs of"
            " other shapes than the training's, computes none of its losses; name its loss"
            f" {definition.loss_variables[0]!r} and save the file again"
        )
    return alike


def _kind(graph: Graph, name: str) -> str | None:
    node = graph.producers.get(graph.behind(name, TRANSPARENT))
    return None if node is None else node.type


def check_monitors(definition: Definition, moved: Collection[str], random: Collection[Any]) -> None:
    """Refuse a file whose monitors change what the next mini-batch's training starts from.

    nnabla_cli runs monitors between the epochs, and builds each network once. A monitor of the
    trained network advances the generators of its random layers, and a monitor of any network with
    batch statistics moves the running ones, which all networks share, by the validation data.

    Args:
        definition: What is trained.
        moved: The names of its running statistics.
        random: Its random functions.

    Raises:
        UnsupportedError: A monitor does.
    """
    for monitor in definition.proto.monitor if moved or random else ():
        network = find_network(definition.proto, monitor.network_name)
        if network is None:
            continue
        where = f"{definition.path}: the monitor {monitor.name!r} runs the network {network.name!r}"
        advice = "; let it run a validation network and train again, or choose method final"
        if random and network.name == definition.network_name:
            raise UnsupportedError(
                f"{where}, whose random layers then draw between the training's mini-batches, which"
                f" exact scores do not follow{advice}"
            )
        outputs = [variable.variable_name for variable in monitor.monitor_variable]
        shared = set(moved_statistics(expand(definition.path, network), outputs)) & set(moved)
        if shared:
            raise UnsupportedError(
                f"{where}, which changes the training's running statistic {min(shared)!r}, which"
                f" exact scores do not follow{advice}"
            )
