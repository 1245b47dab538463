"""The whole way from a model file and a dataset CSV to the ranking."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnabla_influence.context import Device, choose_device
from nnabla_influence.dataset import Dataset
from nnabla_influence.errors import InfluenceError, ModelError, RunError, ScoreError
from nnabla_influence.files import check_writable
from nnabla_influence.gradients import Derivatives
from nnabla_influence.guard import check_derivatives
from nnabla_influence.network import (
    Definition,
    SolverSettings,
    check_independence,
    load_definition,
    with_seeds,
)
from nnabla_influence.network.reading import check_parameters
from nnabla_influence.options import Options
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.ranking import Orders, Ranking, Scores, check_columns, check_replaceable
from nnabla_influence.recording.storage import seconds_text
from nnabla_influence.runs.run import Run, read_run
from nnabla_influence.runs.steps import Step
from nnabla_influence.scoring.belonging import check_belongs
from nnabla_influence.scoring.best_epoch import note_on_best_epoch
from nnabla_influence.scoring.last_steps import check_last_steps
from nnabla_influence.scoring.methods import Method, exact_method, final_method
from nnabla_influence.scoring.opening import (
    PathLike,
    check_no_input,
    chosen_rows,
    open_training,
    open_validation,
    solver_that_trained,
)
from nnabla_influence.scoring.resuming import trace_file, trace_files_of
from nnabla_influence.scoring.taking_up import taken_up
from nnabla_influence.scoring.trials import (
    question,
    scored_parts,
    trace_trial,
    traced_by,
    workers_for,
)
from nnabla_influence.scoring.window import Order, Window, recorded_window, unrecorded_window
from nnabla_influence.solvers import check_solver
from nnabla_influence.tracing.trace import Trace, validation_gradient


def score(
    model: PathLike,
    *,
    run: PathLike | None = None,
    train: PathLike | None = None,
    validation: PathLike | None = None,
    output: PathLike | None = None,
    parameters: PathLike | None = None,
    options: Options | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
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
        jobs: Worker processes that share shuffled orders, where there are several.
        scheduler: Address of a Dask scheduler whose workers share them instead.
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
    if recorded is None and parameters is None and options.method == "final":
        note = note_on_best_epoch(definition)
        if note:
            progress.say(note)
    if recorded is not None:
        _check_belongs(definition, recorded)
        if recorded.settings is not None:
            definition = with_seeds(definition, recorded.settings.random_seeds)
    solver = solver_that_trained(definition, recorded)
    check_solver(solver.name, recorded.folder if recorded is not None else definition.path)

    trained = open_training(definition, train, progress)
    check_columns(trained)
    if recorded is not None:
        check_belongs(definition, recorded, trained, progress)
    validated = open_validation(definition, validation, progress)
    if output is not None:
        kept = [] if recorded is None else list(recorded.folder.iterdir())
        check_no_input(output, [model, parameters, trained.path, validated.path, *kept])
        check_replaceable(output)
    validation_rows = chosen_rows(options.validation_rows, validated)
    with contextlib.ExitStack() as stack:
        method, window = _method_and_window(
            *(definition, recorded, solver, trained, validated.path, output, options, device),
            *(progress, stack),
            own_parameters=parameters is None,
        )
        executor = stack.enter_context(workers_for(len(window.trials), jobs, scheduler, progress))
        _check_network(method, trained, window, device, progress)
        with without_futile_imports():
            gradient = validation_gradient(
                method.at_end, validated.batch, validation_rows, progress
            )
            loss, predicted = _losses(method.at_end, trained, progress)
            started = time.monotonic()
            if executor is None:
                scored = scored_parts(definition, solver, method, options, trained, validated)
                how = (method, solver, gradient, len(trained), device)
                traces = []
                for number, steps in enumerate(window.trials):
                    file = None if output is None else trace_file(output, number, *scored, [*steps])
                    # Its file goes when the ranking is written, not before.
                    trial = trace_trial(steps, *how, file, progress)
                    traces.append(stack.enter_context(trial))
            else:
                stack.enter_context(trace_files_of(output, len(window.trials), progress))
                asked = question(model, parameters, trained, validated, output, options)
                traces = traced_by(executor, asked, len(window.trials), progress)
            if method.trajectory.exact:
                progress.say(f"Traced in {seconds_text(time.monotonic() - started)}")
            _check_not_all_zero(traces, window.trials)
        traced = f"{window.order.value} exact" if method.trajectory.exact else window.order.value
        orders = Orders(traced, len(window.trials))
        ranking = Ranking(trained, _scores(traces, loss, predicted), orders=orders)
        if output is not None:
            ranking.write(output)
    return ranking


def _method_and_window(
    definition: Definition,
    recorded: Run | None,
    solver: SolverSettings,
    trained: Dataset,
    validation: Path,
    output: PathLike | None,
    options: Options,
    device: Device,
    progress: Progress,
    stack: contextlib.ExitStack,
    *,
    own_parameters: bool,
) -> tuple[Method, Window]:
    """Decide what is traced and how, and tell the user."""
    run, again = recorded, False
    exact = options.method == "exact"
    if exact and (recorded is None or not recorded.moments):
        trained_again = stack.enter_context(
            taken_up(definition, recorded, trained, validation, output, options, progress)
        )
        exact = again = trained_again is not None
        run = trained_again or recorded
    window = _window(definition, run, trained, options)
    if again:
        window = dataclasses.replace(
            window, order=Order.REPLAYED, explanation="of the training done again"
        )
    if exact and run is not None:
        method = exact_method(definition, run, solver, options, device, trained.batch)
    else:
        if run is not None:
            check_last_steps(definition, run, solver, trained, device)
        method = final_method(
            *(definition, run, options, device, trained.batch),
            model_state=own_parameters,
        )
    progress.say(
        f"Order of the mini-batches: {window.explanation}; {len(window.trials[0])} steps are"
        f" traced, {method.explanation}"
    )
    return method, window


def _check_belongs(definition: Definition, run: Run) -> None:
    """Refuse a run of another network, before anything is read."""
    shapes = {variable.name: tuple(variable.shape.dim) for variable in definition.network.variable}
    wanted = {name: shapes[name] for name in definition.trainable if name in shapes}
    try:
        check_parameters(definition.path, wanted, run.parameters())
    except ModelError as error:
        raise RunError(f"{run.folder}: does not fit the model; {error}") from error


def _check_network(
    method: Method, trained: Dataset, window: Window, device: Device, progress: Progress
) -> None:
    """Refuse a network that mixes examples in test mode, or that nnabla differentiates wrongly."""
    size = method.at_end.objective.batch_size
    evenly = np.linspace(0, len(trained) - 1, min(len(trained), size)).astype(np.int64)
    check_independence(method.at_end.objective, trained.batch(evenly), device.context)
    with progress.stage("Checking second derivatives", 1, "network") as stage:
        last = window.trials[0][-1]
        of_steps = method.of_steps.of_size(len(last.batches[-1]))
        if of_steps is method.at_end:
            check_derivatives(of_steps, trained.batch(evenly))
        else:
            check_derivatives(of_steps, method.inputs.of(last)[-1])
        stage.update()


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
