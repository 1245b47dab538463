"""The parameters that a training starts from."""

from __future__ import annotations

import numpy as np

from nnabla_influence.errors import ModelError
from nnabla_influence.network import Definition
from nnabla_influence.network.expansion import expand


def initial_parameters(definition: Definition, seed: int) -> dict[str, np.ndarray]:
    """Return a value for each parameter of the training network, float32, by name.

    The definition's own where it holds them, else drawn from its initialisers.

    Raises:
        ModelError: A parameter has no initialiser (nnabla would start it at 0), or one of the
            definition's is of another shape.
    """
    rng = np.random.RandomState(seed)
    expanded = expand(definition.path, definition.network, rng=rng)
    values = {}
    for name, variable in expanded.parameters.items():
        shape = tuple(variable.shape)
        given = definition.parameters.get(name)
        # Drawn in any case, so that those which follow do not depend on what is given.
        drawn = variable.initializer(shape=shape) if variable.initializer else given
        if given is not None and given.shape != shape:
            raise ModelError(
                f"{definition.path}: the parameter {name!r} to start from has shape {given.shape},"
                f" and the network wants {shape}; give parameters of this network with -p"
            )
        if drawn is None:
            raise ModelError(
                f"{definition.path}: the parameter {name!r} has no initialiser to draw a start"
                " from; give parameters to start from with -p (an .h5), or save the file from"
                " Neural Network Console"
            )
        values[name] = np.asarray(drawn if given is None else given, np.float32)
    return values
