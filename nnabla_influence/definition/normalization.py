r"""Batch normalisation, written out: by the mini-batch's statistics, or by the running ones.

In training a batch normalisation uses the mean :math:`\mu` and the variance :math:`\sigma^2` of its
input's n elements for each channel, and moves its running statistics, which only test mode reads:

.. math::

    \bar\mu \leftarrow d \bar\mu + (1 - d) \mu, \qquad
    \bar\sigma^2 \leftarrow d \bar\sigma^2 + (1 - d) \tfrac{n}{n - 1} \sigma^2.

So the validation loss depends on the parameters of *every* step through them, and an exact trace
must differentiate them. nnabla has no derivative by running statistics; in elementary functions
there is one. The variance is the mean of the centred squares: a difference of squares cancels in
float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.graph import Node
from nnabla_influence.definition.losses import loss_network
from nnabla_influence.definition.modes import Mode
from nnabla_influence.definition.unrolled import Unrolled, expand
from nnabla_influence.errors import UnsupportedError

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


@dataclass(frozen=True, eq=False)
class Normalization:
    """A batch normalisation by the mini-batch's statistics, which a graph has written out.

    Attributes:
        args: nnabla's.
        inputs: x and, where it has them, beta and gamma.
        outputs: y, and the mini-batch's mean and variance.
    """

    args: Mapping[str, Any]
    inputs: tuple[nn.Variable, ...]
    outputs: tuple[nn.Variable, ...]


def running_statistics(definition: Definition) -> tuple[str, ...]:
    """Return the names, sorted, of the running means and variances that training moves.

    Those of batch normalisations that the training network runs with ``batch_stat=False`` are
    ordinary constants, and not among them.
    """
    network, terms = loss_network(definition)
    return moved_statistics(expand(definition.path, network), terms.outputs)


def moved_statistics(network: Unrolled, outputs: Iterable[str]) -> tuple[str, ...]:
    """Return the names, sorted, of the statistics that a forward to ``outputs`` moves."""
    return tuple(sorted({name for n in _movers(network, outputs) for name in _statistics(n)}))


def normalized_variables(network: Unrolled, outputs: Iterable[str]) -> tuple[str, ...]:
    """Return the variables that moved statistics are used for, if they are parameters."""
    return tuple(node.outputs[0] for node in _movers(network, outputs))


def check_normalizations(network: Unrolled, outputs: Iterable[str]) -> None:
    """Refuse running statistics that the training's loss depends on."""
    moved = set(moved_statistics(network, outputs))
    for node in network.nodes:
        shared = moved.intersection(node.differentiated if _moves(node) else node.inputs)
        if shared:
            raise UnsupportedError(
                f"{network.path}: the function {node.type} (layer {node.name!r}) reads the running"
                f" statistic {min(shared)!r} that a batch normalisation changes in training; give"
                " it a parameter of its own and train again"
            )


class Normalizations:
    """Builds the batch normalisations of one network that are trained with batch statistics.

    The mode says whether by the mini-batch's statistics or by the running ones; in TEST mode there
    are no such normalisations.
    """

    def __init__(self, network: Unrolled, mode: Mode):
        self._network = network
        self._mode = mode
        self._values: dict[str, tuple[nn.Variable, nn.Variable]] = {}
        self.by_batch: list[Normalization] = []

    def build(self, node: Node) -> bool:
        """Build a function if it is such a normalisation; return whether it is."""
        if not _moves(node) or node.type != "BatchNormalization":
            return False
        x, *affine, mean, variance = (self._input(name) for name in node.inputs)
        given = (x, *affine)
        beta = None if node.args["no_bias"] else affine.pop(0)
        gamma = None if node.args["no_scale"] else affine.pop(0)
        own = [axis % x.ndim for axis in node.args["axes"]]
        shape = tuple(size if axis in own else 1 for axis, size in enumerate(x.shape))
        for variable in (mean, variance, beta, gamma):
            if variable is not None and variable.shape != shape:
                raise ValueError(f"a parameter has shape {variable.shape} instead of {shape}")
        if self._mode.batch_statistics:
            others = [axis for axis in range(x.ndim) if axis not in own]
            n = int(np.prod([x.shape[axis] for axis in others]))
            if n < 2:
                raise UnsupportedError(
                    f"{self._network.path}: the batch normalisation {node.name!r} has no variance"
                    " in a mini-batch of one value for each channel; train with a larger batch size"
                )
            mean = NF.mean(x, axis=others, keepdims=True)
            centred = x - mean
            variance = NF.mean(centred * centred, axis=others, keepdims=True)
            self._values[node.name] = mean, variance * (n / (n - 1))
        else:
            centred = x - mean
        scale = (variance + node.args["eps"]) ** -0.5
        y = centred * (scale if gamma is None else scale * gamma)
        outputs = (y if beta is None else y + beta, mean, variance)
        if self._mode.batch_statistics and all(v.parent is None for v in given[1:]):
            self.by_batch.append(Normalization(node.args, given, outputs))
        for name, output in zip(node.outputs, outputs):
            self._network.variables[name].variable_instance = output
        return True

    def statistics(self, outputs: Iterable[str]) -> tuple[Statistic, ...]:
        r"""Return what a forward to ``outputs`` does to each of `moved_statistics`.

        Where several normalisations move one statistic, such as in an unrolled loop, they do so one
        after the other: with rates :math:`d_i`, the value of the i-th counts
        :math:`(1 - d_i) \prod_{k > i} d_k`, what was there before :math:`D = \prod d_i`.
        """
        sums: dict[str, nn.Variable] = {}
        decay: dict[str, float] = {}
        for node in _movers(self._network, outputs):
            rate = float(np.float32(node.args["decay_rate"]))
            for name, value in zip(_statistics(node), self._values[node.name]):
                part = value * (1 - rate)
                sums[name] = sums[name] * rate + part if name in sums else part
                decay[name] = decay.get(name, 1.0) * rate
        return tuple(
            Statistic(name, sums[name] / (1 - decay[name]) if decay[name] < 1 else sums[name], d)
            for name, d in sorted(decay.items())
        )

    def _input(self, name: str) -> nn.Variable:
        parameter = self._network.parameters.get(name)
        if parameter is not None:
            parameter.variable_instance = nn.parameter.get_parameter_or_create(
                parameter.name, parameter.shape, need_grad=parameter.need_grad
            )
            parameter.variable_instance.need_grad = parameter.need_grad
        return self._network.built(name)


def _moves(node: Node) -> bool:
    return node.type in _TYPES and bool(node.args["batch_stat"])


def _statistics(node: Node) -> Sequence[str]:
    """Return the names of a normalisation's running mean and variance."""
    return node.inputs[3:5] if node.type == _TYPES[1] else node.inputs[-2:]


def _movers(network: Unrolled, outputs: Iterable[str]) -> list[Node]:
    """Return the functions that move running statistics, in the order in which nnabla runs them."""
    return [node for node in network.order(outputs) if _moves(node)]
