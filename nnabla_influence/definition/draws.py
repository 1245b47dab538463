r"""The random layers of a training network, as inputs: what they drew can be put in again.

With a seed, each of nnabla's random functions has a generator of its own, made when the graph is,
and advanced with every forward. So a training's masks and augmented images can be drawn again
(`nnabla_influence.definition.random_layers`), and derivatives formed for what was drawn: Dropout
is a product with its mask m,

.. math:: y = x \odot m, \qquad m \in \{0, 1 / (1 - p)\},

to the bit what nnabla computes, and an augmentation in front of the parameters is data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nnabla as nn
import nnabla.functions as NF

from nnabla_influence.definition.edits import RANDOM_LAYERS
from nnabla_influence.definition.expansion import execution_order
from nnabla_influence.definition.functions import moving_variables
from nnabla_influence.errors import UnsupportedError


@dataclass(frozen=True, eq=False)
class Draw:
    """What a random layer gives for one mini-batch: an input of the network.

    Attributes:
        name: ``@`` and the layer's name.
        variable: To fill; a Dropout's mask, or another layer's output.
    """

    name: str
    variable: nn.Variable


def draw_name(function: Any) -> str:
    """Return the name of a random function's `Draw`."""
    return f"@{function.name}"


def random_functions(
    path: Path, expanded: Any, outputs: Iterable[str], trainable: Collection[str]
) -> list[Any]:
    """Return the random functions whose draws a network needs as inputs.

    Args:
        path: The model file, for messages.
        expanded: nnabla's unrolled ``ProtoNetwork`` of the training.
        outputs: The names of the loss's variables.
        trainable: The names of the trained parameters.

    Raises:
        UnsupportedError: One has no seed, so its draws are lost; or it is no Dropout and acts on
            values that depend on parameters.
    """
    outputs = list(outputs)
    moving = moving_variables(expanded, trainable)
    for function in execution_order(expanded, outputs):
        if function.type not in RANDOM_LAYERS:
            continue
        where = f"{path}: the random function {function.type} (layer {function.name!r})"
        if function.args["seed"] == -1:
            raise UnsupportedError(
                f"{where} has no seed, so what it drew in training is lost; exact scores need one:"
                " set the layer's Seed and train again (nnabla-influence train sets it), or choose"
                " method final"
            )
        if function.type == "Dropout":
            continue
        needed = execution_order(expanded, function.inputs)
        read = {name for f in (*needed, function) for name in f.inputs}
        if not moving.isdisjoint(function.inputs) or not read.isdisjoint(expanded.parameters):
            raise UnsupportedError(
                f"{where} acts on values that depend on parameters, which exact scores do not"
                " follow; choose method final, or put it before the first layer with parameters"
                " and train again"
            )
    order = execution_order(expanded, outputs, past=lambda function: not is_input(function))
    return [function for function in order if function.type in RANDOM_LAYERS]


def is_input(function: Any) -> bool:
    """Whether a function's *output* is the draw; of a Dropout it is the mask."""
    return function.type in RANDOM_LAYERS and function.type != "Dropout"


class Draws:
    """Builds the random functions of one network with what they draw as inputs.

    Args:
        expanded: nnabla's unrolled ``ProtoNetwork``.
        functions: Those of `random_functions`.
        batch_size: B.
    """

    def __init__(self, expanded: Any, functions: Iterable[Any], batch_size: int):
        self._expanded = expanded
        self._names = {function.name for function in functions}
        self._batch_size = batch_size
        self._draws: dict[str, nn.Variable] = {}

    def build(self, function: Any) -> bool:
        """Build a function if it is one of them; return whether it is."""
        if function.name not in self._names:
            return False
        output = self._expanded.variables[function.outputs[0]]
        if is_input(function):
            draw = nn.Variable(sized(output.shape, self._batch_size))
            output.variable_instance = draw
        else:
            x = self._expanded.variables[function.inputs[0]].variable_instance
            draw = nn.Variable(x.shape)
            output.variable_instance = NF.mul2(x, draw)
        self._draws[draw_name(function)] = draw
        return True

    @property
    def draws(self) -> tuple[Draw, ...]:
        """The inputs that were made, sorted by name."""
        return tuple(Draw(name, variable) for name, variable in sorted(self._draws.items()))


def sized(shape: Iterable[int], batch_size: int) -> tuple[int, ...]:
    """Return a proto variable's shape with the batch size in the place of -1."""
    return tuple(size if size >= 1 else batch_size for size in shape)
