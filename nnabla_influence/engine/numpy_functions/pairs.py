"""Functions that are faster with their tangent than by a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nnabla_influence.engine.numpy_functions.batch_normalization import (
    batch_normalization_pairs,
)
from nnabla_influence.engine.numpy_functions.deconvolution import LAYERS
from nnabla_influence.engine.numpy_functions.layers import Pair, paired, reshape_pair
from nnabla_influence.engine.numpy_functions.losses import softmax_cross_entropy_pair
from nnabla_influence.engine.numpy_functions.pooling import max_pooling_pair
from nnabla_influence.engine.numpy_functions.tape import Gradient, values


def _relu_pair(x: Pair, inplace: bool = False) -> Pair:
    data = values(x.value)
    above = data > 0
    dy = None if x.tangent is None else values(x.tangent) * above

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        return None if p is None else p * above, None if q is None else q * above

    return paired(x, data * above, dy, pullback, stacked=True)


PAIRS: Mapping[str, Callable[..., Pair | list[Pair]]] = {
    **LAYERS,
    "BatchNormalization": batch_normalization_pairs,
    "MaxPooling": max_pooling_pair,
    "ReLU": _relu_pair,
    "Reshape": reshape_pair,
    "SoftmaxCrossEntropy": softmax_cross_entropy_pair,
}

STACKED = frozenset(
    {"Affine", "BatchNormalization", "Convolution", "ReLU", "Reshape", "SoftmaxCrossEntropy"}
)
"""Of these, which carry the tangents of several targets at once."""
