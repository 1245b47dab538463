"""Functions that are faster with their tangent than by a rule."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from nnabla_influence.engine.numpy_functions import NP
from nnabla_influence.engine.numpy_functions.deconvolution import LAYERS
from nnabla_influence.engine.numpy_functions.layers import Pair
from nnabla_influence.engine.numpy_functions.normalizations import batch_normalization_pair
from nnabla_influence.engine.numpy_functions.pooling import max_pooling_pair

_NONE = Pair(None)


def _with_bias(layer: Callable[..., Pair]) -> Callable[..., Pair]:
    def pair(x: Pair, weight: Pair, bias: Pair = _NONE, **args: Any) -> Pair:
        return layer(x, weight, bias, **args)

    return pair


PAIRS: Mapping[str, Callable[..., Pair]] = {
    **{kind: _with_bias(layer) for kind, layer in LAYERS.items()},
    "BatchNormalization": functools.partial(batch_normalization_pair, NP),
    "MaxPooling": max_pooling_pair,
}
