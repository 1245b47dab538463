"""What the NumPy engine does not compute; a network with such a function goes to nnabla's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nnabla_influence.engine.functions import named
from nnabla_influence.engine.numpy_functions import NP
from nnabla_influence.engine.numpy_functions.pairs import PAIRS


def computes(kind: str, args: Mapping[str, Any]) -> bool:
    """Return whether a function of nnabla, with these arguments, has a form in NumPy."""
    if kind not in PAIRS and named(NP, kind) is None:
        return False
    return kind not in _LIMITS or _LIMITS[kind](args)


def _images(args: Mapping[str, Any]) -> bool:
    return len(args["pad"]) <= 2 and not args.get("channel_last", False)


def _einsum(args: Mapping[str, Any]) -> bool:
    given, arrow, _ = args["equation"].replace(" ", "").partition("->")
    once = all(len(set(letters)) == len(letters) for letters in given.split(","))
    return bool(arrow) and once and "." not in given


_LIMITS: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "Convolution": _images,
    "Deconvolution": _images,
    "Einsum": _einsum,
    "MeanSubtraction": lambda args: not args["update_running_mean"],
}
"""By nnabla's type of function, whether its arguments are ones that NumPy's function knows."""
