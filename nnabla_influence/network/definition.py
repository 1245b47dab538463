"""A network definition: what the file says about the network, its training and its data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnabla_influence.errors import ModelError, UnsupportedError
from nnabla_influence.network.datasets import DatasetSettings, dataset_settings
from nnabla_influence.network.expansion import expand, trainable_names
from nnabla_influence.network.graph import find_network
from nnabla_influence.network.inputs import Input, network_inputs
from nnabla_influence.network.reading import read_model_files
from nnabla_influence.network.schedule import (
    LEARNING_RATE_FIELDS,
    initial_learning_rate,
    learning_rate_schedule,
)


@dataclass(frozen=True)
class SolverSettings:
    """The solver of a definition's optimizer section.

    Attributes:
        name: nnabla's name, such as ``Sgd`` or ``Momentum``.
        hyperparameters: The initial learning rate under ``lr``, the others by nnabla's names.
        weight_decay: L2, added to the gradient as ``weight_decay * theta``.
        update_interval: How many mini-batches' gradients are summed for one update, at least 1.
    """

    name: str
    hyperparameters: Mapping[str, float]
    weight_decay: float
    update_interval: int


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
        loss_variables: Names of the variables whose means are summed to the loss.
        trainable: Names, sorted, of the parameters that the solver moves and the loss depends on.
        solver: How they are moved.
        training: The optimizer's dataset.
        validation: The monitor's other dataset.
        max_epoch: Epochs of the training.
    """

    path: Path
    proto: Any
    parameters: Mapping[str, np.ndarray]
    network_name: str
    inputs: tuple[Input, ...]
    loss_variables: tuple[str, ...]
    trainable: tuple[str, ...]
    solver: SolverSettings
    training: DatasetSettings | None
    validation: DatasetSettings | None
    max_epoch: int
    _schedule: Callable[[int], float] = field(repr=False)

    def learning_rate(self, iteration: int) -> float:
        """Return the learning rate of ``iteration``, from 0, that nnabla_cli hands to the solver.

        It counts mini-batches, not updates: with an update interval u, update k uses the rate of
        iteration ``k * u + u - 1``.
        """
        return self._schedule(iteration)

    @property
    def network(self) -> Any:
        """The proto ``Network`` that is trained."""
        return find_network(self.proto, self.network_name)


def load_definition(
    path: str | os.PathLike[str], parameters: str | os.PathLike[str] | None = None
) -> Definition:
    """Read a network definition with its optimizer section.

    Args:
        path: .nnp, .nntxt or .prototxt, as written by nnabla, nnabla_cli, Neural Network Console
            or its desktop version.
        parameters: An .h5 (or .protobuf, .nnp) whose parameters replace the model file's.

    Raises:
        ModelError: A file is missing or damaged, or a section that scoring needs is missing.
        UnsupportedError: The training is of a kind that cannot be scored.
    """
    path = Path(path)
    proto, values = read_model_files(path, None if parameters is None else Path(parameters))
    optimizer = _only_optimizer(path, proto)
    network = find_network(proto, optimizer.network_name)
    if network is None:
        names = ", ".join(repr(network.name) for network in proto.network)
        raise ModelError(
            f"{path}: the optimizer trains the network {optimizer.network_name!r}, which the file"
            f" does not hold (it holds {names}); save the file again"
        )
    losses = _loss_variables(path, optimizer, network)
    inputs = network_inputs(path, optimizer, network, losses)
    trainable = trainable_names(path, optimizer, expand(path, network), losses)
    training, validation = dataset_settings(path, proto, optimizer)
    return Definition(
        path=path,
        proto=proto,
        parameters=values,
        network_name=network.name,
        inputs=inputs,
        loss_variables=losses,
        trainable=trainable,
        solver=_solver_settings(path, optimizer),
        training=training,
        validation=validation,
        max_epoch=proto.training_config.max_epoch,
        _schedule=learning_rate_schedule(optimizer.solver, str(path)),
    )


def _only_optimizer(path: Path, proto: Any) -> Any:
    if not proto.optimizer:
        raise ModelError(
            f"{path}: has no optimizer section, which names the inputs, the loss and the solver;"
            " give the file that was trained (net.nntxt, or results.nnp of the training)"
        )
    if len(proto.optimizer) > 1:
        names = ", ".join(repr(optimizer.name) for optimizer in proto.optimizer)
        raise UnsupportedError(
            f"{path}: has {len(proto.optimizer)} optimizers ({names}); only a training with one"
            " can be scored, so train and score them one by one"
        )
    optimizer = proto.optimizer[0]
    if optimizer.start_iter or optimizer.end_iter:
        raise UnsupportedError(
            f"{path}: optimizer {optimizer.name!r} runs from iteration {optimizer.start_iter} to"
            f" {optimizer.end_iter} only; train over all iterations to score"
        )
    return optimizer


def _loss_variables(path: Path, optimizer: Any, network: Any) -> tuple[str, ...]:
    losses = tuple(loss.variable_name for loss in optimizer.loss_variable)
    if not losses:
        raise ModelError(
            f"{path}: optimizer {optimizer.name!r} names no loss; add a loss layer to the network"
            f" {network.name!r} and save the file again"
        )
    computed = {name for function in network.function for name in function.output}
    unknown = [name for name in losses if name not in computed]
    if unknown:
        raise ModelError(
            f"{path}: the loss {unknown[0]!r} of optimizer {optimizer.name!r} is not computed by"
            f" the network {network.name!r}; save the file again"
        )
    return losses


# The fields of nnabla's proto by the solver types that nnabla_cli knows.
_PARAMETER_FIELDS = {
    "AMSBound": "amsbound_param",
    "AMSGRAD": "amsgrad_param",
    "AdaBelief": "adabelief_param",
    "AdaBound": "adabound_param",
    "Adadelta": "adadelta_param",
    "Adagrad": "adagrad_param",
    "Adam": "adam_param",
    "AdamW": "adamw_param",
    "Adamax": "adamax_param",
    "Lars": "lars_param",
    "Momentum": "momentum_param",
    "Nesterov": "nesterov_param",
    "RMSprop": "rmsprop_param",
    "RMSpropGraves": "rmsprop_graves_param",
    "Sgd": "sgd_param",
    "SgdW": "sgdw_param",
}


def _solver_settings(path: Path, optimizer: Any) -> SolverSettings:
    solver = optimizer.solver
    name = "Sgd" if solver.type == "SGD" else solver.type
    if name not in _PARAMETER_FIELDS:
        raise UnsupportedError(
            f"{path}: the solver {solver.type!r} is unknown to nnabla_cli; use one of"
            f" {', '.join(_PARAMETER_FIELDS)}"
        )
    parameter = getattr(solver, _PARAMETER_FIELDS[name])
    values = {
        field_name: float(getattr(parameter, field_name))
        for field_name in parameter.DESCRIPTOR.fields_by_name
        if field_name not in LEARNING_RATE_FIELDS
    }
    return SolverSettings(
        name=name,
        hyperparameters={"lr": initial_learning_rate(solver), **values},
        weight_decay=float(solver.weight_decay),
        update_interval=max(int(optimizer.update_interval), 1),
    )
