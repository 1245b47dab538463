"""The objective: the loss graph of a definition in test mode, one loss for each example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.errors import ModelError
from nnabla_influence.network.definition import Definition
from nnabla_influence.network.edits import to_test_mode
from nnabla_influence.network.expansion import expand
from nnabla_influence.network.functions import check_expanded
from nnabla_influence.network.graph import keep_only
from nnabla_influence.network.inputs import constant_inputs
from nnabla_influence.network.losses import LossTerms, Term, loss_terms
from nnabla_influence.network.prediction import Prediction, find_prediction
from nnabla_influence.network.reading import check_parameters
from nnabla_influence.network.rewrites import rewrite_functions


@dataclass(frozen=True, eq=False)
class Objective:
    """A definition's training network, built at one batch size in test mode.

    Made by `build_objective`.

    Attributes:
        definition: What it was built from.
        batch_size: B.
        inputs: Variables to fill, by dataset column, of shape ``(B, *Input.shape)``.
        parameters: The trainable parameters by name, with ``need_grad``, in the order of
            ``definition.trainable``.
        buffers: The other parameters that the network reads.
        losses: Per-example losses, shape ``(B,)``.
        penalty: What the training adds to the mean of the losses and no example is to blame for,
            such as an L1 norm of the weights; shape ``()``, None where there is none. (Weight
            decay is the solver's, and not in here.)
        prediction: What the network predicts for each example, shape ``(B,)``: a label, or the
            value of a regression with one output; None where there is no such thing.
    """

    definition: Definition
    batch_size: int
    inputs: Mapping[str, nn.Variable]
    parameters: Mapping[str, nn.Variable]
    buffers: Mapping[str, nn.Variable]
    losses: nn.Variable
    penalty: nn.Variable | None
    prediction: nn.Variable | None

    def set_parameters(self, values: Mapping[str, np.ndarray]) -> None:
        """Copy ``values`` into the network's parameters and buffers.

        Args:
            values: Arrays by name, one for each; those that the network does not read are ignored.

        Raises:
            ModelError: One is missing, of another shape, or not finite.
        """
        variables = {**self.parameters, **self.buffers}
        wanted = {name: tuple(variable.shape) for name, variable in variables.items()}
        check_parameters(self.definition.path, wanted, values)
        for name, variable in variables.items():
            # A float64 array would stay one, in the variable and in whatever is saved from it.
            variable.d = np.asarray(values[name], np.float32)


def check_differentiable(definition: Definition) -> None:
    """Refuse a definition whose network nnabla cannot differentiate twice.

    It needs no parameters, so it can come before a training. `build_objective` does it too.

    Raises:
        UnsupportedError: Names the function and its layer, and says what to do.
    """
    _prepare(definition)


def build_objective(
    definition: Definition,
    batch_size: int,
    context: nn.Context,
    parameters: Mapping[str, np.ndarray] | None = None,
) -> Objective:
    """Build the per-example losses of a definition as a graph.

    nnabla's global parameters, its default context and its auto-forward mode are left alone.

    Args:
        definition: The network.
        batch_size: B; it need not be the one of the training.
        context: Where to compute.
        parameters: Arrays by name instead of ``definition.parameters``.

    Raises:
        ModelError: Parameters are missing or do not fit, or nnabla cannot build the network.
        UnsupportedError: The network is random in a way that cannot be taken out, its loss cannot
            be split into examples, or nnabla cannot differentiate it twice.
    """
    prepared = _prepare(definition)
    expanded = prepared.expanded
    values = definition.parameters if parameters is None else parameters
    wanted = {name: tuple(variable.shape) for name, variable in expanded.parameters.items()}
    check_parameters(definition.path, wanted, values)

    with nn.context_scope(context), nn.auto_forward(False):
        with nn.parameter_scope("", prepared.scope):
            for name, variable in expanded.parameters.items():
                variable.need_grad = name in definition.trainable
                value = nn.Variable.from_numpy_array(np.asarray(values[name], np.float32))
                nn.parameter.set_parameter(name, value)
        inputs = _set_inputs(definition, expanded, batch_size)
        _build(definition, prepared, batch_size, context)

        terms = prepared.terms
        for term in terms.examples:
            shape = expanded.variables[term.variable].variable_instance.shape
            if shape[:1] != (batch_size,):
                raise ModelError(
                    f"{definition.path}: the loss {term.variable!r} has shape {shape} at batch size"
                    f" {batch_size}, not a value for each example; make it one, or the mean over"
                    " the examples, train and score"
                )
        losses = _sum(expanded, terms.examples, _example_mean)
        prediction = None
        if prepared.prediction is not None:
            name, read = prepared.prediction
            prediction = read(expanded.variables[name].variable_instance)
        variables = {name: v.variable_instance for name, v in expanded.parameters.items()}
        return Objective(
            definition=definition,
            batch_size=batch_size,
            inputs=inputs,
            parameters={name: variables[name] for name in definition.trainable},
            buffers={n: v for n, v in variables.items() if n not in definition.trainable},
            losses=losses if terms.offset == 0.0 else losses + terms.offset,
            penalty=_sum(expanded, terms.penalties, NF.mean) if terms.penalties else None,
            prediction=prediction,
        )


@dataclass(frozen=True)
class _Prepared:
    network: Any
    expanded: Any
    scope: dict[str, Any]
    terms: LossTerms
    prediction: tuple[str, Prediction] | None


def _prepare(definition: Definition) -> _Prepared:
    path = definition.path
    network = type(definition.network)()
    network.CopyFrom(definition.network)
    data = [assignment.variable_name for assignment in definition.optimizer.data_variable]
    terms = loss_terms(path, network, definition.loss_variables, data)
    outputs = [term.variable for term in (*terms.examples, *terms.penalties)]
    keep_only(network, outputs)
    to_test_mode(path, network, data)
    prediction = None
    if len(terms.examples) == 1:  # read off the loss as it was trained with
        prediction = find_prediction(network, terms.examples[0].variable)
    rewrite_functions(network)
    scope: dict[str, Any] = {}
    expanded = expand(path, network, scope)
    check_expanded(path, expanded, outputs, definition.trainable)
    return _Prepared(network, expanded, scope, terms, prediction)


def _set_inputs(definition: Definition, expanded: Any, batch_size: int) -> dict[str, nn.Variable]:
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


def _build(
    definition: Definition, prepared: _Prepared, batch_size: int, context: nn.Context
) -> None:
    expanded = prepared.expanded
    expanded.owner().current_context = context

    def build(function: Any) -> None:
        try:
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

    with nn.parameter_scope("", prepared.scope):
        expanded.execute_on_proto(build)


def _example_mean(variable: nn.Variable) -> nn.Variable:
    if variable.ndim == 1:
        return variable
    return NF.mean(variable, axis=tuple(range(1, variable.ndim)))


def _sum(expanded: Any, terms: Iterable[Term], mean: Any) -> nn.Variable:
    total = None
    for term in terms:
        part = mean(expanded.variables[term.variable].variable_instance)
        part = part if term.factor == 1.0 else part * term.factor
        total = part if total is None else total + part
    return total
