"""The training network as it is trained, so that a replay gives the same bits, and its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.losses import Term, loss_network
from nnabla_influence.definition.random_layers import Draw, Draws, random_functions
from nnabla_influence.definition.refusals import check_losses, check_parameters
from nnabla_influence.definition.unrolled import Unrolled, expand
from nnabla_influence.errors import ModelError

GIVE_A_START = (
    "give parameters to start from with -p (an .h5), or save the file from Neural Network Console"
)


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
    proto, terms = loss_network(definition)
    network = expand(definition.path, proto)
    random = random_functions(network, terms.outputs, definition.trainable)
    draws = Draws(network, random, batch_size)
    with nn.context_scope(context), nn.auto_forward(False):
        inputs = network.set_inputs(definition, batch_size)
        variables = {name: nn.Variable(network.shapes[name]) for name in network.parameters}
        variables.update(parameters or {})
        network.build(batch_size, context, variables, definition.trainable, draws.build)
        check_losses(network, terms, batch_size)
        examples = tuple((term, network.built(term.variable)) for term in terms.examples)
        penalties = tuple((term, network.built(term.variable)) for term in terms.penalties)
        target = NF.sink(*(v for _, v in (*examples, *penalties)), one_input_grad=False)
    return TrainingNetwork(
        batch_size=batch_size,
        inputs=inputs,
        parameters={name: network.built(name) for name in network.parameters},
        draws=draws.draws,
        _examples=examples,
        _penalties=penalties,
        _target=target,
    )


def initial_parameters(definition: Definition, seed: int) -> dict[str, np.ndarray]:
    """Return a value for each parameter of the training network, float32, by name.

    The definition's own where it holds them, else drawn from its initialisers.

    Raises:
        ModelError: As `check_start` does.
    """
    network = expand(definition.path, definition.network, np.random.RandomState(seed))
    _check_start(network, definition.parameters, GIVE_A_START)
    values = {}
    for name, variable in network.parameters.items():
        own = definition.parameters.get(name)
        # Drawn in any case, so that the following ones do not depend on what the file holds.
        drawn = variable.initializer(shape=variable.shape) if variable.initializer else own
        values[name] = np.asarray(drawn if own is None else own, np.float32)
    return values


def check_start(
    definition: Definition, start: Mapping[str, np.ndarray], advice: str = GIVE_A_START
) -> None:
    """Refuse a training network that nnabla would start at 0, which `nnabla.utils.save` writes.

    Args:
        definition: Of the training.
        start: The parameters that it starts from, by name; the others are drawn.
        advice: What the user can do.

    Raises:
        ModelError: A parameter has neither a start nor an initialiser, or a start of another shape.
    """
    _check_start(expand(definition.path, definition.network), start, advice)


def _check_start(network: Unrolled, start: Mapping[str, np.ndarray], advice: str) -> None:
    for name, variable in network.parameters.items():
        if name not in start and not variable.initializer:
            raise ModelError(
                f"{network.path}: the parameter {name!r} has no initialiser to draw a start from;"
                f" {advice}"
            )
    shapes = {name: network.shapes[name] for name in network.parameters if name in start}
    check_parameters(network.path, shapes, start)
