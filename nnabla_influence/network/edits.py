"""Test mode: the training network without its randomness and its batch statistics."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nnabla_influence.errors import UnsupportedError
from nnabla_influence.network.graph import downstream, shapes

_RANDOM_LAYERS = (
    *("Dropout", "RandomFlip", "RandomShift", "RandomErase", "RandomCrop", "ImageAugmentation"),
)
_CROPPING_LAYERS = ("RandomCrop", "ImageAugmentation")
_RANDOM_SOURCES = (
    *("Rand", "Randint", "Randn", "RandBinomial", "RandBeta", "RandGamma", "RandomChoice"),
    "VATNoise",
)


def to_test_mode(path: Path, network: Any, data: Iterable[str]) -> None:
    """Edit a proto network in place, so that it computes what the validation network does.

    Batch normalisations use their running statistics. Dropout and augmentations are taken out;
    where an augmentation also crops, the centre is cut out.

    Args:
        path: The model file, for messages.
        network: The proto network.
        data: The names of the inputs that hold examples.

    Raises:
        UnsupportedError: A random function has no such form.
    """
    shape_of = shapes(network)
    parameters = [v.name for v in network.variable if v.type == "Parameter"]
    meaningful = downstream(network, [*data, *parameters])
    for function in network.function:
        if function.type == "BatchNormalization":
            function.batch_normalization_param.batch_stat = False
        elif function.type == "FusedBatchNormalization":
            function.fused_batch_normalization_param.batch_stat = False
        elif function.type == "FusedConvolution":
            function.fused_convolution_param.batch_stat = False
        elif function.type == "SyncBatchNormalization":
            function.sync_batch_normalization_param.batch_stat = False
        elif function.type in _RANDOM_SOURCES or (
            # Shifting or dropping out a constant makes a random mask, as in cutout.
            function.type in _RANDOM_LAYERS and function.input[0] not in meaningful
        ):
            raise UnsupportedError(
                f"{path}: the function {function.type} (layer {function.name!r}) makes random"
                " numbers, so the loss of an example has no single value; train without it to"
                " score"
            )
        elif function.type in _RANDOM_LAYERS:
            _take_out(path, function, shape_of[function.input[0]], shape_of[function.output[0]])


def _take_out(path: Path, function: Any, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    kind = function.type
    before, after = before[1:], after[1:]
    if kind == "ImageAugmentation":
        settings = function.image_augmentation_param
        if not settings.min_scale <= 1.0 <= settings.max_scale:
            raise UnsupportedError(
                f"{path}: the function {kind} (layer {function.name!r}) always scales, by"
                f" {settings.min_scale:g} to {settings.max_scale:g}, so it cannot be taken out;"
                " scale the images of the dataset instead"
            )
    parameter = function.WhichOneof("parameter")
    if parameter is not None:
        function.ClearField(parameter)
    if before == after:
        function.type = "Identity"
        return
    if (
        kind not in _CROPPING_LAYERS
        or len(before) != len(after)
        or any(a > b for a, b in zip(after, before))
    ):
        raise UnsupportedError(
            f"{path}: the function {kind} (layer {function.name!r}) turns shape {before} into"
            f" {after}, which has no certain form without randomness; train without it to score"
        )
    function.type = "Slice"
    for b, a in zip(before, after):
        start = (b - a) // 2
        function.slice_param.start.append(start)
        function.slice_param.stop.append(start + a)
        function.slice_param.step.append(1)
