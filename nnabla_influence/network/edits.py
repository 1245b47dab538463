"""Test mode: the training network with its randomness and its batch statistics taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnabla_influence.errors import UnsupportedError
from nnabla_influence.network.graph import shapes

_TO_IDENTITY = (
    "Dropout",
    "RandomFlip",
    "RandomShift",
    "RandomErase",
    "RandomCrop",
    "ImageAugmentation",
)
_RANDOM = (
    "Rand",
    "Randint",
    "Randn",
    "RandBinomial",
    "RandBeta",
    "RandGamma",
    "RandomChoice",
    "VATNoise",
)


def to_test_mode(path: Path, network: Any) -> None:
    """Edit a proto network in place, so that it computes what the validation network does.

    BatchNormalization uses its running statistics; Dropout and augmentation are taken out, and
    where an augmentation also crops, the centre is cut out.

    Raises:
        UnsupportedError: A random function has no such form.
    """
    shape_of = shapes(network)
    for function in network.function:
        if function.type == "BatchNormalization":
            function.batch_normalization_param.batch_stat = False
        elif function.type == "FusedBatchNormalization":
            function.fused_batch_normalization_param.batch_stat = False
        elif function.type == "SyncBatchNormalization":
            _unsync(function)
        elif function.type == "FusedConvolution":
            function.fused_convolution_param.batch_stat = False
        elif function.type in _TO_IDENTITY:
            _neutralise(path, function, shape_of[function.input[0]], shape_of[function.output[0]])
        elif function.type in _RANDOM:
            raise UnsupportedError(
                f"{path}: the function {function.type} (layer {function.name!r}) is random, and no"
                " form of it is certain to be what training saw; remove it to score"
            )


def _unsync(function: Any) -> None:
    settings = function.sync_batch_normalization_param
    axes, decay_rate, eps = list(settings.axes), settings.decay_rate, settings.eps
    function.type = "BatchNormalization"
    function.batch_normalization_param.axes.extend(axes)
    function.batch_normalization_param.decay_rate = decay_rate
    function.batch_normalization_param.eps = eps
    function.batch_normalization_param.batch_stat = False


def _neutralise(path: Path, function: Any, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    kind = function.type
    function.ClearField(function.WhichOneof("parameter") or "dropout_param")
    if before == after:
        function.type = "Identity"
    elif kind in ("ImageAugmentation", "RandomCrop") and all(
        a <= b for a, b in zip(after[1:], before[1:])
    ):
        starts = [(b - a) // 2 for a, b in zip(after[1:], before[1:])]
        function.type = "Slice"
        function.slice_param.start.extend(starts)
        function.slice_param.stop.extend(s + a for s, a in zip(starts, after[1:]))
        function.slice_param.step.extend(1 for _ in starts)
    else:
        raise UnsupportedError(
            f"{path}: the function {kind} (layer {function.name!r}) turns shape {before[1:]} into"
            f" {after[1:]}, which has no certain form without randomness; remove it to score"
        )
