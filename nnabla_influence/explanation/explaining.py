"""From a trained network and evaluated rows to the training rows behind each answer.

The score of training row j for evaluated row i is its influence function with the loss of row i
alone as the target (`nnabla_influence.influence.influence_functions`), or its margin, which orders
the training rows alike, since it is a function of that loss. The rows are solved for at once, a
block at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnabla_influence import files
from nnabla_influence.definition import find_label
from nnabla_influence.definition.losses import kind_of_outputs
from nnabla_influence.errors import InfluenceError, OutputError, UnsupportedError
from nnabla_influence.explanation.attribution import Attribution, attribute
from nnabla_influence.explanation.causes import causes_of, rank, solve_for
from nnabla_influence.explanation.explanation import Answer, Explanation, class_names, is_table
from nnabla_influence.explanation.page import write_page
from nnabla_influence.files import PathLike
from nnabla_influence.influence.relabelling import evaluated_classes
from nnabla_influence.influence.targets import Target, target_of
from nnabla_influence.options import AttributionOptions, Options
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.review.page import check_outputs
from nnabla_influence.scoring.inputs import (
    Inputs,
    Request,
    check_output,
    check_request,
    read_inputs,
)
from nnabla_influence.scoring.methods import Method
from nnabla_influence.scoring.scoring import method_without_steps
from nnabla_influence.scoring.target import evaluate

MOST_ON_PAGE, MOST = 200, 1000
"""Rows that may be explained at once."""
TARGETS = ("loss", "margin")

_AT_ONCE = 64
_VALUES = 2**22
"""Of the solutions at once, of which conjugate gradients hold half a dozen copies."""


def explain(
    model: PathLike,
    *,
    rows: Sequence[int] | None,
    run: PathLike | None = None,
    train: PathLike | None = None,
    validation: PathLike | None = None,
    parameters: PathLike | None = None,
    output: PathLike | None = None,
    table: PathLike | None = None,
    ranking: PathLike | None = None,
    target: str = "loss",
    attribution: AttributionOptions | None = None,
    pictures: PathLike | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Explanation:
    """Find the training rows that raise, and that lower, the losses of evaluated rows most.

    Args:
        model: As for `score`, and so on.
        rows: Numbers of the evaluated rows; None for all of the CSV.
        run: Run folder of the training, whose final parameters are used.
        train: The training CSV; by default the one that the model file names.
        validation: The CSV of the evaluated rows; by default the model file's validation CSV.
        parameters: An .h5 in place of the model file's parameters, if no run is given.
        output: The page to write, .html, of at most `MOST_ON_PAGE` rows; None for nowhere.
        table: The CSV of all scores to write; None for nowhere.
        ranking: The ranking of the training rows by their mean influence on the evaluated rows to
            write, as `score` writes one; with it the page takes decisions. None for nowhere.
        target: ``loss`` of each row, or the ``margin`` of its class, for which the loss without the
            opponents cannot fall below 0.
        attribution: How to find what in each row made the scores of its given and its predicted
            class, for the page and the pictures; None for not at all.
        pictures: The folder to write that into as PNG files; None for nowhere.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: Where to show the progress; silent by default.

    Raises:
        InfluenceError: Something that the user can act on; see `nnabla_influence.errors`.
    """
    progress = progress or SilentProgress()
    if target not in TARGETS:
        raise InfluenceError(f"target {target!r} is unknown; use one of {', '.join(TARGETS)}")
    options = Options("influence-function", validation_rows=rows, target=target)
    request = Request(model, run, train, validation, ranking, parameters, options, device)
    check_request(request)
    check_outputs(model, page=output, proposals=ranking)
    if pictures is not None:
        attribution = _for_pictures(pictures, attribution)
    inputs = read_inputs(request, progress)
    check_output(inputs)
    _check_number(len(inputs.validation_rows), output)
    if table is not None:
        _check_table(table, inputs)
    method = method_without_steps(inputs, progress)
    if method.of_rows.objective.outputs is None:
        raise UnsupportedError(
            f"{inputs.definition.path}: its answers cannot be explained, since its loss is not one"
            " comparison of outputs with a target; use score, with --validation-rows"
        )
    with without_futile_imports():
        explanation = _explained(inputs, method, attribution, progress)
    found = [one for answer in explanation.answers for one in answer.attributions]
    if pictures is not None and all(one.values is None for one in found):
        raise InfluenceError(
            f"{inputs.validation.path}: has no pictures, so there are none to write to"
            f" {pictures}; see the features on the page"
        )
    if explanation.ranking is not None and ranking is not None:
        explanation.ranking.write(ranking)
    if output is not None:
        write_page(explanation, output, ranking, progress)
    if table is not None:
        explanation.write_table(table)
    if pictures is not None:
        explanation.write_pictures(pictures)
    return explanation


def _for_pictures(folder: PathLike, options: AttributionOptions | None) -> AttributionOptions:
    """Check the folder of pictures before the work, and say what they show."""
    if options is None:
        raise InfluenceError(f"{folder}: there are no pictures without gradcam or lime; choose one")
    try:
        Path(folder).mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made ({error.strerror}); give another folder"
        ) from error
    files.check_writable(Path(folder) / "row_0.png")
    return dataclasses.replace(options, method="gradcam") if options.method == "auto" else options


def _check_number(n: int, output: PathLike | None) -> None:
    most = MOST if output is None else MOST_ON_PAGE
    if n > most:
        where = "" if output is None else " on a page"
        raise InfluenceError(f"{n} rows are too many{where}; give at most {most}")


def _check_table(table: PathLike, inputs: Inputs) -> None:
    request, run = inputs.request, inputs.run
    read = [
        request.model,
        request.parameters,
        request.output,
        inputs.train.path,
        inputs.validation.path,
    ]
    of_run = [] if run is None else run.folder.iterdir()
    files.check_output(table, [*read, *of_run], is_table, "a table of explain")


def _explained(
    inputs: Inputs, method: Method, attribution: AttributionOptions | None, progress: Progress
) -> Explanation:
    rows, train, validation = inputs.validation_rows, inputs.train, inputs.validation
    definition = method.at_end.objective.definition
    label = None if kind_of_outputs(definition) is None else find_label(definition)
    of = target_of(inputs.options.target, definition)
    evaluated = evaluate(method.at_end, validation, rows, progress)
    losses, predicted = evaluated.losses, evaluated.predictions
    given = None if label is None else evaluated_classes(validation, label, rows)
    attributions: list[tuple[Attribution, ...]] = [()] * len(rows)
    if attribution is not None:
        classes: list[tuple[int, ...]] = [()] * len(rows)
        if given is not None and predicted is not None:
            classes = list(zip(given.tolist(), predicted.astype(int).tolist()))
        engine, context = method.at_end, inputs.device.context
        attributions = attribute(
            engine, context, validation, rows, classes, attribution, progress, train
        )
    influence = np.zeros((len(rows), len(train)), np.float32)
    solution = np.zeros(method.of_rows.size)
    answers: list[Answer] = []
    at_once = min(_AT_ONCE, max(_VALUES // method.of_rows.size, 1))
    of_block = progress if len(rows) <= at_once else SilentProgress()
    with progress.stage("Explaining", len(rows), "rows") as stage:
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            found = solve_for(inputs, method, of, part, losses, of_block)
            influence[part] = found.influence
            solution += found.solutions.sum(axis=0)
            causes = causes_of(inputs, method.of_rows, label, found)
            for k, (opponents, proponents) in enumerate(causes, start):
                change = sum(cause.influence for cause in opponents)
                answers.append(
                    Answer(
                        row=int(rows[k]),
                        loss=float(losses[k]),
                        given=None if given is None else int(given[k]),
                        predicted=None if predicted is None else float(predicted[k]),
                        opponents=opponents,
                        proponents=proponents,
                        loss_without=_loss_at(of, losses[k], change),
                        residual=float(found.residual[k - start]),
                        attributions=attributions[k],
                    )
                )
            stage.update(len(causes))
    ranking = None
    if inputs.output is not None:
        ranking = rank(inputs, method, of, label, influence, solution / len(rows), progress)
    return Explanation(
        train,
        validation,
        of.name,
        None if label is None else label.column,
        () if label is None else class_names(label.column, train, validation),
        tuple(answers),
        influence,
        ranking,
    )


def _loss_at(of: Target, loss: float, change: float) -> float:
    """Return the loss of a row whose target changes."""
    if of.name == "loss":
        return float(loss + change)
    margin = of.phi(np.array([loss]))[0][0] + change
    return float(np.logaddexp(0, margin))
