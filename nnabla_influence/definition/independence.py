"""Whether the loss of an example depends on that example alone."""

from __future__ import annotations

from collections.abc import Mapping

import nnabla as nn
import numpy as np

from nnabla_influence.definition.objective import Objective
from nnabla_influence.errors import UnsupportedError

_TOLERANCE = 1e-4
"""Relative to the largest loss; a batch of the same size is computed in the same way throughout."""


def check_independence(
    objective: Objective, inputs: Mapping[str, np.ndarray], context: nn.Context
) -> None:
    """Refuse a network that mixes the examples of a mini-batch, in test mode too.

    The losses of the first half of a mini-batch must stay what they are when other examples take
    the place of the second half. A network that computes, say, a mean over the mini-batch in
    mid-network fails, and one row's influence has no meaning for it.

    Args:
        objective: Built at a batch size of at least 2; its inputs are overwritten.
        inputs: By dataset column, arrays of shape ``(n, ...)`` with at least two different rows.
        context: The context that the objective was built in.

    Raises:
        UnsupportedError: It mixes them.
    """
    n = len(next(iter(inputs.values())))
    size = objective.batch_size
    half = max(size // 2, 1)
    rows = np.arange(size) % n
    others = rows.copy()
    others[half:] = (rows[half:] + 1) % n
    before, after = (_losses(objective, inputs, chosen, context) for chosen in (rows, others))
    change = np.abs(after[:half] - before[:half]).max()
    if change > _TOLERANCE * np.abs(before).max():
        path = objective.definition.path
        raise UnsupportedError(
            f"{path}: the network {objective.definition.network_name!r} mixes the examples of a"
            " mini-batch, so the loss of a row depends on the rows beside it and no row has an"
            " influence of its own; remove what averages over the mini-batch, train and score"
        )


def _losses(
    objective: Objective, inputs: Mapping[str, np.ndarray], rows: np.ndarray, context: nn.Context
) -> np.ndarray:
    for column, variable in objective.inputs.items():
        variable.d = inputs[column][rows]
    with nn.context_scope(context):
        objective.losses.forward()
    return np.array(objective.losses.d, np.float64)
