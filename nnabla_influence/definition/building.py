"""Build nnabla's unrolled network as a graph: inputs in place, function after function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import nnabla as nn
import numpy as np

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.inputs import constant_inputs
from nnabla_influence.errors import ModelError


def set_inputs(definition: Definition, expanded: Any, batch_size: int) -> dict[str, nn.Variable]:
    """Put variables of ``batch_size`` examples, and constants, into the network's inputs.

    Returns:
        The variables to fill, by dataset column, of shape ``(batch_size, *Input.shape)``.
    """
    inputs = {i.column: nn.Variable((batch_size, *i.shape)) for i in definition.inputs}
    for assignment in definition.optimizer.data_variable:
        if assignment.variable_name in expanded.variables:
            expanded.variables[assignment.variable_name].variable_instance = inputs[
                assignment.data_name
            ]
    constants = constant_inputs(
        definition.path, definition.optimizer, definition.network, definition.loss_variables
    )
    for name, value in constants.items():
        if name in expanded.variables:
            shape = tuple(d if d >= 1 else batch_size for d in expanded.variables[name].shape)
            constant = np.full(shape, value, np.float32)
            expanded.variables[name].variable_instance = nn.Variable.from_numpy_array(constant)
    return inputs


def build_functions(
    definition: Definition,
    expanded: Any,
    scope: Mapping[str, Any],
    batch_size: int,
    context: nn.Context,
    build_instead: Callable[[Any], bool] = lambda function: False,
) -> None:
    """Build every function of the network, in ``context`` and the private parameter ``scope``.

    ``build_instead`` may build a function in another way, and then returns true.

    Raises:
        ModelError: nnabla cannot build one of them at this batch size; it is named.
    """
    expanded.owner().current_context = context

    def build(function: Any) -> None:
        try:
            if not build_instead(function):
                function.graph_call(batch_size=batch_size)
        except (RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[-200:]
            raise ModelError(
                f"{definition.path}: nnabla cannot build the function {function.type} (layer"
                f" {function.name!r}) at batch size {batch_size} (...{reason}); save the file with"
                " variable_batch_size=True"
            ) from error
        if function.type == "Unlink":
            # nnabla's Unlink has no second derivative; this stops gradients all the same.
            expanded.variables[function.outputs[0]].variable_instance.need_grad = False

    with nn.parameter_scope("", scope):
        expanded.execute_on_proto(build)
