"""The parameters that a training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.expansion import expand
from nnabla_influence.errors import ModelError

GIVE_A_START = (
    "give parameters to start from with -p (an .h5), or save the file from Neural Network Console"
)


def initial_parameters(definition: Definition, seed: int) -> dict[str, np.ndarray]:
    """Return a value for each parameter of the training network, float32, by name.

    The definition's own where it holds them, else drawn from its initialisers.

    Raises:
        ModelError: As `check_start` does.
    """
    rng = np.random.RandomState(seed)
    expanded = expand(definition.path, definition.network, rng=rng)
    _check(definition, expanded, definition.parameters, GIVE_A_START)
    values = {}
    for name, variable in expanded.parameters.items():
        given = definition.parameters.get(name)
        # Drawn in any case, so that those which follow do not depend on what is given.
        drawn = variable.initializer(shape=variable.shape) if variable.initializer else given
        values[name] = np.asarray(drawn if given is None else given, np.float32)
    return values


def check_start(
    definition: Definition, given: Mapping[str, np.ndarray], advice: str = GIVE_A_START
) -> None:
    """Refuse a training network that nnabla would start at 0, which `nnabla.utils.save` writes.

    Args:
        definition: Of the training.
        given: The parameters that it starts from, by name; the others are drawn.
        advice: What the user can do.

    Raises:
        ModelError: A parameter that is not given has no initialiser, or a given one has another
            shape.
    """
    _check(definition, expand(definition.path, definition.network), given, advice)


def _check(
    definition: Definition, expanded: Any, given: Mapping[str, np.ndarray], advice: str
) -> None:
    for name, variable in expanded.parameters.items():
        shape = tuple(variable.shape)
        if name not in given:
            if not variable.initializer:
                raise ModelError(
                    f"{definition.path}: the parameter {name!r} has no initialiser to draw a start"
                    f" from; {advice}"
                )
        elif given[name].shape != shape:
            raise ModelError(
                f"{definition.path}: the parameter {name!r} to start from has shape"
                f" {given[name].shape}, and the network wants {shape}; give parameters of this"
                " network with -p"
            )
