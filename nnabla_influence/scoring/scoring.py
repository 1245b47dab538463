"""The whole way from a model file and a dataset CSV to the ranking."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import nnabla as nn
import numpy as np

from nnabla_influence.dataset import Dataset, note_on_equal_data
from nnabla_influence.definition import (
    Definition,
    check_independence,
    is_never_negative,
    load_definition,
    validation_definition,
    with_seeds,
)
from nnabla_influence.device import Device, choose_device
from nnabla_influence.engine.gradients import Derivatives
from nnabla_influence.engine.guard import check_derivatives
from nnabla_influence.errors import InfluenceError, ScoreError
from nnabla_influence.execution import Executor
from nnabla_influence.files import check_writable
from nnabla_influence.influence.trace import DivergedError, Trace, validation_gradient
from nnabla_influence.options import Options
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.ranking import Orders, Ranking, Scores, check_columns, check_replaceable
from nnabla_influence.runs.run import read_run
from nnabla_influence.runs.steps import Step
from nnabla_influence.scoring.belonging import check_belongs, check_shapes
from nnabla_influence.scoring.choice import Choice, Given, choose
from nnabla_influence.scoring.ignored import ignored_rows, note_on_ignored
from nnabla_influence.scoring.methods import Method
from nnabla_influence.scoring.opening import (
    PathLike,
    check_no_input,
    chosen_rows,
    open_training,
    open_validation,
    solver_that_trained,
)
from nnabla_influence.scoring.past_training import remove_replay
from nnabla_influence.scoring.resuming import trace_file, trace_files_of
from nnabla_influence.scoring.solver_state import check_solver_state
from nnabla_influence.scoring.trials import (
    Question,
    question,
    scored_parts,
    trace_trial,
    traced_by,
    workers_for,
)
from nnabla_influence.scoring.verdict import advice, judge, signs_of
from nnabla_influence.scoring.window import Window
from nnabla_influence.solvers import check_solver
from nnabla_influence.text import seconds_text


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
    if recorded is not None:
        check_shapes(definition, recorded)
        if recorded.settings is not None:
            definition = with_seeds(definition, recorded.settings.random_seeds)
    solver = solver_that_trained(definition, recorded)
    check_solver(solver.name, recorded.folder if recorded is not None else definition.path)
    if options.method == "final":
        check_solver_state(definition, solver, recorded, own_parameters=parameters is None)

    trained = open_training(definition, train, progress)
    check_columns(trained)
    if recorded is not None:
        check_belongs(definition, recorded, trained, progress)
    validated = open_validation(definition, validation, progress)
    note = note_on_equal_data(trained, validated)
    if note:
        progress.say(note)
    if output is not None:
        kept = [] if recorded is None else list(recorded.folder.iterdir())
        check_no_input(output, [model, parameters, trained.path, validated.path, *kept])
        check_replaceable(output)
    validation_rows = chosen_rows(options.validation_rows, validated)
    with contextlib.ExitStack() as stack:
        given = Given(
            definition=definition,
            recorded=recorded,
            solver=solver,
            trained=trained,
            validated=validated,
            output=output,
            own_parameters=parameters is None,
            options=options,
            device=device,
        )
        choice = choose(given, progress, stack)
        method, window = choice.method, choice.window
        executor = stack.enter_context(workers_for(len(window.trials), jobs, scheduler, progress))
        _check_network(method, trained, window, device, progress)
        with without_futile_imports():
            gradient = validation_gradient(
                method.at_end, validated.batch, validation_rows, progress
            )
            loss, predicted = _losses(method.of_rows, trained, progress)
            ignored = _ignored(definition, trained, validated, validation_rows, progress)
            target = float(_losses(method.at_end, validated, progress, validation_rows)[0].mean())
            ways = advice(definition, options, choice.why)
            asked = question(model, parameters, trained, validated, output, options)
            try:
                traces = _traces(given, choice, gradient, asked, executor, stack, progress)
            except DivergedError as error:
                raise ScoreError(f"no ranking is written: {error}; {ways}") from error
            _check_not_all_zero(traces, window.trials)
        exact = method.trajectory.exact
        signs = signs_of(
            *(traces, target),
            exact=exact,
            chosen=options.validation_rows is not None,
            never_negative=is_never_negative(definition),
        )
        verdict = judge(signs, ways, any_verdict=options.any_verdict)
        origin = f"{window.order.value} {'exact' if exact else 'final'}"
        orders = Orders(origin, len(window.trials), choice.why, verdict)
        ranking = Ranking(trained, _scores(traces, loss, predicted, ignored), orders=orders)
        if output is not None:
            ranking.write(output)
            remove_replay(output)  # of an earlier call that was killed
    return ranking


def _traces(
    given: Given,
    choice: Choice,
    gradient: nn.NdArray,
    asked: Question,
    executor: Executor | None,
    stack: contextlib.ExitStack,
    progress: Progress,
) -> list[Trace]:
    """Trace every trial of the window, here or in an executor's workers."""
    method, trials = choice.method, choice.window.trials
    if executor is not None:
        stack.enter_context(trace_files_of(given.output, len(trials), progress))
        return traced_by(executor, asked, len(trials), progress)
    started = time.monotonic()
    scored = scored_parts(
        *(given.definition, given.solver, method, given.options, given.trained, given.validated)
    )
    how = (method, given.solver, gradient, len(given.trained), given.device)
    traces = []
    for number, steps in enumerate(trials):
        file = None if given.output is None else trace_file(given.output, number, *scored, [*steps])
        # Its file goes when the ranking is written, not before.
        traces.append(stack.enter_context(trace_trial(steps, *how, file, progress)))
    if method.trajectory.exact:
        progress.say(f"Traced in {seconds_text(time.monotonic() - started)}")
    return traces


def _check_network(
    method: Method, trained: Dataset, window: Window, device: Device, progress: Progress
) -> None:
    """Refuse a network that mixes examples in test mode, or that nnabla differentiates wrongly."""
    size = method.of_rows.objective.batch_size
    evenly = np.linspace(0, len(trained) - 1, min(len(trained), size)).astype(np.int64)
    check_independence(method.of_rows.objective, trained.batch(evenly), device.context)
    with progress.stage("Checking second derivatives", 1, "network") as stage:
        last = window.trials[0][-1]
        of_steps = method.of_steps.of_size(len(last.batches[-1]))
        if of_steps is method.of_rows:
            check_derivatives(of_steps, trained.batch(evenly))
        else:
            check_derivatives(of_steps, method.inputs.of(last)[-1])
        stage.update()


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
    derivatives: Derivatives,
    dataset: Dataset,
    progress: Progress,
    rows: np.ndarray | None = None,
    block: int = 256,
) -> tuple[np.ndarray, np.ndarray | None]:
    losses, predictions = [], []
    rows = np.arange(len(dataset)) if rows is None else rows
    with progress.stage("Losses and predictions", len(rows), "rows") as stage:
        for start in range(0, len(rows), block):
            some = rows[start : start + block]
            loss, predicted = derivatives.outputs(dataset.batch(some))
            losses.append(loss)
            if predicted is not None:
                predictions.append(predicted)
            stage.update(len(some))
    return np.concatenate(losses), np.concatenate(predictions) if predictions else None


def _ignored(
    definition: Definition,
    trained: Dataset,
    validated: Dataset,
    validation_rows: np.ndarray,
    progress: Progress,
) -> np.ndarray:
    """Return which training rows the loss ignores; say how many there are, and in validation."""
    ignored = ignored_rows(definition, trained)
    notes = [
        note_on_ignored(ignored, "training", "influence 0, times_seen 0"),
        note_on_ignored(
            ignored_rows(validation_definition(definition), validated)[validation_rows],
            "validation",
            "they count in the mean loss, with 0, as in nnabla_cli's own validation",
        ),
    ]
    for note in notes:
        if note is not None:
            progress.say(note)
    return ignored


def _scores(
    traces: Sequence[Trace], loss: np.ndarray, predicted: np.ndarray | None, ignored: np.ndarray
) -> Scores:
    influence = np.stack([trace.influence for trace in traces])
    times_seen = np.stack([trace.times_seen for trace in traces])
    return Scores(
        influence=influence.mean(axis=0),
        influence_std=influence.std(axis=0, ddof=1) if len(traces) > 1 else None,
        times_seen=times_seen.sum(axis=0) * ~ignored,
        loss=loss,
        predicted=predicted,
    )
