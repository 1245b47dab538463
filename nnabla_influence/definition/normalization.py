r"""Batch normalisation, written out: by the mini-batch's statistics, or by the running ones.

In training a batch normalisation uses the mean :math:`\mu` and the variance :math:`\sigma^2` of its
input's n elements for each channel, and moves its running statistics, which only test mode reads:

.. math::

    \bar\mu \leftarrow d \bar\mu + (1 - d) \mu, \qquad
    \bar\sigma^2 \leftarrow d \bar\sigma^2 + (1 - d) \tfrac{n}{n - 1} \sigma^2.

So the validation loss depends on the parameters of *every* step through them, and an exact trace
must differentiate them. nnabla has no derivative by running statistics; in elementary functions
there is one. (Its double backward of batch statistics also takes the variance as a difference of
squares, which cancels in float32; here it is the mean of the centred squares.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition.expansion import (
    differentiated_inputs,
    execution_order,
    expand,
)
from nnabla_influence.definition.graph import keep_only
from nnabla_influence.definition.losses import loss_terms
from nnabla_influence.definition.mode import Mode
from nnabla_influence.errors import UnsupportedError

if TYPE_CHECKING:
    from nnabla_influence.definition.definition import Definition

_TYPES = ("BatchNormalization", "FusedBatchNormalization")


@dataclass(frozen=True, eq=False)
class Statistic:
    """What a mini-batch does to a running statistic: d running + (1 - d) value.

    Attributes:
        name: The running statistic's, such as ``bn/mean``.
        value: What it moves towards, as a graph of the mini-batch; of the statistic's shape.
        decay_rate: d.
    """

    name: str
    value: nn.Variable
    decay_rate: float


def running_statistics(definition: Definition) -> tuple[str, ...]:
    """Return the names, sorted, of the running means and variances that training moves.

    Those of batch normalisations that the training network runs with ``batch_stat=False`` are
    ordinary constants, and not among them.
    """
    path = definition.path
    network = type(definition.network)()
    network.CopyFrom(definition.network)
    data = [assignment.variable_name for assignment in definition.optimizer.data_variable]
    outputs = loss_terms(path, network, definition.loss_variables, data).outputs
    keep_only(network, outputs)
    return moved_statistics(expand(path, network), outputs)


def moved_statistics(expanded: Any, outputs: Iterable[str]) -> tuple[str, ...]:
    """Return the names, sorted, of the statistics that a forward to ``outputs`` moves."""
    return tuple(sorted({name for f in _movers(expanded, outputs) for name in _statistics(f)}))


def normalized_variables(expanded: Any, outputs: Iterable[str]) -> tuple[str, ...]:
    """Return the variables that depend on the moved statistics at once, in VALIDATION mode."""
    return tuple(function.outputs[0] for function in _movers(expanded, outputs))


def check_normalizations(path: Path, expanded: Any, outputs: Iterable[str]) -> None:
    """Refuse running statistics that the training's loss depends on.

    Raises:
        UnsupportedError: Another function reads one; it is named.
    """
    moved = set(moved_statistics(expanded, outputs))
    for function in expanded.functions.values():
        shared = moved.intersection(
            differentiated_inputs(function) if _moves(function) else function.inputs
        )
        if shared:
            raise UnsupportedError(
                f"{path}: the function {function.type} (layer {function.name!r}) reads the running"
                f" statistic {min(shared)!r} that a batch normalisation moves in training; give it"
                " a parameter of its own and train again"
            )


class Normalizations:
    """Builds the batch normalisations of one network that are trained with batch statistics.

    Args:
        expanded: nnabla's unrolled ``ProtoNetwork``.
        mode: TRAINING and BATCH write them out by batch statistics, VALIDATION by running ones.
            In TEST mode the network has none.
    """

    def __init__(self, path: Path, expanded: Any, mode: Mode):
        self._path = path
        self._expanded = expanded
        self._mode = mode
        self._values: dict[str, tuple[nn.Variable, nn.Variable]] = {}

    def build(self, function: Any) -> bool:
        """Build a function if it is such a normalisation; return whether it is."""
        if not _moves(function) or function.type != "BatchNormalization":
            return False
        x, *affine, mean, variance = (self._input(name) for name in function.inputs)
        beta = None if function.args["no_bias"] else affine.pop(0)
        gamma = None if function.args["no_scale"] else affine.pop(0)
        own = [axis % x.ndim for axis in function.args["axes"]]
        shape = tuple(size if axis in own else 1 for axis, size in enumerate(x.shape))
        for variable in (mean, variance, beta, gamma):
            if variable is not None and variable.shape != shape:
                raise ValueError(f"a parameter has shape {variable.shape} instead of {shape}")
        if self._mode.batch_statistics:
            others = [axis for axis in range(x.ndim) if axis not in own]
            n = int(np.prod([x.shape[axis] for axis in others]))
            if n < 2:
                raise UnsupportedError(
                    f"{self._path}: the batch normalisation {function.name!r} has one value for"
                    " each channel in a mini-batch of one example, and so no variance; train with"
                    " a larger batch size"
                )
            mean = NF.mean(x, axis=others, keepdims=True)
            centred = x - mean
            variance = NF.mean(centred * centred, axis=others, keepdims=True)
            self._values[function.name] = mean, variance * (n / (n - 1))
        else:
            centred = x - mean
        scale = (variance + function.args["eps"]) ** -0.5
        y = centred * (scale if gamma is None else scale * gamma)
        outputs = (y if beta is None else y + beta, mean, variance)
        for name, output in zip(function.outputs, outputs):
            self._expanded.variables[name].variable_instance = output
        return True

    def statistics(self, outputs: Iterable[str]) -> tuple[Statistic, ...]:
        r"""Return what a forward to ``outputs`` does to each of `moved_statistics`.

        Where several normalisations move one statistic, such as in an unrolled loop, they do so one
        after the other: with rates :math:`d_i`, the value of the i-th counts
        :math:`(1 - d_i) \prod_{k > i} d_k`, what was there before :math:`D = \prod d_i`.
        """
        sums: dict[str, nn.Variable] = {}
        decay: dict[str, float] = {}
        for function in _movers(self._expanded, outputs):
            rate = float(np.float32(function.args["decay_rate"]))
            for name, value in zip(_statistics(function), self._values[function.name]):
                part = value * (1 - rate)
                sums[name] = sums[name] * rate + part if name in sums else part
                decay[name] = decay.get(name, 1.0) * rate
        return tuple(
            Statistic(name, sums[name] / (1 - decay[name]) if decay[name] < 1 else sums[name], d)
            for name, d in sorted(decay.items())
        )

    def _input(self, name: str) -> nn.Variable:
        if name in self._expanded.variables:
            variable = self._expanded.variables[name]
        else:
            variable = self._expanded.parameters[name]
        if variable.type == "Parameter":
            variable.variable_instance = nn.parameter.get_parameter_or_create(
                variable.name, variable.shape, need_grad=variable.need_grad
            )
            variable.variable_instance.need_grad = variable.need_grad
        return variable.variable_instance


def _moves(function: Any) -> bool:
    return function.type in _TYPES and bool(function.args["batch_stat"])


def _statistics(function: Any) -> Sequence[str]:
    """Return the names of a normalisation's running mean and variance."""
    return function.inputs[3:5] if function.type == _TYPES[1] else function.inputs[-2:]


def _movers(expanded: Any, outputs: Iterable[str]) -> list[Any]:
    """Return the functions that move running statistics, in the order in which nnabla runs them."""
    return [function for function in execution_order(expanded, outputs) if _moves(function)]
