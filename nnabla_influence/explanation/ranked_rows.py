"""The most harmful rows of a ranking, with what in each made the scores of its classes."""

from __future__ import annotations

from nnabla_influence.definition import build_objective, find_label
from nnabla_influence.device import choose_device
from nnabla_influence.engine import build_engine, check_differentiable
from nnabla_influence.explanation.attribution import attribute
from nnabla_influence.explanation.attribution_page import shown
from nnabla_influence.files import PathLike
from nnabla_influence.influence.relabelling import classes_of
from nnabla_influence.influence.step_engines import default_chunk_size
from nnabla_influence.options import AttributionOptions, Options
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.review.page import ShownAttribution
from nnabla_influence.review.reviewed import Reviewed
from nnabla_influence.scoring.inputs import (
    Inputs,
    Request,
    check_request,
    open_training,
    read_training,
)
from nnabla_influence.scoring.methods import BLOCK, final_checkpoint
from nnabla_influence.scoring.target import evaluate


def attribute_ranked(
    reviewed: Reviewed,
    attribution: AttributionOptions,
    model: PathLike,
    *,
    n_rows: int,
    run: PathLike | None = None,
    parameters: PathLike | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[tuple[ShownAttribution, ...]]:
    """Find what in the most harmful rows made the scores of their given and predicted classes.

    The rows are read from the ranking, which is itself a dataset CSV; the network predicts them.

    Args:
        reviewed: The ranking.
        attribution: How.
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
    request = Request(model, run, None, None, None, parameters, Options(), device)
    check_request(request)
    definition, recorded, solver = read_training(request)
    check_differentiable(definition)
    dataset = open_training(definition, reviewed.path, progress)
    inputs = Inputs(request, choose_device(device), definition, recorded, solver, dataset, dataset)
    values = final_checkpoint(inputs).parameters
    context, size = inputs.device.context, default_chunk_size(definition, BLOCK)
    engine = build_engine(build_objective(definition, size, context, values), context)

    rows = reviewed.rows[:n_rows]
    label, predicted = find_label(definition), evaluate(engine, dataset, rows, progress).predictions
    classes: list[tuple[int, ...]] = [()] * len(rows)
    if label is not None and predicted is not None:
        given = classes_of(dataset, label, rows).tolist()
        classes = list(zip(given, predicted.astype(int).tolist()))
    found = attribute(engine, context, dataset, rows, classes, attribution, progress)
    return [
        tuple(shown(dataset, row, one, *own) for one in of_row)
        for row, own, of_row in zip(rows, classes, found)
    ]
