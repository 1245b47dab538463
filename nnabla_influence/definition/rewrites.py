"""Replace functions by others of equal value, of which float32 keeps more, or that are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnabla.utils import nnabla_pb2

from nnabla_influence.definition.graph import Graph

Shape = tuple[int, ...]
Rewrite = Callable[["_Site"], "list[Any] | None"]


def rewrite_functions(network: Any) -> None:
    """Edit a proto network in place; its values stay the same.

    A fused normalisation becomes its parts, and a cross entropy of probabilities that of their
    logits.
    """
    shape_of = Graph.of(network).shapes
    functions = []
    for function in network.function:
        rewrite = _REWRITES.get(function.type)
        parts = rewrite(_Site(network, function, shape_of)) if rewrite else None
        functions.extend([function] if parts is None else parts)
    copies = [_copy(function) for function in functions]
    del network.function[:]
    network.function.extend(copies)


class _Site:
    """A function of a network that is being replaced."""

    def __init__(self, network: Any, function: Any, shape_of: Mapping[str, Shape]):
        self.network = network
        self.function = function
        self.shape_of = shape_of

    def part(self, kind: str, inputs: Sequence[str], shape: Shape | None = None) -> Any:
        """Return a new function; it computes the site's output, or a new variable of ``shape``."""
        old = self.function
        new = nnabla_pb2.Function()
        new.type = kind
        new.repeat_id.extend(old.repeat_id)
        new.input.extend(inputs)
        if shape is None:
            new.name = old.name
            new.output.append(old.output[0])
            return new
        count = sum(v.name.startswith(f"{old.output[0]}@") for v in self.network.variable)
        new.name = f"{old.name}@{count}"
        variable = self.network.variable.add()
        variable.name = f"{old.output[0]}@{count}"
        variable.type = "Buffer"
        variable.shape.dim.extend(shape)
        variable.repeat_id.extend(old.repeat_id)
        new.output.append(variable.name)
        return new


def _copy(function: Any) -> Any:
    copy = nnabla_pb2.Function()
    copy.CopyFrom(function)
    return copy


def _fused_batch_normalization(site: _Site) -> list[Any] | None:
    old = site.function.fused_batch_normalization_param
    if old.nonlinearity not in ("relu", "identity", ""):
        return None
    x, *statistics = site.function.input[:5]
    shape = site.shape_of[x]
    normalization = site.part("BatchNormalization", [x, *statistics], shape)
    new = normalization.batch_normalization_param
    new.axes.extend(old.axes)
    new.decay_rate, new.eps, new.batch_stat = old.decay_rate, old.eps, old.batch_stat
    parts = [normalization]
    if len(site.function.input) > 5:
        # In this order, since nnabla computes z before the normalisation.
        parts.append(site.part("Add2", [site.function.input[5], normalization.output[0]], shape))
    last = "ReLU" if old.nonlinearity == "relu" else "Identity"
    return [*parts, site.part(last, parts[-1].output)]


def _binary_cross_entropy(site: _Site) -> list[Any] | None:
    """-t log(p) - (1 - t) log(1 - p) = log(1 + exp(x)) - t x, with p = sigmoid(x).

    Not nnabla's SigmoidCrossEntropy, which rounds a target between 0 and 1 to a whole number.
    """
    sigmoid = _activation(site, "Sigmoid")
    if sigmoid is None:
        return None
    x, shape = sigmoid.input[0], site.shape_of[sigmoid.input[0]]
    softplus = site.part("SoftPlus", [x], shape)
    softplus.softplus_param.beta = 1.0
    product = site.part("Mul2", [site.function.input[1], x], shape)
    return [softplus, product, site.part("Sub2", [softplus.output[0], product.output[0]])]


def _categorical_cross_entropy(site: _Site) -> list[Any] | None:
    softmax = _activation(site, "Softmax")
    if softmax is None:
        return None
    axis = site.function.categorical_cross_entropy_param.axis
    n_axes = len(site.shape_of[softmax.input[0]])
    if axis % n_axes != softmax.softmax_param.axis % n_axes:
        return None
    loss = site.part("SoftmaxCrossEntropy", [softmax.input[0], site.function.input[1]])
    loss.softmax_cross_entropy_param.axis = axis
    return [loss]


def _activation(site: _Site, kind: str) -> Any | None:
    """Return the activation before a loss: of confident outputs, the loss of its input is exact.

    In float32 the Hessian of a loss of probabilities is off by 1e-4 at logits of 9, by several
    percent at 14, and not a number where the probability rounds to 1.
    """
    graph = Graph.of(site.network)
    node = graph.producers.get(site.function.input[0])
    if node is None or node.type != kind:
        return None
    activation = node.proto
    if list(activation.repeat_id) != list(site.function.repeat_id):
        return None
    if site.function.input[1] in graph.downstream(graph.parameter_names):
        return None  # refused elsewhere: the target's own derivative is missing
    return activation


_REWRITES: dict[str, Rewrite] = {
    "BinaryCrossEntropy": _binary_cross_entropy,
    "CategoricalCrossEntropy": _categorical_cross_entropy,
    "FusedBatchNormalization": _fused_batch_normalization,
}
