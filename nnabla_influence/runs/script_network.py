"""The network definition of a script's training, made from its inputs and its loss."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nnabla as nn
from google.protobuf import text_format
from nnabla.utils.save import create_proto

from nnabla_influence.definition.fingerprint import network_fingerprint
from nnabla_influence.definition.graph import Graph
from nnabla_influence.definition.inputs import network_inputs
from nnabla_influence.definition.losses import split_loss
from nnabla_influence.definition.solver_settings import solver_settings
from nnabla_influence.errors import RunError, UnsupportedError
from nnabla_influence.runs.checkpoint_writer import trained_names
from nnabla_influence.runs.step_log import hyperparameters, solver_name
from nnabla_influence.runs.steps import Step

_NETWORK, _LOSS, _DATASET = "Main", "loss", "Training"


class ScriptNetwork:
    """A network definition as `nnabla.utils.save` writes it, with an optimizer section.

    Args:
        inputs: The network's input variables by the dataset's column, such as ``{"x": x}``.
        loss: The loss: the mean over the mini-batch, or one value for each example.
        parameters: All parameters that the network reads, by the names to use.
        solver: nnabla's solver, as it was made.

    Raises:
        ModelError: The network reads something that is neither an input nor a parameter.
        RunError: The inputs do not fit each other or the loss.
        UnsupportedError: The network cannot be saved, or its loss or solver not be scored.
    """

    name = _NETWORK

    def __init__(
        self,
        inputs: Mapping[str, nn.Variable],
        loss: nn.Variable,
        parameters: Mapping[str, nn.Variable],
        solver: Any,
    ):
        self._batch_size = _batch_size(inputs, loss)
        self._proto = _network_proto(inputs, loss, parameters, self._batch_size)
        optimizer = self._proto.optimizer.add()
        optimizer.name, optimizer.network_name = "Optimizer", _NETWORK
        for name in inputs:
            optimizer.data_variable.add(variable_name=name, data_name=name)
        optimizer.loss_variable.add(variable_name=_LOSS)
        (network,) = self._proto.network
        trained = trained_names(solver, parameters)
        for variable in network.variable:
            if variable.type == "Parameter":
                is_trained = float(variable.name in trained)
                optimizer.parameter_variable.add(
                    variable_name=variable.name, learning_rate_multiplier=is_trained
                )
        _write_solver(optimizer.solver, solver)
        # What scoring refuses is refused before the training.
        place = Path("Recorder(inputs=, loss=)")
        solver_settings(place, optimizer)
        graph = Graph.of(network)
        network_inputs(place, optimizer, graph, [_LOSS])
        split_loss(place, graph, [_LOSS], inputs)

    def functions(self) -> tuple[str, ...]:
        """Return what the network computes (`network_fingerprint`).

        nnabla may draw random numbers for it: call it after the training.
        """
        path = Path("Recorder(inputs=, loss=)")
        return network_fingerprint(path, self._proto.network[0], self._proto.optimizer[0])

    def text(self, steps: Sequence[Step], weight_decay: float, dataset: str | None) -> str:
        """Return the .nntxt with the settings of a finished training.

        The learning rate is the solver's initial one; each step's own is in ``steps.csv``.

        Args:
            steps: The recorded steps.
            weight_decay: As the script called ``solver.weight_decay``.
            dataset: The CSV of the training dataset; None leaves the dataset section out.
        """
        proto = type(self._proto)()
        proto.CopyFrom(self._proto)
        (optimizer,) = proto.optimizer
        optimizer.update_interval = len(steps[-1].batches)
        optimizer.solver.weight_decay = weight_decay
        last_epoch = steps[-1].epoch
        per_epoch = max(_steps_of_epoch(steps, last_epoch), _steps_of_epoch(steps, last_epoch - 1))
        proto.training_config.max_epoch = last_epoch + 1
        proto.training_config.iter_per_epoch = per_epoch * optimizer.update_interval
        if dataset is not None:
            optimizer.dataset_name.append(_DATASET)
            proto.dataset.add(
                name=_DATASET,
                uri=os.path.abspath(dataset),
                variable=[assignment.data_name for assignment in optimizer.data_variable],
                shuffle=True,
                batch_size=self._batch_size,
            )
        return str(text_format.MessageToString(proto))


def _batch_size(inputs: Mapping[str, nn.Variable], loss: nn.Variable) -> int:
    if loss.parent is None:
        raise RunError("loss is not computed by a network; give the variable that the loop trains")
    sizes = {name: variable.shape[0] if variable.shape else 1 for name, variable in inputs.items()}
    if len(set(sizes.values())) != 1:
        raise RunError(f"inputs: the first axes, of the mini-batch, are not of one size: {sizes}")
    return next(iter(sizes.values()))


def _network_proto(
    inputs: Mapping[str, nn.Variable],
    loss: nn.Variable,
    parameters: Mapping[str, nn.Variable],
    batch_size: int,
) -> Any:
    network = {
        "name": _NETWORK,
        "batch_size": batch_size,
        "outputs": {_LOSS: loss},
        "names": dict(inputs),
    }
    context = {"default_context": nn.get_current_context()}
    training = {"max_epoch": 0, "iter_per_epoch": 0, "save_best": False}
    contents = {"global_config": context, "training_config": training, "networks": [network]}
    with nn.parameter_scope("", scope={}), nn.auto_forward(False):
        for name, variable in parameters.items():
            nn.parameter.set_parameter(name, variable)
        try:
            return create_proto(contents)
        except AssertionError as error:  # of the guess which axis is that of the mini-batch
            raise UnsupportedError(
                "nnabla cannot save this network for any batch size; save the definition with"
                " nnabla.utils.save.save and leave out inputs= and loss="
            ) from error


def _write_solver(proto: Any, solver: Any) -> None:
    """Write an nnabla solver and its settings, those that `nnabla.utils.save` leaves out, too."""
    proto.type = solver_name(solver)
    proto.lr_decay, proto.lr_decay_interval = 1.0, 1
    # Such as RMSpropGraves in rmsprop_graves_param.
    wanted = f"{proto.type.lower()}param"
    fields = proto.DESCRIPTOR.fields_by_name
    settings = getattr(proto, next(f for f in fields if f.replace("_", "") == wanted))
    known = hyperparameters(solver)
    for field in settings.DESCRIPTOR.fields_by_name:
        name = "lr" if field == "alpha" else field
        if name in known:
            setattr(settings, field, type(getattr(settings, field))(known[name]))


def _steps_of_epoch(steps: Sequence[Step], epoch: int) -> int:
    return sum(step.epoch == epoch for step in steps)
