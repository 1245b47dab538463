"""What is refused before a computation fails or gives a wrong score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnabla_influence.definition import Definition, Mode
from nnabla_influence.definition.objective import prepare
from nnabla_influence.engine.engine import Engine
from nnabla_influence.engine.tangents import has_tangent
from nnabla_influence.errors import UnsupportedError

_TOLERANCE = 1e-4
"""Relative to the largest loss; a batch of the same size is computed in the same way throughout."""

_RECURRENT = ("RNN", "LSTM", "GRU")


def _gives_indices(args: Mapping[str, Any]) -> bool:
    return bool(args["only_index"])


_WRONG_GRADIENT = (
    "has a wrong gradient in nnabla, so training followed no loss; put an Unlink behind it"
)

_REFUSED: Mapping[str, tuple[Callable[[Mapping[str, Any]], bool], str]] = {
    "Max": (_gives_indices, _WRONG_GRADIENT),
    "MeanSubtraction": (
        lambda args: bool(args["update_running_mean"]),
        "updates its mean, of which no gradient is known; let it not update",
    ),
    "Min": (_gives_indices, _WRONG_GRADIENT),
    "Sort": (lambda args: True, _WRONG_GRADIENT),
    "TopKData": (lambda args: not args["reduce"], _WRONG_GRADIENT),
}
"""By nnabla's type of function, with which arguments it is refused, and why."""

# Losses whose derivative by the target nnabla's training silently leaves out.
_LABEL_LOSSES = (
    "BinaryCrossEntropy",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "CategoricalCrossEntropy",
)


def check_differentiable(definition: Definition, mode: Mode = Mode.TEST) -> None:
    """Refuse a definition with a function that has no tangent, or that training takes otherwise.

    It needs no parameters, so it can come before a training. Only functions between a trainable
    parameter and the loss count: through any other, such as a Flip of the input images, no
    gradient passes.

    Raises:
        UnsupportedError: It names the function, and says what to do.
    """
    prepared = prepare(definition, mode)
    network, losses = prepared.network, prepared.terms.outputs
    moving = network.downstream(prepared.differentiated, differentiably=True)
    between = moving & network.upstream(losses, differentiably=True)
    drawn = {node.name for node in prepared.random}
    for node in reversed(network.order(losses)):
        if between.isdisjoint(node.outputs) or node.name in drawn:
            continue
        where = f"{network.path}: the function {node.type} (layer {node.name!r})"
        if node.type in _RECURRENT:
            raise UnsupportedError(
                f"{where} has no tangent here; build the recurrent network of single layers"
                " (RecurrentInput, Delay, Affine) and train again"
            )
        refused, why = _REFUSED.get(node.type, (None, ""))
        if refused is not None and refused(node.args):
            raise UnsupportedError(f"{where} {why} and train again")
        if not has_tangent(node.type):
            raise UnsupportedError(f"{where} has no tangent here; replace it and train again")
        if node.type in _LABEL_LOSSES and node.inputs[1] in moving:
            raise UnsupportedError(
                f"{where} has a target {node.inputs[1]!r} that depends on trained parameters, and"
                " nnabla leaves out its derivative; put an Unlink before it and train again"
            )


def check_independence(engine: Engine, inputs: Mapping[str, np.ndarray]) -> None:
    """Refuse a network that mixes the examples of a mini-batch, in test mode too.

    The losses of the first half of a mini-batch must stay the same when other examples replace the
    second half. They do not where a layer computes, say, a mean over the mini-batch, and then no
    row has an influence of its own.

    Args:
        engine: Built at a batch size of at least 2.
        inputs: By dataset column, arrays of shape ``(n, ...)`` with at least two different rows.

    Raises:
        UnsupportedError: It mixes them.
    """
    n, size = len(next(iter(inputs.values()))), engine.objective.batch_size
    half = max(size // 2, 1)
    rows = np.arange(size) % n
    others = rows.copy()
    others[half:] = (rows[half:] + 1) % n
    before, after = (
        engine.outputs({column: values[chosen] for column, values in inputs.items()}).losses
        for chosen in (rows, others)
    )
    if np.abs(after[:half] - before[:half]).max() > _TOLERANCE * np.abs(before).max():
        definition = engine.objective.definition
        raise UnsupportedError(
            f"{definition.path}: the network {definition.network_name!r} mixes the examples of a"
            " mini-batch, so no row has a loss of its own; remove what averages over the"
            " mini-batch and train again"
        )
