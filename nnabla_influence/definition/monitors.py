"""Whether the monitors of a file disturb its training: they run between the epochs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.expansion import expand
from nnabla_influence.definition.graph import find_network
from nnabla_influence.definition.normalization import moved_statistics
from nnabla_influence.errors import UnsupportedError


def check_monitors(definition: Definition, moved: Collection[str], random: Collection[Any]) -> None:
    """Refuse a file whose monitors change what the next mini-batch's training starts from.

    nnabla_cli builds each network once. A monitor of the trained network advances the generators of
    its random layers, and a monitor of any network with batch statistics moves the running ones,
    which all networks share, by the validation data.

    Args:
        definition: The definition.
        moved: The training's running statistics.
        random: Its random functions.

    Raises:
        UnsupportedError: A monitor does; it is named.
    """
    for monitor in definition.proto.monitor if moved or random else ():
        network = find_network(definition.proto, monitor.network_name)
        if network is None:
            continue
        where = f"{definition.path}: the monitor {monitor.name!r} runs the network {network.name!r}"
        advice = "; let it run a validation network and train again, or choose method final"
        if random and network.name == definition.network_name:
            raise UnsupportedError(
                f"{where}, whose random layers draw then too, between the mini-batches of the"
                f" training, which exact scores do not follow{advice}"
            )
        outputs = [variable.variable_name for variable in monitor.monitor_variable]
        shared = set(moved_statistics(expand(definition.path, network), outputs)).intersection(
            moved
        )
        if shared:
            raise UnsupportedError(
                f"{where}, which moves the running statistic {min(shared)!r} of the training by its"
                f" own data, which exact scores do not follow{advice}"
            )
