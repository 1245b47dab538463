"""The most harmful rows of a ranking, with what in each made the scores of its classes."""

from __future__ import annotations

import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import build_objective, find_label
from nnabla_influence.device import choose_device
from nnabla_influence.engine import build_engine, check_differentiable
from nnabla_influence.explanation.attribution import Attribution, attribute, overlay, picture_of
from nnabla_influence.files import PathLike
from nnabla_influence.influence.relabelling import classes_of
from nnabla_influence.influence.step_engines import default_chunk_size
from nnabla_influence.options import AttributionOptions, Options
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.review.page import ShownAttribution
from nnabla_influence.review.reviewed import Reviewed
from nnabla_influence.review.thumbnails import PAGE_SIZE, data_uri
from nnabla_influence.scoring.inputs import (
    Inputs,
    Request,
    check_request,
    open_training,
    read_training,
)
from nnabla_influence.scoring.methods import BLOCK, final_checkpoint
from nnabla_influence.scoring.target import evaluate

_MOST_FEATURES = 10
_METHODS = {"gradcam": "Grad-CAM", "lime": "LIME"}


def attribute_ranked(
    reviewed: Reviewed,
    options: AttributionOptions,
    model: PathLike,
    *,
    n_rows: int,
    run: PathLike | None = None,
    parameters: PathLike | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[tuple[ShownAttribution, ...]]:
    """Find what in the most harmful rows made the scores of their given and predicted classes.

    The network is given the rows of the ranking, which is itself a dataset CSV, and predicts.

    Args:
        reviewed: The ranking.
        options: How.
        model: The network that was trained, and so on as for `score`.
        n_rows: How many rows.
        run: Run folder of the training, whose final parameters are used.
        parameters: An .h5 in place of the model file's parameters, if no run is given.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: Where to show the progress; silent by default.

    Raises:
        InfluenceError: The ranking is not of this network, or the method does not suit it.
    """
    progress = progress or SilentProgress()
    request = Request(
        model, run, None, None, None, parameters, Options("influence-function"), device
    )
    check_request(request)
    definition, found, solver = read_training(request)
    dataset = open_training(definition, reviewed.path, progress)
    inputs = Inputs(request, choose_device(device), definition, found, solver, dataset, dataset)
    check_differentiable(definition)
    context, size = inputs.device.context, default_chunk_size(definition, BLOCK)
    values = final_checkpoint(inputs).parameters
    engine = build_engine(build_objective(definition, size, context, values), context)
    rows = reviewed.rows[:n_rows]
    label, predicted = find_label(definition), evaluate(engine, dataset, rows, progress).predictions
    # A row that the loss ignores has a label below 0.
    unknown = np.full(len(rows), -1)
    given = unknown if label is None else classes_of(dataset, label, rows)
    named = [
        {"given": g, "predicted": int(p)}
        for g, p in zip(given.tolist(), unknown if predicted is None else predicted)
    ]
    classes = [[c for c in own.values() if c >= 0] for own in named]
    attributions = attribute(engine, context, dataset, rows, classes, options, progress)
    return [
        tuple(
            _shown(one, " and ".join(n for n, c in own.items() if c == one.class_), dataset, row)
            for one in of_row
        )
        for row, own, of_row in zip(rows, named, attributions)
    ]


def _shown(one: Attribution, of: str, dataset: Dataset, row: int) -> ShownAttribution:
    picture = None
    if one.column is not None and one.values is not None:
        [values] = dataset.values(one.column, np.array([row]))
        image = overlay(picture_of(values), one.values)
        image.thumbnail((PAGE_SIZE, PAGE_SIZE))
        picture = data_uri(image)
    return ShownAttribution(
        of=of,
        class_=str(one.class_),
        about=f"{_METHODS[one.method]}, {one.detail}",
        warning=one.warning,
        picture=picture,
        features=one.features[:_MOST_FEATURES],
    )
