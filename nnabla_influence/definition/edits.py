"""Test mode: the training network without its randomness and its batch statistics."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from nnabla_influence.definition.expansion import matching_names
from nnabla_influence.definition.graph import downstream, shapes
from nnabla_influence.definition.mode import Mode
from nnabla_influence.errors import UnsupportedError

_NORMALIZATIONS = {
    "BatchNormalization": "batch_normalization_param",
    "FusedBatchNormalization": "fused_batch_normalization_param",
    "SyncBatchNormalization": "sync_batch_normalization_param",
}

RANDOM_LAYERS = (
    *("Dropout", "RandomFlip", "RandomShift", "RandomErase", "RandomCrop", "ImageAugmentation"),
)
_CROPPING_LAYERS = ("RandomCrop", "ImageAugmentation")
_RANDOM_SOURCES = (
    *("Rand", "Randint", "Randn", "RandBinomial", "RandBeta", "RandGamma", "RandomChoice"),
    "VATNoise",
)


def to_test_mode(path: Path, network: Any, data: Iterable[str], mode: Mode = Mode.TEST) -> None:
    """Edit a proto network in place, so that it computes what the validation network does.

    Batch normalisations use their running statistics if ``mode`` is TEST; else they stay as the
    file has them, to be built as the mode wants them (`Normalizations`). Dropout and augmentations
    are taken out, if ``mode`` is not TRAINING; where an augmentation also crops, the centre is cut
    out.

    Args:
        path: The model file, for messages.
        network: The proto network.
        data: The names of the inputs that hold examples.
        mode: Of the objective.

    Raises:
        UnsupportedError: A random function has no such form, or training changes a function's own
            state in a way that TRAINING mode does not follow.
    """
    shape_of = shapes(network)
    parameters = [v.name for v in network.variable if v.type == "Parameter"]
    meaningful = downstream(network, [*data, *parameters])
    for function in network.function:
        if function.type in _NORMALIZATIONS:
            if mode is Mode.TEST:
                getattr(function, _NORMALIZATIONS[function.type]).batch_stat = False
        elif function.type == "FusedConvolution":
            if mode is not Mode.TRAINING:
                function.fused_convolution_param.batch_stat = False
        elif (
            mode is Mode.TRAINING
            and function.type == "MeanSubtraction"
            and function.mean_subtraction_param.update_running_mean
        ):
            raise UnsupportedError(
                f"{path}: the function MeanSubtraction (layer {function.name!r}) moves a running"
                " mean that the training's loss depends on, which exact scores do not follow;"
                " choose method final, or subtract the mean from the dataset and train again"
            )
        elif function.type in _RANDOM_SOURCES or (
            # Shifting or dropping out a constant makes a random mask, as in cutout.
            function.type in RANDOM_LAYERS and function.input[0] not in meaningful
        ):
            raise UnsupportedError(
                f"{path}: the function {function.type} (layer {function.name!r}) makes random"
                " numbers, so the loss of an example has no single value; train without it to"
                " score"
            )
        elif function.type in RANDOM_LAYERS and mode is not Mode.TRAINING:
            _take_out(path, function, shape_of[function.input[0]], shape_of[function.output[0]])


def set_batch_statistics(network: Any, moved: Collection[str]) -> None:
    """Let those batch normalisations of a proto network, and no others, use batch statistics.

    Args:
        network: The proto network.
        moved: The names of their running statistics.
    """
    for function in network.function:
        if function.type in _NORMALIZATIONS:
            own = any(matching_names(name, list(moved)) for name in function.input)
            getattr(function, _NORMALIZATIONS[function.type]).batch_stat = own


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
