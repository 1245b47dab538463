"""Per-example losses, and the prediction that they judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nnabla as nn
import nnabla.functions as NF

from nnabla_influence.errors import UnsupportedError
from nnabla_influence.network.graph import producers, shapes


def per_example_outputs(path: Path, network: Any, losses: Sequence[str]) -> tuple[str, ...]:
    """Return the variables, one for each loss, that still hold one loss for each example.

    Neural Network Console's losses do. A scalar saved from Python is followed back through the
    mean over the batch that made it.

    Raises:
        UnsupportedError: A loss is a number for the whole batch in another way.
    """
    shape_of = shapes(network)
    producer = producers(network)
    found = []
    for loss in losses:
        name = loss
        while not (shape_of[name] and shape_of[name][0] == -1):
            function = producer.get(name)
            if function is not None and function.type in ("Identity", "Mean"):
                name = function.input[0]
            else:
                maker = "" if function is None else f", made by the function {function.type},"
                raise UnsupportedError(
                    f"{path}: the loss {loss!r}{maker} is one number for the whole mini-batch; end"
                    " it with the mean over the examples, or save a loss for each example"
                )
        found.append(name)
    return tuple(found)


def mean_over_example(loss: nn.Variable) -> nn.Variable:
    """Return the mean over all axes but the batch axis; shape ``(B,)``."""
    if loss.ndim == 1:
        return loss
    return NF.mean(loss, axis=tuple(range(1, loss.ndim)))
