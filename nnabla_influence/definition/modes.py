"""The modes of a network: how layers act that differ between training and use."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nnabla_influence.definition.graph import Graph, Node, Shape
from nnabla_influence.definition.unrolled import matching_names
from nnabla_influence.errors import UnsupportedError

_CROPPING_LAYERS = ("RandomCrop", "ImageAugmentation")
RANDOM_LAYERS = ("Dropout", "RandomFlip", "RandomShift", "RandomErase", *_CROPPING_LAYERS)
_RANDOM_SOURCES = re.compile("Rand(int|n|Binomial|Beta|Gamma|omChoice)?|VATNoise")
_NORMALIZATIONS = {
    "BatchNormalization": "batch_normalization_param",
    "FusedBatchNormalization": "fused_batch_normalization_param",
    "SyncBatchNormalization": "sync_batch_normalization_param",
}


@dataclass(frozen=True)
class Mode:
    """How the layers of an objective act that differ between training and use.

    Attributes:
        batch_statistics: Whether batch normalisations use the statistics of the mini-batch, so that
            a loss depends on the whole mini-batch, and not the running ones.
        random: Whether the random layers act, with what they drew as inputs.
        statistics_as_parameters: Whether derivatives are taken by the running statistics, too.
    """

    batch_statistics: bool = False
    random: bool = False
    statistics_as_parameters: bool = False

    TEST: ClassVar[Mode]
    """As in use: an example's loss is its own."""
    TRAINING: ClassVar[Mode]
    """As in training."""
    BATCH: ClassVar[Mode]
    """As in training, without the random layers."""
    VALIDATION: ClassVar[Mode]
    """As in use, with the gradient that reaches the running statistics."""


Mode.TEST = Mode()
Mode.TRAINING = Mode(batch_statistics=True, random=True)
Mode.BATCH = Mode(batch_statistics=True)
Mode.VALIDATION = Mode(statistics_as_parameters=True)


def set_mode(path: Path, network: Any, data: Iterable[str], mode: Mode = Mode.TEST) -> None:
    """Edit a proto network in place, so that its layers act as in a mode.

    In TEST mode, batch normalisations use their running statistics; in the others they stay as the
    file has them, and `Normalizations` builds them. If nothing is random, dropout and augmentations
    are removed; where an augmentation also crops, the centre is cut out.

    Args:
        path: The model file, for messages.
        network: The proto network.
        data: The names of the inputs that hold examples.
        mode: The mode.
    """
    graph = Graph.of(network)
    computed = graph.downstream(graph.parameter_names)
    meaningful = graph.downstream([*data, *graph.parameter_names])
    for node in graph.nodes:
        function, where = node.proto, f"{path}: the function {node.type} (layer {node.name!r})"
        if node.type in _NORMALIZATIONS:
            if mode == Mode.TEST:
                getattr(function, _NORMALIZATIONS[node.type]).batch_stat = False
        elif node.type == "FusedConvolution":
            if not mode.random:
                function.fused_convolution_param.batch_stat = False
        elif node.type == "MeanSubtraction":
            if not mode.random:
                if node.inputs[0] not in computed:
                    function.mean_subtraction_param.update_running_mean = False
            elif function.mean_subtraction_param.update_running_mean:
                raise UnsupportedError(
                    f"{where} changes a running mean that the training's loss depends on, which"
                    " exact scores do not follow; choose method final, or subtract the mean from"
                    " the dataset and train again"
                )
        elif _RANDOM_SOURCES.fullmatch(node.type) or (
            # Shifting or dropping out a constant makes a random mask, as in cutout.
            node.type in RANDOM_LAYERS and node.inputs[0] not in meaningful
        ):
            raise UnsupportedError(
                f"{where} makes random numbers, so the loss of an example has no single value;"
                " train without it"
            )
        elif node.type in RANDOM_LAYERS and not mode.random:
            _remove(where, node, graph.shapes[node.inputs[0]], graph.shapes[node.outputs[0]])


def set_batch_statistics(network: Any, moved: Collection[str]) -> None:
    """Let only batch normalisations with these running statistics use batch statistics."""
    for function in network.function:
        if function.type in _NORMALIZATIONS:
            own = any(matching_names(name, moved) for name in function.input)
            getattr(function, _NORMALIZATIONS[function.type]).batch_stat = own


def _remove(where: str, node: Node, before: Shape, after: Shape) -> None:
    function, before, after = node.proto, before[1:], after[1:]
    if node.type == "ImageAugmentation":
        settings = function.image_augmentation_param
        if not settings.min_scale <= 1.0 <= settings.max_scale:
            raise UnsupportedError(
                f"{where} always scales, by {settings.min_scale:g} to {settings.max_scale:g}, so it"
                " cannot be removed; scale the images of the dataset instead"
            )
    function.ClearField(function.WhichOneof("parameter"))
    if before == after:
        function.type = "Identity"
        return
    if (
        node.type not in _CROPPING_LAYERS
        or len(before) != len(after)
        or any(a > b for a, b in zip(after, before))
    ):
        raise UnsupportedError(
            f"{where} turns shape {before} into {after} in a way that has no form without"
            " randomness; train without it"
        )
    function.type = "Slice"
    for b, a in zip(before, after):
        start = (b - a) // 2
        function.slice_param.start.append(start)
        function.slice_param.stop.append(start + a)
        function.slice_param.step.append(1)
