"""A network definition: the network, its training and its data, as a model file describes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnabla_influence.definition.datasets import DatasetSettings, dataset_settings
from nnabla_influence.definition.graph import Graph, find_network
from nnabla_influence.definition.inputs import Input, network_inputs
from nnabla_influence.definition.model_file import read_model_file, read_parameters
from nnabla_influence.definition.solver_settings import (
    SolverSettings,
    learning_rate_schedule,
    solver_settings,
)
from nnabla_influence.definition.unrolled import check_sizes, expand, trainable_names
from nnabla_influence.errors import ModelError, UnsupportedError


@dataclass(frozen=True, eq=False)
class Definition:
    """A model file, read.

    Attributes:
        path: The model file.
        proto: The whole definition, a private ``NNablaProtoBuf`` without parameters.
        parameters: float32 arrays by nnabla's names, such as ``affine/W``; empty for an .nntxt
            that came without an .h5.
        network_name: The network that the optimizer trains.
        inputs: The network's inputs that the dataset feeds.
        constants: The values that fill its other inputs, by network variable.
        loss_variables: Names of the variables whose means are summed to the loss.
        trainable: Names, sorted, of the parameters that the solver moves and the loss depends on.
        solver: What moves them.
        training: The optimizer's dataset, if the file names one.
        validation: The monitor's other dataset, if the file names one.
        max_epoch: Epochs of the training.
        learning_rate: From an iteration, from 0, to the rate that nnabla_cli hands to the solver.
            It counts mini-batches, not updates: with an update interval u, update k uses the rate
            of iteration ``k * u + u - 1``.
    """

    path: Path
    proto: Any
    parameters: Mapping[str, np.ndarray]
    network_name: str
    inputs: tuple[Input, ...]
    constants: Mapping[str, float]
    loss_variables: tuple[str, ...]
    trainable: tuple[str, ...]
    solver: SolverSettings
    training: DatasetSettings | None
    validation: DatasetSettings | None
    max_epoch: int
    learning_rate: Callable[[int], float]

    @property
    def network(self) -> Any:
        """The proto ``Network`` that is trained."""
        return find_network(self.proto, self.network_name)

    @property
    def graph(self) -> Graph:
        """The graph of that network."""
        return Graph.of(self.network)

    @property
    def optimizer(self) -> Any:
        """The proto ``Optimizer``."""
        return self.proto.optimizer[0]

    @property
    def data(self) -> dict[str, str]:
        """The dataset columns by the network variables that they feed."""
        return {d.variable_name: d.data_name for d in self.optimizer.data_variable}


def load_definition(
    path: str | os.PathLike[str], parameters: str | os.PathLike[str] | None = None
) -> Definition:
    """Read a network definition with its optimizer section.

    Args:
        path: .nnp, .nntxt or .prototxt, as written by nnabla, nnabla_cli, Neural Network Console
            or its desktop version.
        parameters: An .h5 (or .protobuf, .nnp) whose parameters replace the model file's.

    Raises:
        ModelError: A file is missing or damaged, or lacks something that scoring needs.
        UnsupportedError: The training is of a kind that cannot be scored.
    """
    path = Path(path)
    proto, values = read_model_file(path)
    if parameters is not None:
        values = read_parameters(Path(parameters))
    check_sizes(path, proto.network)
    optimizer = _only_optimizer(path, proto)
    network = find_network(proto, optimizer.network_name)
    if network is None:
        names = ", ".join(repr(network.name) for network in proto.network)
        raise ModelError(
            f"{path}: the optimizer trains the network {optimizer.network_name!r}, which is not in"
            f" the file (only {names}); save the file again"
        )
    graph = Graph.of(network)
    losses = _loss_variables(path, optimizer, graph)
    unrolled = expand(path, network)
    solver = solver_settings(path, optimizer)
    inputs, constants = network_inputs(path, optimizer, graph, losses)
    training, validation = dataset_settings(path, proto, optimizer)
    return Definition(
        path=path,
        proto=proto,
        parameters=values,
        network_name=network.name,
        inputs=inputs,
        constants=constants,
        loss_variables=losses,
        trainable=trainable_names(optimizer, unrolled, losses),
        solver=solver,
        training=training,
        validation=validation,
        max_epoch=int(proto.training_config.max_epoch),
        learning_rate=learning_rate_schedule(path, optimizer.solver, solver.hyperparameters["lr"]),
    )


def _only_optimizer(path: Path, proto: Any) -> Any:
    if not proto.optimizer:
        raise ModelError(
            f"{path}: has no optimizer section (the inputs, the loss and the solver); give the"
            " file that was trained (net.nntxt, or the training's results.nnp)"
        )
    if len(proto.optimizer) > 1:
        names = ", ".join(repr(optimizer.name) for optimizer in proto.optimizer)
        raise UnsupportedError(
            f"{path}: has {len(proto.optimizer)} optimizers ({names}), but only a training with"
            " one can be scored; train with one of them"
        )
    optimizer = proto.optimizer[0]
    if optimizer.start_iter or optimizer.end_iter:
        raise UnsupportedError(
            f"{path}: the optimizer {optimizer.name!r} runs from iteration {optimizer.start_iter}"
            f" to {optimizer.end_iter} only; train again over all iterations"
        )
    return optimizer


def _loss_variables(path: Path, optimizer: Any, graph: Graph) -> tuple[str, ...]:
    losses = tuple(loss.variable_name for loss in optimizer.loss_variable)
    unknown = [name for name in losses if name not in graph.producers]
    if unknown or not losses:
        what = f"does not compute the loss {unknown[0]!r}" if unknown else "has no loss"
        raise ModelError(
            f"{path}: the network {optimizer.network_name!r} {what} of the optimizer"
            f" {optimizer.name!r}; add a loss layer and save the file again"
        )
    return losses
