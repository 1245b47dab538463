"""The objective: the loss graph of a definition in one of its modes, one loss for each example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition.building import build_functions, set_inputs
from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.draws import Draw, Draws, random_functions
from nnabla_influence.definition.edits import to_test_mode
from nnabla_influence.definition.expansion import expand
from nnabla_influence.definition.functions import check_expanded
from nnabla_influence.definition.graph import keep_only
from nnabla_influence.definition.losses import LossTerms, Term, loss_terms
from nnabla_influence.definition.mode import Mode
from nnabla_influence.definition.monitors import check_monitors
from nnabla_influence.definition.normalization import (
    Normalizations,
    Statistic,
    check_normalizations,
    moved_statistics,
    normalized_variables,
)
from nnabla_influence.definition.prediction import Prediction, find_prediction
from nnabla_influence.definition.reading import check_parameters
from nnabla_influence.definition.rewrites import rewrite_functions
from nnabla_influence.errors import ModelError


@dataclass(frozen=True, eq=False)
class Objective:
    """A definition's training network, built at one batch size.

    Made by `build_objective`.

    Attributes:
        definition: What it was built from.
        batch_size: B.
        inputs: Variables to fill, by dataset column, of shape ``(B, *Input.shape)``.
        parameters: What derivatives are taken by: the trainable parameters by name, with
            ``need_grad``, in the order of ``definition.trainable``; in VALIDATION mode followed by
            the `running_statistics`.
        buffers: The other parameters that the network reads.
        losses: Per-example losses, shape ``(B,)``.
        penalty: What the training adds to the mean of the losses and no example is to blame for,
            such as an L1 norm of the weights; shape ``()``, None where there is none. (Weight
            decay is the solver's, and not in here.)
        prediction: What the network predicts for each example, shape ``(B,)``: a label, or the
            value of a regression with one output; None where there is no such thing.
        statistics: In TRAINING and BATCH mode, what the mini-batch does to each of the
            `running_statistics`.
        draws: In TRAINING mode, inputs for what the random layers drew (`RandomLayers`), sorted by
            name.
    """

    definition: Definition
    batch_size: int
    inputs: Mapping[str, nn.Variable]
    parameters: Mapping[str, nn.Variable]
    buffers: Mapping[str, nn.Variable]
    losses: nn.Variable
    penalty: nn.Variable | None
    prediction: nn.Variable | None
    statistics: tuple[Statistic, ...] = ()
    draws: tuple[Draw, ...] = ()

    @property
    def whole_batch(self) -> bool:
        """Whether a loss depends on the whole mini-batch, which then must have B examples."""
        shapes = [draw.variable.shape[:1] for draw in self.draws]
        return bool(self.statistics) or any(shape != (self.batch_size,) for shape in shapes)

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


def check_differentiable(definition: Definition, mode: Mode = Mode.TEST) -> None:
    """Refuse a definition without an objective of ``mode`` that nnabla differentiates twice.

    It needs no parameters, so it can come before a training. `build_objective` does it too.

    Raises:
        UnsupportedError: Names the function and its layer, and says what to do.
    """
    _prepare(definition, mode)


def build_objective(
    definition: Definition,
    batch_size: int,
    context: nn.Context,
    parameters: Mapping[str, np.ndarray] | None = None,
    mode: Mode = Mode.TEST,
) -> Objective:
    """Build the per-example losses of a definition as a graph.

    nnabla's global parameters, its default context and its auto-forward mode are left alone.

    Args:
        definition: The network.
        batch_size: B; it need not be the one of the training, except in TRAINING mode.
        context: Where to compute.
        parameters: Arrays by name instead of ``definition.parameters``.
        mode: As in use, as in training, or as in use with the running statistics as parameters.

    Raises:
        ModelError: Parameters are missing or do not fit, or nnabla cannot build the network.
        UnsupportedError: The network is random in a way that cannot be taken out (in TRAINING mode:
            drawn again), its loss cannot be split into examples, or nnabla cannot differentiate it
            twice. In TRAINING mode: a monitor disturbs the training (`check_monitors`).
    """
    prepared = _prepare(definition, mode)
    expanded = prepared.expanded
    values = definition.parameters if parameters is None else parameters
    by = (*definition.trainable, *(prepared.moved if mode is Mode.VALIDATION else ()))
    unread = prepared.moved if mode.batch_statistics else ()
    wanted = {n: tuple(v.shape) for n, v in expanded.parameters.items() if n not in unread}
    check_parameters(definition.path, wanted, values)

    with nn.context_scope(context), nn.auto_forward(False):
        with nn.parameter_scope("", prepared.scope):
            for name in wanted:
                expanded.parameters[name].need_grad = name in by
                value = nn.Variable.from_numpy_array(np.asarray(values[name], np.float32))
                nn.parameter.set_parameter(name, value)
        inputs = set_inputs(definition, expanded, batch_size)
        normalizations = Normalizations(definition.path, expanded, mode)
        draws = Draws(expanded, prepared.random, batch_size)

        def build_instead(function: Any) -> bool:
            return draws.build(function) or normalizations.build(function)

        build_functions(definition, expanded, prepared.scope, batch_size, context, build_instead)

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
        variables = {name: expanded.parameters[name].variable_instance for name in wanted}
        for name in by:  # a validation network may lack a part that is trained
            if name not in variables:
                variables[name] = nn.Variable(np.shape(values[name]), need_grad=True)
                variables[name].d = values[name]
        return Objective(
            definition=definition,
            batch_size=batch_size,
            inputs=inputs,
            parameters={name: variables[name] for name in by},
            buffers={name: v for name, v in variables.items() if name not in by},
            losses=losses if terms.offset == 0.0 else losses + terms.offset,
            penalty=_sum(expanded, terms.penalties, NF.mean) if terms.penalties else None,
            prediction=prediction,
            draws=draws.draws,
            statistics=normalizations.statistics(terms.outputs) if mode.batch_statistics else (),
        )


@dataclass(frozen=True)
class _Prepared:
    network: Any
    expanded: Any
    scope: dict[str, Any]
    terms: LossTerms
    prediction: tuple[str, Prediction] | None
    moved: tuple[str, ...]  # running statistics; known in TRAINING and VALIDATION mode
    random: list[Any]  # functions; in TRAINING mode


def _prepare(definition: Definition, mode: Mode = Mode.TEST) -> _Prepared:
    path = definition.path
    network = type(definition.network)()
    network.CopyFrom(definition.network)
    data = [assignment.variable_name for assignment in definition.optimizer.data_variable]
    terms = loss_terms(path, network, definition.loss_variables, data)
    outputs = terms.outputs
    keep_only(network, outputs)
    to_test_mode(path, network, data, mode)
    prediction = None
    if len(terms.examples) == 1:  # read off the loss as it was trained with
        prediction = find_prediction(network, terms.examples[0].variable)
    rewrite_functions(network)
    scope: dict[str, Any] = {}
    expanded = expand(path, network, scope)
    moved = moved_statistics(expanded, outputs)
    check_normalizations(path, expanded, outputs)
    random = []
    if mode is Mode.TRAINING:
        random = random_functions(path, expanded, outputs, definition.trainable)
        check_monitors(definition, moved, random)
    by = definition.trainable
    if mode is Mode.VALIDATION:
        by = (*by, *normalized_variables(expanded, outputs))
    check_expanded(path, expanded, outputs, by)
    return _Prepared(network, expanded, scope, terms, prediction, moved, random)


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
