"""The objective: the loss graph of a definition in test mode, one loss for each example."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nnabla as nn
import numpy as np

from nnabla_influence.errors import ModelError
from nnabla_influence.network.definition import Definition
from nnabla_influence.network.edits import to_test_mode
from nnabla_influence.network.expansion import expand
from nnabla_influence.network.graph import keep_only
from nnabla_influence.network.losses import mean_over_example, per_example_outputs
from nnabla_influence.network.reading import check_parameters


class Objective:
    """A definition's training network, built at one batch size in test mode.

    Use `build_objective`.

    Attributes:
        batch_size: B.
        inputs: Variables to fill, by dataset column, of shape ``(B, *Input.shape)``.
        parameters: The trainable parameters by name, with ``need_grad``, in the order of
            ``definition.trainable``.
        buffers: The other parameters that the network reads.
        losses: Per-example losses, shape ``(B,)``.
        prediction: What the network predicts for each example, shape ``(B,)``: a label, or the
            value of a regression with one output; None where there is no such thing.
    """

    def __init__(
        self,
        path: Path,
        batch_size: int,
        inputs: Mapping[str, nn.Variable],
        parameters: Mapping[str, nn.Variable],
        buffers: Mapping[str, nn.Variable],
        losses: nn.Variable,
        prediction: nn.Variable | None,
    ):
        self.batch_size = batch_size
        self.inputs = inputs
        self.parameters = parameters
        self.buffers = buffers
        self.losses = losses
        self.prediction = prediction
        self._path = path

    def set_parameters(self, values: Mapping[str, np.ndarray]) -> None:
        """Copy ``values`` into the network's parameters and buffers.

        Args:
            values: Arrays by name, one for each; those that the network does not read are ignored.

        Raises:
            ModelError: One is missing or of another shape.
        """
        variables = {**self.parameters, **self.buffers}
        check_parameters(
            self._path, {name: tuple(v.shape) for name, v in variables.items()}, values
        )
        for name, variable in variables.items():
            variable.d = np.asarray(values[name], np.float32)


def build_objective(
    definition: Definition,
    batch_size: int,
    context: nn.Context,
    parameters: Mapping[str, np.ndarray] | None = None,
) -> Objective:
    """Build the per-example losses of a definition as a graph.

    Args:
        definition: The network.
        batch_size: B; it need not be the one of the training.
        context: Where to compute.
        parameters: Arrays by name instead of ``definition.parameters``.

    Raises:
        ModelError: Parameters are missing or do not fit, or nnabla cannot build the network.
        UnsupportedError: The network is random in a way that cannot be taken out, or its loss
            cannot be split into examples.
    """
    path = definition.path
    network = type(definition.network)()
    network.CopyFrom(definition.network)
    outputs = per_example_outputs(path, network, definition.loss_variables)
    keep_only(network, outputs)
    to_test_mode(path, network)

    scope: dict[str, Any] = {}
    expanded = expand(path, network, scope)
    values = definition.parameters if parameters is None else parameters
    check_parameters(
        path, {name: tuple(pv.shape) for name, pv in expanded.parameters.items()}, values
    )
    with nn.context_scope(context), nn.parameter_scope("", scope):
        for name, variable in expanded.parameters.items():
            variable.need_grad = name in definition.trainable
            nn.parameter.set_parameter(
                name,
                nn.Variable.from_numpy_array(
                    np.asarray(values[name], np.float32), need_grad=variable.need_grad
                ),
            )
    inputs = {i.column: nn.Variable((batch_size, *i.shape)) for i in definition.inputs}
    with nn.context_scope(context):
        for assignment in definition.proto.optimizer[0].data_variable:
            if assignment.variable_name in expanded.variables:
                expanded.variables[assignment.variable_name].variable_instance = inputs[
                    assignment.data_name
                ]
        try:
            expanded(batch_size=batch_size, ctx=context)
        except (RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[-300:]
            raise ModelError(
                f"{path}: nnabla cannot build the network {network.name!r} at batch size"
                f" {batch_size} ({reason}); save the file with variable_batch_size=True"
            ) from error
        losses = None
        for name in outputs:
            loss = mean_over_example(expanded.variables[name].variable_instance)
            losses = loss if losses is None else losses + loss
    variables = {name: pv.variable_instance for name, pv in expanded.parameters.items()}
    return Objective(
        path,
        batch_size,
        inputs,
        {name: variables[name] for name in definition.trainable},
        {name: v for name, v in variables.items() if name not in definition.trainable},
        losses,
        None,
    )
