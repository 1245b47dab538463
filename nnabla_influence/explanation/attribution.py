"""Which parts of one row made the score of a class: Grad-CAM and LIME, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import nnabla as nn
import numpy as np
from PIL import Image

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import Objective
from nnabla_influence.definition.losses import OutputKind, kind_of_outputs
from nnabla_influence.engine import Engine
from nnabla_influence.errors import InfluenceError, UnsupportedError
from nnabla_influence.explanation.grad_cam import find_layer, heat_maps, upsampled
from nnabla_influence.options import check_count
from nnabla_influence.progress import Progress

METHODS = ("gradcam", "lime")
AUTO = "auto"

_FOR, _AGAINST = (230, 159, 0), (0, 114, 178)
"""Orange and blue of Okabe and Ito, which colour-blind readers tell apart."""
_COVER = 0.75
"""Of the picture, by the strongest heat."""
_SHOWN_SIZE = 128


@dataclass(frozen=True)
class AttributionOptions:
    """How the parts of a row are weighed; the values are checked.

    Attributes:
        method: ``gradcam``, ``lime`` or ``auto``: gradcam where the network classifies pictures
            with convolutions, else nothing.
        layer: For gradcam, the layer's name; None for what the last convolution leads to.
        samples: For lime, how many changed rows the network is given.
        seed: For lime, of the changes.

    Raises:
        InfluenceError: A value is none of these.
    """

    method: str = "gradcam"
    layer: str | None = None
    samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in (AUTO, *METHODS):
            known = ", ".join((AUTO, *METHODS))
            raise InfluenceError(f"explain {self.method!r} is unknown; use one of {known}")
        check_count("samples", self.samples)
        check_count("seed", self.seed, 0)
        if self.layer is not None and self.method == "lime":
            raise InfluenceError(f"layer {self.layer!r} does not go with lime; use gradcam")


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each part of a row did for the score of a class.

    Attributes:
        method: One of `METHODS`.
        class_: The class.
        column: The dataset's column of the picture; None for a table.
        values: Of each pixel, (height, width). Grad-CAM: from 0 to 1, of the largest in the
            picture; LIME: the weight of the pixel's superpixel, below 0 against the class. None for
            a table.
        features: Of a table, each feature with its weight, the largest first, whatever its sign.
        detail: Such as ``layer ReLU_2``.
        warning: Why not to rely on it, in a few words; empty where nothing is known.
    """

    method: str
    class_: int
    column: str | None
    values: np.ndarray | None
    features: tuple[tuple[str, float], ...]
    detail: str
    warning: str = ""


def attribute(
    engine: Engine,
    context: nn.Context,
    dataset: Dataset,
    rows: np.ndarray,
    classes: Sequence[Sequence[int]],
    options: AttributionOptions,
    progress: Progress,
) -> list[tuple[Attribution, ...]]:
    """Return, for each row, an attribution for each of its classes, each class once.

    Args:
        engine: The network, in test mode, at the parameters that its objective was built with.
        context: Where it computes.
        dataset: The rows' data.
        rows: Their numbers, shape ``(n,)``.
        classes: Of each row, such as the given and the predicted one.
        options: How.
        progress: Where to show the progress.

    Raises:
        InfluenceError: There is no such class, or no such layer.
        UnsupportedError: The method does not suit the network.
    """
    if options.method == AUTO and not can_attribute(engine, dataset, "gradcam"):
        return [()] * len(rows)
    _check_classes(engine.objective, classes)
    distinct = [tuple(dict.fromkeys(own)) for own in classes]
    pairs = [(int(row), c) for row, own in zip(rows, distinct) for c in own]
    found = iter(_by_grad_cam(engine.objective, context, dataset, pairs, options, progress))
    return [tuple(next(found) for _ in own) for own in distinct]


def can_attribute(engine: Engine, dataset: Dataset, method: str) -> bool:
    """Whether a method suits a network without further choice, such as that of a layer."""
    try:
        n_classes(engine.objective)
        if method == "gradcam":
            find_layer(engine.objective)
    except UnsupportedError:
        return False
    return True


def n_classes(objective: Objective) -> int:
    """Return C.

    Raises:
        UnsupportedError: The network predicts no single class.
    """
    kind = kind_of_outputs(objective.definition)
    if kind is None or objective.outputs is None:
        raise UnsupportedError(
            f"{objective.definition.path}: predicts no single class, such as a regression, so there"
            " is no score of a class to explain; use none"
        )
    if kind in (OutputKind.LOGIT, OutputKind.PROBABILITY):
        return 2
    return int(np.prod(objective.outputs.shape[1:]))


def _check_classes(objective: Objective, classes: Sequence[Sequence[int]]) -> None:
    n = n_classes(objective)
    for c in (c for own in classes for c in own):
        if not 0 <= c < n:
            raise InfluenceError(
                f"{objective.definition.path}: has no class {c}; its classes are 0 to {n - 1}"
            )


def _by_grad_cam(
    objective: Objective,
    context: nn.Context,
    dataset: Dataset,
    pairs: Sequence[tuple[int, int]],
    options: AttributionOptions,
    progress: Progress,
) -> list[Attribution]:
    layer = find_layer(objective, options.layer)
    # Each score is a class's own output; of one logit, that of class 1, and its negative.
    one = kind_of_outputs(objective.definition) in (OutputKind.LOGIT, OutputKind.PROBABILITY)
    of_classes = np.array([[-1.0], [1.0]]) if one else np.eye(n_classes(objective))
    rows, chosen = np.array(pairs, np.int64).reshape(-1, 2).T
    with progress.stage("Grad-CAM", len(pairs), "pictures") as stage:
        heat = heat_maps(objective, context, layer, dataset.batch, rows, of_classes[chosen], stage)
    shape = objective.inputs[layer.column].shape[2:]
    return [
        Attribution(
            method="gradcam",
            class_=c,
            column=layer.column,
            values=upsampled(one_heat, shape),
            features=(),
            detail=f"layer {layer.name}",
            warning="" if one_heat.any() else "nothing in this layer speaks for the class",
        )
        for (_, c), one_heat in zip(pairs, heat)
    ]


def picture_of(values: np.ndarray) -> Image.Image:
    """Return a row's picture, (height, width) or (channels, height, width), in grey."""
    grey = values.reshape(-1, *values.shape[-2:]).mean(axis=0, dtype=np.float64)
    least, most = min(grey.min(), 0), max(grey.max(), 1)
    return Image.fromarray(np.rint(255 * (grey - least) / (most - least)).astype(np.uint8))


def overlay(picture: Image.Image, values: np.ndarray) -> Image.Image:
    """Return a picture in grey, covered in orange where values speak for a class, in blue against.

    A small one is enlarged by a whole number.

    Args:
        picture: The row's.
        values: Those of an `Attribution`.
    """
    factor = max(_SHOWN_SIZE // max(picture.size), 1)
    size = (picture.width * factor, picture.height * factor)
    if values.shape[::-1] != picture.size:
        values = np.asarray(
            Image.fromarray(values.astype(np.float32)).resize(
                picture.size, Image.Resampling.BILINEAR
            )
        )
    most = np.abs(values).max()
    share = _COVER * np.abs(values) / (most if most > 0 else 1)
    colors = np.where(values[..., None] >= 0, _FOR, _AGAINST)
    grey = np.asarray(picture.convert("L"), np.float64)[..., None]
    pixels = grey + share[..., None] * (colors - grey)
    return Image.fromarray(np.rint(pixels).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
