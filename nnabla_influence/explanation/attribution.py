"""Which parts of one row made the score of a class: Grad-CAM and LIME, and how they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import nnabla as nn
import numpy as np
from PIL import Image

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import Input, Objective, find_label
from nnabla_influence.definition.losses import OutputKind, kind_of_outputs
from nnabla_influence.engine import Engine
from nnabla_influence.errors import InfluenceError, UnsupportedError
from nnabla_influence.explanation.grad_cam import find_layer, heat_maps, upsampled
from nnabla_influence.explanation.lime import (
    Predict,
    explain_features,
    explain_picture,
    superpixels,
)
from nnabla_influence.influence.relabelling import class_scores
from nnabla_influence.options import AttributionOptions
from nnabla_influence.progress import Progress
from nnabla_influence.review.columns import readable_names
from nnabla_influence.review.thumbnails import PAGE_SIZE

_FOR, _AGAINST = (230, 159, 0), (0, 114, 178)
"""Orange and blue of Okabe and Ito, which colour-blind readers tell apart."""
_COVER = 0.75
"""Of the picture, by the strongest heat."""
_ROWS = 1000
"""Of which the features' standard deviations are taken."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each part of a row did for the score of a class.

    Attributes:
        method: ``gradcam`` or ``lime``.
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

    def role(self, given: float | None, predicted: float | None) -> str:
        """Return what its class is of a row: ``given``, ``predicted``, both, or nothing."""
        roles = ("given", given), ("predicted", predicted)
        return " and ".join(role for role, class_ in roles if class_ == self.class_)

    def picture(self, dataset: Dataset, row: int) -> Image.Image | None:
        """Return the picture of the row that it is of, covered by `overlay`; None of a table."""
        if self.column is None or self.values is None:
            return None
        [values] = dataset.values(self.column, np.array([row]))
        return overlay(picture_of(values), self.values)


class _Features(NamedTuple):
    """The features of a table, with their standard deviations over its rows."""

    names: Sequence[str]
    deviations: np.ndarray


def attribute(
    engine: Engine,
    context: nn.Context,
    dataset: Dataset,
    rows: np.ndarray,
    classes: Sequence[Sequence[int]],
    options: AttributionOptions,
    progress: Progress,
    train: Dataset | None = None,
) -> list[tuple[Attribution, ...]]:
    """Return, for each row, an attribution for each of its classes, each class once.

    Args:
        engine: The network, in test mode, at the parameters that its objective was built with.
        context: Where it computes.
        dataset: The rows' data.
        rows: Their numbers, shape ``(n,)``.
        classes: Of each row, such as the given and the predicted one. Those below 0 are left out,
            such as the label of a row that the loss ignores.
        options: How.
        progress: Where to show the progress.
        train: The data whose features' standard deviations LIME of a table uses; by default
            ``dataset``.

    Raises:
        InfluenceError: The network does not have that class or that layer.
        UnsupportedError: The method does not suit the network.
    """
    if options.method == "auto" and not _suits_grad_cam(engine.objective):
        return [()] * len(rows)
    distinct = [tuple(dict.fromkeys(c for c in own if c >= 0)) for own in classes]
    _check_classes(engine.objective, distinct)
    if options.method == "lime":
        return _by_lime(engine, dataset, rows, distinct, options, train or dataset, progress)
    return _by_grad_cam(engine.objective, context, dataset, rows, distinct, options, progress)


def _suits_grad_cam(objective: Objective) -> bool:
    try:
        n_classes(objective)
        find_layer(objective)
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
            f"{objective.definition.path}: predicts no single class, such as a regression, so no"
            " class has a score to explain; use none"
        )
    if kind in (OutputKind.LOGIT, OutputKind.PROBABILITY):
        return 2
    return int(np.prod(objective.outputs.shape[1:]))


def _check_classes(objective: Objective, classes: Sequence[Sequence[int]]) -> None:
    n = n_classes(objective)
    for c in (c for own in classes for c in own):
        if c >= n:
            raise InfluenceError(
                f"{objective.definition.path}: has no class {c}; its classes are 0 to {n - 1}"
            )


def _by_grad_cam(
    objective: Objective,
    context: nn.Context,
    dataset: Dataset,
    rows: np.ndarray,
    classes: Sequence[Sequence[int]],
    options: AttributionOptions,
    progress: Progress,
) -> list[tuple[Attribution, ...]]:
    layer = find_layer(objective, options.layer)
    # Each score is a class's own output; of one logit, that of class 1, and its negative.
    one = kind_of_outputs(objective.definition) in (OutputKind.LOGIT, OutputKind.PROBABILITY)
    of_classes = np.array([[-1.0], [1.0]]) if one else np.eye(n_classes(objective))
    shape = objective.inputs[layer.column].shape[2:]
    of_rows = np.repeat(rows, [len(own) for own in classes])
    chosen = of_classes[[c for own in classes for c in own]]
    with progress.stage("Grad-CAM", len(of_rows), "pictures") as stage:
        maps = iter(heat_maps(objective, context, layer, dataset.batch, of_rows, chosen, stage))

    def attribution(c: int) -> Attribution:
        heat = next(maps)
        return Attribution(
            method="gradcam",
            class_=c,
            column=layer.column,
            values=upsampled(heat, shape),
            features=(),
            detail=f"layer {layer.name}",
            warning="" if heat.any() else "nothing in this layer speaks for the class",
        )

    return [tuple(map(attribution, own)) for own in classes]


def _by_lime(
    engine: Engine,
    dataset: Dataset,
    rows: np.ndarray,
    classes: Sequence[Sequence[int]],
    options: AttributionOptions,
    train: Dataset,
    progress: Progress,
) -> list[tuple[Attribution, ...]]:
    explained = _explained_inputs(engine.objective)
    picture = explained[0].column if _is_picture(explained[0]) else None
    table = _features(train, explained) if picture is None else None
    how = {"samples": options.samples, "seed": options.seed}
    found = []
    with progress.stage("LIME", len(rows), "rows") as stage:
        for row, own in zip(rows, classes):
            batch = dataset.batch(np.array([row]))
            predict = _predictor(engine, batch, explained)
            segments = None
            if table is None:
                [value] = batch[explained[0].column]
                segments = superpixels(value)
                models = explain_picture(predict, value, segments, own, **how)
            else:
                values = np.concatenate([batch[i.column].reshape(-1) for i in explained])
                models = explain_features(predict, values, table.deviations, own, **how)
            found.append(
                tuple(
                    Attribution(
                        method="lime",
                        class_=c,
                        column=picture,
                        values=None if segments is None else model.weights[segments],
                        features=() if table is None else _strongest(table.names, model.weights),
                        detail=f"{options.samples} samples, seed {options.seed}, R² {model.r2:.2f}",
                        warning=model.warning(options.samples),
                    )
                    for c, model in zip(own, models)
                )
            )
            stage.update()
    return found


def _explained_inputs(objective: Objective) -> tuple[Input, ...]:
    """Return what LIME changes: a picture, or all numbers. Category numbers stay as they are."""
    definition, label = objective.definition, find_label(objective.definition)
    numbers = [i for i in definition.inputs if i.n_classes is None]
    features = tuple(i for i in numbers if label is None or i.column != label.column)
    if not features:
        raise UnsupportedError(
            f"{definition.path}: reads category numbers only, which LIME cannot change a little;"
            " use none"
        )
    return tuple(filter(_is_picture, features))[:1] or features


def _is_picture(of: Input) -> bool:
    return len(of.shape) in (2, 3) and min(of.shape[-2:]) > 1


def _predictor(
    engine: Engine, batch: Mapping[str, np.ndarray], explained: Sequence[Input]
) -> Predict:
    """Return the class scores of a row with other values of some inputs."""
    ends = np.cumsum([np.prod(i.shape, dtype=int) for i in explained])[:-1]

    def predict(values: np.ndarray) -> np.ndarray:
        n = len(values)
        inputs = {name: np.repeat(own, n, axis=0) for name, own in batch.items()}
        for i, part in zip(explained, np.split(values.reshape(n, -1), ends, axis=1)):
            inputs[i.column] = part.reshape(n, *i.shape).astype(np.float32)
        scores = class_scores(engine.objective.definition, engine.outputs(inputs).values)
        assert scores is not None  # there are classes
        return scores

    return predict


def _features(dataset: Dataset, explained: Sequence[Input]) -> _Features:
    some = np.linspace(0, len(dataset) - 1, min(len(dataset), _ROWS)).astype(np.int64)
    names: list[str] = []
    deviations = []
    for i in explained:
        columns = [c for c in dataset.columns if c.name == i.column and not c.is_comment]
        size = int(np.prod(i.shape))
        in_file = [f"{i.column}__{k}" for k in range(size)]
        names += readable_names(columns) if len(columns) == size else in_file
        deviations.append(dataset.values(i.column, some).reshape(len(some), -1).std(axis=0))
    return _Features(names, np.concatenate(deviations))


def _strongest(names: Sequence[str], weights: np.ndarray) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-np.abs(weights), kind="stable")
    return tuple((names[k], float(weights[k])) for k in order)


def picture_of(values: np.ndarray) -> Image.Image:
    """Return a row's picture, (height, width) or (channels, height, width), in grey."""
    grey = values.reshape(-1, *values.shape[-2:]).mean(axis=0, dtype=np.float64)
    least, most = min(grey.min(), 0), max(grey.max(), 1)
    return Image.fromarray(np.rint(255 * (grey - least) / (most - least)).astype(np.uint8))


def overlay(picture: Image.Image, values: np.ndarray) -> Image.Image:
    """Return a picture in grey, covered in orange where values speak for a class, in blue against.

    A small one is enlarged by a whole number.

    Args:
        picture: The row's, (height, width).
        values: Those of an `Attribution`, likewise.
    """
    factor = max(PAGE_SIZE // max(picture.size), 1)
    size = (picture.width * factor, picture.height * factor)
    most = np.abs(values).max()
    share = _COVER * np.abs(values) / (most if most > 0 else 1)
    colors = np.where(values[..., None] >= 0, _FOR, _AGAINST)
    grey = np.asarray(picture.convert("L"), np.float64)[..., None]
    pixels = grey + share[..., None] * (colors - grey)
    return Image.fromarray(np.rint(pixels).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
