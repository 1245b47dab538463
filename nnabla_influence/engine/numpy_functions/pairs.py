"""Functions that are faster with their tangent than by a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nnabla_influence.engine.numpy_functions.batch_normalization import (
    batch_normalization_pairs,
)
from nnabla_influence.engine.numpy_functions.deconvolution import LAYERS
from nnabla_influence.engine.numpy_functions.layers import Pair, paired, targets_of
from nnabla_influence.engine.numpy_functions.losses import softmax_cross_entropy_pair
from nnabla_influence.engine.numpy_functions.pooling import max_pooling_pair
from nnabla_influence.engine.numpy_functions.tape import Gradient, values


def _relu_pair(x: Pair, inplace: bool = False) -> Pair:
    data = values(x.value)
    above = data > 0
    dy = None if x.tangent is None else values(x.tangent) * above

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        return [None if g is None else g * above for g in (p, q)]

    return paired(x, np.maximum(data, 0), dy, pullback, stacked=True)


def _reshape_pair(x: Pair, shape: Sequence[int], inplace: bool = True) -> Pair:
    y = values(x.value).reshape(tuple(shape))
    lead, before = targets_of(x), values(x.value).shape
    dy = None if x.tangent is None else values(x.tangent).reshape(*lead, *y.shape)

    def pullback(p: Gradient, q: Gradient) -> Sequence[Gradient]:
        return [None if g is None else g.reshape(*lead, *before) for g in (p, q)]

    return paired(x, y, dy, pullback, stacked=True)


PAIRS: Mapping[str, Callable[..., Pair | list[Pair]]] = {
    **LAYERS,
    "BatchNormalization": batch_normalization_pairs,
    "MaxPooling": max_pooling_pair,
    "ReLU": _relu_pair,
    "Reshape": _reshape_pair,
    "SoftmaxCrossEntropy": softmax_cross_entropy_pair,
}

STACKED = frozenset(
    {"Affine", "BatchNormalization", "Convolution", "ReLU", "Reshape", "SoftmaxCrossEntropy"}
)
"""Of these, which carry the tangents of several targets at once."""
