"""The parameters of a network: whether a file's fit, and what a training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.unrolled import Unrolled, expand
from nnabla_influence.errors import ModelError

GIVE_A_START = (
    "give parameters to start from with -p (an .h5), or save the file from Neural Network Console"
)


def check_parameters(
    path: Path, wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, np.ndarray]
) -> None:
    """Check that no parameter is missing and that all have the right shapes.

    nnabla silently initialises a missing parameter at random, so this comes before building.

    Args:
        path: The model file, for the message.
        wanted: Shapes by name.
        given: Arrays by name, the wanted ones and possibly others.

    Raises:
        ModelError: A parameter is missing, of another shape, or not finite.
    """
    missing = [name for name in wanted if name not in given]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ModelError(
            f"{path}: {len(missing)} of the network's {len(wanted)} parameters are missing"
            f" ({shown}); give the trained parameters, an .nnp or an .h5 beside the .nntxt"
        )
    for name, shape in wanted.items():
        given_shape = tuple(np.shape(given[name]))
        if given_shape != shape:
            raise ModelError(
                f"{path}: the parameter {name!r} has shape {given_shape}, and the network needs"
                f" {shape}; give the parameters that were trained with this network"
            )
        if not np.isfinite(given[name]).all():
            raise ModelError(
                f"{path}: the parameter {name!r} holds values that are not finite, so the training"
                " diverged; train again, with a lower learning rate"
            )


def initial_parameters(definition: Definition, seed: int) -> dict[str, np.ndarray]:
    """Return a value for each parameter of the training network, float32, by name.

    The definition's own where it holds them, else drawn from its initialisers.

    Raises:
        ModelError: As `check_start` does.
    """
    rng = np.random.RandomState(seed)
    network = expand(definition.path, definition.network, rng)
    _check_start(network, definition.parameters, GIVE_A_START)
    values = {}
    for name, variable in network.parameters.items():
        given = definition.parameters.get(name)
        # Drawn in any case, so that the following ones do not depend on what is given.
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
    _check_start(expand(definition.path, definition.network), given, advice)


def _check_start(network: Unrolled, given: Mapping[str, np.ndarray], advice: str) -> None:
    for name, variable in network.parameters.items():
        shape = network.shapes[name]
        if name not in given:
            if not variable.initializer:
                raise ModelError(
                    f"{network.path}: the parameter {name!r} has no initialiser to draw a start"
                    f" from; {advice}"
                )
        elif given[name].shape != shape:
            raise ModelError(
                f"{network.path}: the parameter {name!r} to start from has shape"
                f" {given[name].shape}, and the network needs {shape}; give parameters of this"
                " network with -p"
            )
