"""The whole way from a model file and a dataset CSV to the ranking."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Union

import numpy as np

from nnabla_influence.best_epoch import note_on_best_epoch
from nnabla_influence.chunk import LEAST, default_chunk_size
from nnabla_influence.context import Device, choose_device
from nnabla_influence.dataset import ColumnSpec, Dataset, open_dataset
from nnabla_influence.errors import (
    DatasetError,
    InfluenceError,
    ModelError,
    OutputError,
    RunError,
    ScoreError,
)
from nnabla_influence.files import check_writable
from nnabla_influence.gradients import Derivatives
from nnabla_influence.guard import check_derivatives
from nnabla_influence.network import (
    DatasetSettings,
    Definition,
    build_objective,
    check_independence,
    load_definition,
)
from nnabla_influence.options import Options
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.ranking import Orders, Ranking, Scores, check_columns
from nnabla_influence.run import Run, read_run
from nnabla_influence.solvers import build_adjoint, check_solver
from nnabla_influence.steps import Step
from nnabla_influence.trace import Trace, trace_back, validation_gradient
from nnabla_influence.window import Window, recorded_window, unrecorded_window

PathLike = Union[str, "os.PathLike[str]"]


def score(
    model: PathLike,
    *,
    run: PathLike | None = None,
    train: PathLike | None = None,
    validation: PathLike | None = None,
    output: PathLike | None = None,
    parameters: PathLike | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Ranking:
    """Rank the rows of a training CSV by SGD-influence.

    The influence of a row is the first-order change of the mean validation loss if the row's
    gradient were left out of the window's steps, everything else as it was. Negative: without
    the row the loss falls, it is harmful. Positive: it is helpful.

    Args:
        model: Network definition with its optimizer section: .nnp, .nntxt or .prototxt.
        run: Run folder that the training left; its parameters and steps count.
        train: The training CSV; by default the one that the model file names.
        validation: The validation CSV; likewise.
        output: Where to write the ranking CSV; None for nowhere.
        parameters: An .h5 in place of the model file's parameters, where there is no run.
        options: The rest; see `Options`.
        progress: Where to tell how far it is; silent by default.

    Returns:
        The ranking, the most harmful row first.

    Raises:
        InfluenceError: Something that the user can act on; see `nnabla_influence.errors`.
    """
    options = options or Options()
    progress = progress or SilentProgress()
    if run is not None and parameters is not None:
        raise InfluenceError(
            f"both the run {run} and the parameters {parameters} are given; leave one out, since a"
            " run's own parameters count"
        )
    if output is not None:
        check_writable(output)
    device = choose_device(options.device)
    progress.say(f"Computing on {device.description}")
    definition = load_definition(model, parameters)
    recorded = None if run is None else read_run(run)
    if recorded is None and parameters is None:
        note = note_on_best_epoch(definition)
        if note:
            progress.say(note)
    solver, weight_decay = _solver(definition, recorded)
    check_solver(solver, recorded.folder if recorded is not None else definition.path)
    derivatives = _derivatives(definition, recorded, options, device)

    trained = _open(definition, definition.training, train, "training", "-t", progress)
    check_columns(trained)
    validated = _open(definition, definition.validation, validation, "validation", "-v", progress)
    if output is not None:
        read = [model, parameters, trained.path, validated.path]
        read += [] if recorded is None else list(recorded.folder.iterdir())
        _check_no_input(output, [path for path in read if path is not None])
    validation_rows = _validation_rows(options.validation_rows, validated)
    window = _window(definition, recorded, trained, options)
    progress.say(
        f"Order of the mini-batches: {window.explanation}; {len(window.trials[0])} steps are traced"
    )

    n_checked = min(len(trained), derivatives.objective.batch_size)
    sample = trained.batch(np.linspace(0, len(trained) - 1, n_checked).astype(np.int64))
    check_independence(derivatives.objective, sample, device.context)
    with progress.stage("Checking second derivatives", 1, "network") as stage:
        check_derivatives(derivatives, sample)
        stage.update()
    with without_futile_imports():
        u = validation_gradient(derivatives, validated.batch, validation_rows, progress)
        traces = []
        for steps in window.trials:
            start = derivatives.zeros()
            start.copy_from(u)
            adjoint = build_adjoint(solver, start, weight_decay, device.context)
            traces.append(
                trace_back(steps, derivatives, adjoint, trained.batch, len(trained), progress)
            )
        _check_not_all_zero(traces, window.trials)
        loss, predicted = _losses(derivatives, trained, progress)
    orders = Orders(window.order.value, len(window.trials))
    ranking = Ranking(trained, _scores(traces, loss, predicted), orders=orders)
    if output is not None:
        ranking.write(output)
    return ranking


def _check_no_input(output: PathLike, inputs: Sequence[PathLike]) -> None:
    for path in inputs:
        if os.path.exists(output) and os.path.samefile(output, path):
            raise OutputError(
                f"{output}: is the same file as {path}, which is read; give the ranking another"
                " name"
            )


def _solver(definition: Definition, run: Run | None) -> tuple[str, float]:
    """The solver that trained, and its weight decay: the run's word before the model file's."""
    if run is not None and run.settings is not None and run.settings.solver is not None:
        return run.settings.solver, run.settings.weight_decay
    return definition.solver.name, definition.solver.weight_decay


def _derivatives(
    definition: Definition, run: Run | None, options: Options, device: Device
) -> Derivatives:
    parameters = definition.parameters
    if run is not None:
        parameters = run.parameters()
    elif not parameters:
        raise ModelError(
            f"{definition.path}: holds no trained parameters; give them with -p (an .h5), or a"
            " recorded run with --run"
        )
    chunk_size = _chunk_size(definition, run, options)
    try:
        objective = build_objective(definition, chunk_size, device.context, parameters)
    except ModelError as error:
        if run is None:
            raise
        raise RunError(f"{run.folder}: does not fit the model; {error}") from error
    return Derivatives(objective, device.context)


def _chunk_size(definition: Definition, run: Run | None, options: Options) -> int:
    if options.chunk_size is not None:
        return max(options.chunk_size, LEAST)
    if run is not None:
        batch_size = max(len(batch) for step in run.steps for batch in step.batches)
    else:
        defined = definition.training.batch_size if definition.training else 0
        batch_size = options.batch_size or defined
    return default_chunk_size(definition, batch_size)


def _open(
    definition: Definition,
    settings: DatasetSettings | None,
    given: PathLike | None,
    what: str,
    option: str,
    progress: Progress,
) -> Dataset:
    if given is None and settings is None:
        raise DatasetError(
            f"{definition.path}: names no {what} dataset; give the CSV with {option}"
        )
    path = given if settings is None or given is not None else settings.path
    if given is None and not os.path.exists(str(path)):
        raise DatasetError(
            f"{path}: the {what} dataset that {definition.path} names does not exist; give the"
            f" CSV with {option}"
        )
    columns = [ColumnSpec(i.column, i.shape, i.n_classes) for i in definition.inputs]
    normalize = True if settings is None else settings.normalize
    assert path is not None
    return open_dataset(path, columns, normalize=normalize, progress=progress)


def _validation_rows(chosen: Sequence[int] | None, dataset: Dataset) -> np.ndarray:
    if chosen is None:
        return np.arange(len(dataset))
    for row in chosen:
        if not 0 <= row < len(dataset):
            raise DatasetError(
                f"{dataset.path}: has no row {row}; its {len(dataset)} rows are numbered from 0"
            )
    return np.asarray(chosen, np.int64)


def _window(definition: Definition, run: Run | None, trained: Dataset, options: Options) -> Window:
    if run is not None:
        is_ranking = any(column.name == "datasource_index" for column in trained.columns)
        return recorded_window(
            run, trained.path, len(trained), options.epochs, is_ranking=is_ranking
        )
    return unrecorded_window(
        definition,
        trained.path,
        len(trained),
        options.epochs,
        options.batch_size,
        options.n_trials,
    )


def _check_not_all_zero(traces: Sequence[Trace], trials: Sequence[Sequence[Step]]) -> None:
    if any(trace.influence.any() for trace in traces):
        return
    if all(step.learning_rate == 0 for steps in trials for step in steps):
        raise ScoreError(
            "every influence is zero, since the learning rate is 0 in every step of the window;"
            " choose a window in which the training still learns"
        )
    raise ScoreError(
        "every influence is zero: no training row's gradient meets the validation gradient; check"
        " that the model is trained and that both CSVs belong to it"
    )


def _losses(
    derivatives: Derivatives, dataset: Dataset, progress: Progress, block: int = 256
) -> tuple[np.ndarray, np.ndarray | None]:
    losses, predictions = [], []
    with progress.stage("Losses and predictions", len(dataset), "rows") as stage:
        for start in range(0, len(dataset), block):
            rows = np.arange(start, min(start + block, len(dataset)))
            loss, predicted = derivatives.outputs(dataset.batch(rows))
            losses.append(loss)
            if predicted is not None:
                predictions.append(predicted)
            stage.update(len(rows))
    return np.concatenate(losses), np.concatenate(predictions) if predictions else None


def _scores(traces: Sequence[Trace], loss: np.ndarray, predicted: np.ndarray | None) -> Scores:
    influence = np.stack([trace.influence for trace in traces])
    times_seen = np.stack([trace.times_seen for trace in traces])
    return Scores(
        influence=influence.mean(axis=0),
        influence_std=influence.std(axis=0, ddof=1) if len(traces) > 1 else None,
        times_seen=times_seen.sum(axis=0),
        loss=loss,
        predicted=predicted,
    )
