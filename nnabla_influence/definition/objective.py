"""The objective: the losses of a definition in one of its modes, one for each example."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.graph import Node
from nnabla_influence.definition.losses import (
    LossTerms,
    Term,
    build_outputs,
    build_prediction,
    loss_network,
)
from nnabla_influence.definition.modes import Mode, set_mode
from nnabla_influence.definition.monitors import check_monitors
from nnabla_influence.definition.normalization import (
    Normalization,
    Normalizations,
    Statistic,
    check_normalizations,
    moved_statistics,
    normalized_variables,
)
from nnabla_influence.definition.random_layers import Draw, Draws, random_functions
from nnabla_influence.definition.refusals import check_losses, check_parameters
from nnabla_influence.definition.rewrites import rewrite_functions
from nnabla_influence.definition.unrolled import Unrolled, expand


@dataclass(frozen=True, eq=False)
class Objective:
    """A definition's training network, built at one batch size.

    Made by `build_objective`.

    Attributes:
        definition: What it was built from.
        batch_size: B.
        inputs: Variables to fill, by dataset column, of shape ``(B, *Input.shape)``.
        parameters: What derivatives are taken by: the trainable parameters by name, with
            ``need_grad``, in the order of ``definition.trainable``; then, where the mode says so,
            the `running_statistics`.
        buffers: The other parameters that the network reads.
        losses: Per-example losses, shape ``(B,)``.
        penalty: The part of the loss that does not depend on examples, such as an L1 norm of the
            weights; shape ``()``, None where there is none. (Weight decay is the solver's, and not
            in here.)
        outputs: What the loss compares with its target, such as logits, shape ``(B, ...)``; None
            where it is not one comparison.
        prediction: What the network predicts for each example, shape ``(B,)``: a label, or the
            value of a regression with one output; None for others.
        layers: The first output of each function, by the name of its layer, such as ``ReLU_2``.
        statistics: With batch statistics, what the mini-batch does to each of the
            `running_statistics`.
        normalizations: With batch statistics, what is written out in the graph but is one function.
        draws: In a random mode, inputs for what the random layers drew (`RandomLayers`), sorted by
            name.
    """

    definition: Definition
    batch_size: int
    inputs: Mapping[str, nn.Variable]
    parameters: Mapping[str, nn.Variable]
    buffers: Mapping[str, nn.Variable]
    losses: nn.Variable
    penalty: nn.Variable | None
    outputs: nn.Variable | None
    prediction: nn.Variable | None
    layers: Mapping[str, nn.Variable]
    statistics: tuple[Statistic, ...] = ()
    normalizations: tuple[Normalization, ...] = ()
    draws: tuple[Draw, ...] = ()

    @property
    def whole_batch(self) -> bool:
        """Whether a loss depends on the whole mini-batch, which then must have B examples."""
        shapes = [draw.variable.shape[:1] for draw in self.draws]
        return bool(self.statistics) or any(shape != (self.batch_size,) for shape in shapes)

    def check_parameters(self, values: Mapping[str, np.ndarray]) -> None:
        """Refuse values of which one is missing, of another shape, or not finite.

        Args:
            values: Arrays by name; those that the network does not read are ignored.

        Raises:
            ModelError: It names the parameter.
        """
        variables = {**self.parameters, **self.buffers}
        wanted = {name: tuple(variable.shape) for name, variable in variables.items()}
        check_parameters(self.definition.path, wanted, values)

    def set_parameters(self, values: Mapping[str, np.ndarray]) -> None:
        """Copy ``values`` into the network's parameters and buffers; see `check_parameters`."""
        self.check_parameters(values)
        for name, variable in {**self.parameters, **self.buffers}.items():
            # A float64 array would stay one, in the variable and in whatever is saved from it.
            variable.d = np.asarray(values[name], np.float32)


def build_objective(
    definition: Definition,
    batch_size: int,
    context: nn.Context,
    parameters: Mapping[str, np.ndarray] | None = None,
    mode: Mode = Mode.TEST,
) -> Objective:
    """Build the per-example losses of a definition as a graph.

    nnabla's global parameters, its default context and its auto-forward mode stay as they are.

    Args:
        definition: The network.
        batch_size: B; any, but the training's where a mode is random.
        context: Where to compute.
        parameters: Arrays by name instead of ``definition.parameters``.
        mode: How the layers act.

    Raises:
        ModelError: Parameters are missing or do not fit, or nnabla cannot build the network.
        UnsupportedError: The network is random in a way that cannot be removed (in a random mode:
            drawn again), or its loss cannot be split into examples. In a random mode: a monitor
            disturbs the training (`check_monitors`).
    """
    prepared = prepare(definition, mode)
    network, terms = prepared.network, prepared.terms
    values = definition.parameters if parameters is None else parameters
    by = (*definition.trainable, *(prepared.moved if mode.statistics_as_parameters else ()))
    unread = prepared.moved if mode.batch_statistics else ()
    wanted = {name: network.shapes[name] for name in network.parameters if name not in unread}
    check_parameters(definition.path, wanted, values)

    with nn.context_scope(context), nn.auto_forward(False):
        inputs = network.set_inputs(definition, batch_size)
        normalizations = Normalizations(network, mode)
        draws = Draws(network, prepared.random, batch_size)
        network.build(
            batch_size,
            context,
            {n: nn.Variable.from_numpy_array(np.asarray(values[n], np.float32)) for n in wanted},
            by,
            lambda node: draws.build(node) or normalizations.build(node),
        )
        check_losses(network, terms, batch_size)
        losses = _sum(network, terms.examples, _example_mean)
        prediction = build_prediction(definition, network.built)
        variables = {name: network.built(name) for name in wanted}
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
            penalty=_sum(network, terms.penalties, NF.mean) if terms.penalties else None,
            outputs=build_outputs(definition, network.built),
            prediction=prediction,
            layers={node.name: network.built(node.outputs[0]) for node in network.nodes},
            draws=draws.draws,
            statistics=normalizations.statistics(terms.outputs) if mode.batch_statistics else (),
            normalizations=tuple(normalizations.by_batch),
        )


@dataclass(frozen=True)
class Prepared:
    """A definition's network in one of its modes, before it is built.

    Attributes:
        network: What the loss needs.
        terms: The loss.
        moved: The running statistics that training moves.
        random: In a random mode, the random functions.
        differentiated: The parameters and variables that derivatives are taken by.
    """

    network: Unrolled
    terms: LossTerms
    moved: tuple[str, ...]
    random: list[Node]
    differentiated: tuple[str, ...]


def prepare(definition: Definition, mode: Mode = Mode.TEST) -> Prepared:
    """Return the network of a definition in a mode; it needs no parameters.

    Raises:
        UnsupportedError: As `build_objective` does.
    """
    proto, terms = loss_network(definition)
    set_mode(definition.path, proto, definition.data, mode)
    rewrite_functions(proto)
    network = expand(definition.path, proto)
    moved = moved_statistics(network, terms.outputs)
    check_normalizations(network, terms.outputs)
    random = []
    if mode.random:
        random = random_functions(network, terms.outputs, definition.trainable)
        check_monitors(definition, moved, random)
    by = definition.trainable
    if mode.statistics_as_parameters:
        by = (*by, *normalized_variables(network, terms.outputs))
    return Prepared(network, terms, moved, random, by)


def _example_mean(variable: nn.Variable) -> nn.Variable:
    if variable.size == variable.shape[0]:
        return NF.reshape(variable, variable.shape[:1], inplace=False)
    return NF.mean(variable, axis=tuple(range(1, variable.ndim)))


def _sum(
    network: Unrolled, terms: Iterable[Term], mean: Callable[[nn.Variable], nn.Variable]
) -> nn.Variable:
    total = None
    for term in terms:
        part = mean(network.built(term.variable))
        part = part if term.factor == 1.0 else part * term.factor
        total = part if total is None else total + part
    return total
