"""Parameters and losses that do not fit a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnabla_influence.definition.losses import LossTerms
from nnabla_influence.definition.unrolled import Unrolled
from nnabla_influence.errors import ModelError


def check_parameters(
    path: Path, wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, np.ndarray]
) -> None:
    """Refuse parameters of which one is missing, of another shape, or not finite.

    nnabla silently initialises a missing parameter at random, so this comes before building.

    Args:
        path: The model file, for messages.
        wanted: Shapes by name.
        given: Arrays by name, of these and possibly others.
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
                f"{path}: the parameter {name!r} has values that are not finite; if the training"
                " diverged, train again with a lower learning rate"
            )


def check_losses(network: Unrolled, terms: LossTerms, batch_size: int) -> None:
    """Refuse a network, once built, whose loss has no value for each example."""
    for term in terms.examples:
        shape = network.built(term.variable).shape
        if shape[:1] != (batch_size,):
            raise ModelError(
                f"{network.path}: the loss {term.variable!r} has shape {shape} at batch size"
                f" {batch_size}, not a value for each example; give it one, or the mean over the"
                " examples, and train again"
            )
