"""Normalisations."""

from __future__ import annotations

from typing import Any

from nnabla_influence.engine.numpy_functions.tape import Array


def batch_normalization(x: Array, *others: Array, **args: Any) -> Any:
    """See nnabla; by constant statistics."""
    rest = list(others)
    beta = None if args["no_bias"] else rest.pop(0)
    gamma = None if args["no_scale"] else rest.pop(0)
    mean, variance = rest
    scale = (variance + args["eps"]) ** -0.5
    if gamma is not None:
        scale = scale * gamma
    y = (x - mean) * scale
    return y if beta is None else y + beta


FUNCTIONS = {"batch_normalization": batch_normalization}
