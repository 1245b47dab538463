"""The training network as it is trained: nothing rewritten, so a replay gives the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition.building import build_functions, set_inputs
from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.draws import Draw, Draws, random_functions
from nnabla_influence.definition.expansion import expand
from nnabla_influence.definition.graph import keep_only
from nnabla_influence.definition.losses import Term, loss_terms
from nnabla_influence.errors import ModelError


@dataclass(frozen=True, eq=False)
class TrainingNetwork:
    """A definition's training network, built at one batch size.

    Made by `build_training_network`. Batch normalisations use their batch statistics and move the
    running ones with every forward.

    Attributes:
        batch_size: B.
        inputs: Variables to fill, by dataset column, of shape ``(B, *Input.shape)``.
        parameters: Every parameter that the network reads, by name; those of
            ``definition.trainable`` with ``need_grad``.
        draws: Inputs to fill with what the random layers drew (`RandomLayers`); the one difference
            from the file's network, and none in what it computes.
    """

    batch_size: int
    inputs: Mapping[str, nn.Variable]
    parameters: Mapping[str, nn.Variable]
    draws: tuple[Draw, ...]
    _examples: tuple[tuple[Term, nn.Variable], ...]
    _penalties: tuple[tuple[Term, nn.Variable], ...]
    _target: nn.Variable

    def add_gradient(self, weights: np.ndarray) -> None:
        r"""Add :math:`\frac{1}{B} \sum_j w_j \nabla l_j` and the penalties' to the gradients.

        Args:
            weights: :math:`w_j`, shape ``(B,)``; all 1 is the training as it was.
        """
        self._target.forward(clear_no_need_grad=True)
        for term, variable in self._examples:
            each = np.float32(term.factor / variable.size)
            by_example = each * np.asarray(weights, np.float32)
            shape = (self.batch_size,) + (1,) * (variable.ndim - 1)
            variable.g = np.broadcast_to(by_example.reshape(shape), variable.shape)
        for term, variable in self._penalties:
            variable.grad.fill(term.factor / variable.size)
        self._target.backward(clear_buffer=True)


def build_training_network(
    definition: Definition,
    batch_size: int,
    context: nn.Context,
    parameters: Mapping[str, nn.Variable] | None = None,
) -> TrainingNetwork:
    """Build the training network of a definition.

    Args:
        definition: The network.
        batch_size: B.
        context: Where to compute.
        parameters: Variables by name to share with a network of another batch size; new ones,
            without values, by default.

    Raises:
        ModelError: nnabla cannot build the network.
        UnsupportedError: Its loss cannot be split into examples, or a random layer's draws are
            lost.
    """
    path = definition.path
    network = type(definition.network)()
    network.CopyFrom(definition.network)
    data = [assignment.variable_name for assignment in definition.optimizer.data_variable]
    terms = loss_terms(path, network, definition.loss_variables, data)
    keep_only(network, terms.outputs)
    scope: dict[str, nn.Variable] = {}
    expanded = expand(path, network, scope)
    random = random_functions(path, expanded, terms.outputs, definition.trainable)
    draws = Draws(expanded, random, batch_size)
    with nn.context_scope(context), nn.auto_forward(False):
        with nn.parameter_scope("", scope):
            for name, variable in expanded.parameters.items():
                # The graph is built with what the variable says here, the parameter's own aside.
                variable.need_grad = name in definition.trainable
                shared = parameters and parameters.get(name)
                nn.parameter.set_parameter(
                    name,
                    shared or nn.Variable(variable.shape, need_grad=name in definition.trainable),
                )
        inputs = set_inputs(definition, expanded, batch_size)
        build_functions(definition, expanded, scope, batch_size, context, draws.build)
        variables = {name: v.variable_instance for name, v in expanded.variables.items()}
        examples = tuple((term, variables[term.variable]) for term in terms.examples)
        for term, variable in examples:
            if variable.shape[:1] != (batch_size,):
                raise ModelError(
                    f"{path}: the loss {term.variable!r} has shape {variable.shape} at batch size"
                    f" {batch_size}, not a value for each example; make it one, or the mean over"
                    " the examples, and train again"
                )
        penalties = tuple((term, variables[term.variable]) for term in terms.penalties)
        target = NF.sink(*(v for _, v in (*examples, *penalties)), one_input_grad=False)
    return TrainingNetwork(
        batch_size=batch_size,
        inputs=inputs,
        parameters={name: v.variable_instance for name, v in expanded.parameters.items()},
        draws=draws.draws,
        _examples=examples,
        _penalties=penalties,
        _target=target,
    )
