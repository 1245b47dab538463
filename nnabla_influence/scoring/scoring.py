"""From a model file and a dataset CSV to the ranking; read `score` first."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import nnabla as nn
import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import (
    is_never_negative,
    validation_definition,
)
from nnabla_influence.engine import (
    Engine,
    check_independence,
    is_cpu,
    lacking_in_numpy,
)
from nnabla_influence.engine.guard import check_engines
from nnabla_influence.errors import ScoreError
from nnabla_influence.execution import Executor
from nnabla_influence.influence.targets import LOSS, target_gradient
from nnabla_influence.influence.trace import DivergedError, Trace
from nnabla_influence.options import Options
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.ranking import Orders, Ranking, Scores, Verdict
from nnabla_influence.scoring.choice import choose
from nnabla_influence.scoring.inputs import (
    Inputs,
    PathLike,
    Request,
    check_output,
    check_request,
    ignored_rows,
    read_inputs,
)
from nnabla_influence.scoring.methods import Method
from nnabla_influence.scoring.replay import remove_replay
from nnabla_influence.scoring.traces import trace_all, trace_files, trace_in_workers, workers_for
from nnabla_influence.scoring.verdict import advice, judge, signs_of
from nnabla_influence.scoring.window import Window
from nnabla_influence.text import listed


def score(
    model: PathLike,
    *,
    run: PathLike | None = None,
    train: PathLike | None = None,
    validation: PathLike | None = None,
    output: PathLike | None = None,
    parameters: PathLike | None = None,
    options: Options | None = None,
    device: str = "auto",
    jobs: int | str = 1,
    progress: Progress | None = None,
) -> Ranking:
    """Rank the rows of a training CSV by SGD-influence.

    The influence of a row is the first-order change of the mean validation loss if the row's
    gradient were left out of the window's steps, everything else unchanged. Negative: without the
    row the loss falls, it is harmful. Positive: it is helpful.

    Args:
        model: Network definition with its optimizer section: .nnp, .nntxt or .prototxt.
        run: Run folder of the training, whose parameters and steps are used.
        train: The training CSV; by default the one that the model file names.
        validation: The validation CSV; likewise.
        output: Where to write the ranking CSV; None for nowhere.
        parameters: An .h5 in place of the model file's parameters, if no run is given.
        options: See `Options`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        jobs: Worker processes that share shuffled orders, if there are several, or the address of a
            Dask scheduler whose workers share them.
        progress: Where to show the progress; silent by default.

    Returns:
        The ranking, the most harmful row first.

    Raises:
        InfluenceError: Something that the user can act on; see `nnabla_influence.errors`.
    """
    options, progress = options or Options(), progress or SilentProgress()
    request = Request(model, run, train, validation, output, parameters, options, device)
    check_request(request)
    inputs = read_inputs(request, progress)
    check_output(inputs)
    rows = inputs.validation_rows
    # The stack removes a replayed training and the traces' files once the ranking is written.
    with contextlib.ExitStack() as stack:
        method, window = choose(inputs, progress, stack)
        n_trials = len(window.trials)
        executor = stack.enter_context(workers_for(n_trials, jobs, progress))
        _check_network(inputs, method, window, progress)
        stack.enter_context(without_futile_imports())
        target = _target(inputs, method, rows, progress)
        stack.enter_context(trace_files(output, n_trials, progress))
        traces = _trace(inputs, method, window, target, executor, progress)
        verdict = _judge(inputs, method, traces, target)
        orders = Orders(f"{window.order.value} {method.name}", n_trials, method.why, verdict)
        ranking = Ranking(inputs.train, _scores(traces, target), orders=orders)
        if output is not None:
            ranking.write(output)
            remove_replay(output)  # of an earlier command that was killed
    return ranking


@dataclass(frozen=True, eq=False)
class _Target:
    """What is computed at the final parameters.

    Attributes:
        gradient: Of the validation loss, with respect to parameters and running statistics.
        loss: The validation loss, the mean over the chosen rows.
        row_losses: Of the training rows, shape ``(N,)``.
        predicted: Their predictions, shape ``(N,)``, if the network has such.
        ignored: Which of them the loss ignores, shape ``(N,)``.
    """

    gradient: nn.NdArray
    loss: float
    row_losses: np.ndarray
    predicted: np.ndarray | None
    ignored: np.ndarray


def _target(inputs: Inputs, method: Method, rows: np.ndarray, progress: Progress) -> _Target:
    gradient = target_gradient(method.at_end, inputs.validation.batch, rows, LOSS, progress)
    row_losses, predicted = _losses(method.of_rows, inputs.train, progress)
    ignored = _ignored(inputs, rows, progress)
    losses, _ = _losses(method.at_end, inputs.validation, progress, rows)
    return _Target(gradient, float(losses.mean()), row_losses, predicted, ignored)


def _check_network(inputs: Inputs, method: Method, window: Window, progress: Progress) -> None:
    """Refuse a network that mixes examples in test mode, or of which derivatives are wrong."""
    n, size = len(inputs.train), method.of_rows.objective.batch_size
    batch = inputs.train.batch(np.linspace(0, n - 1, min(n, size)).astype(np.int64))
    check_independence(method.of_rows, batch)
    lacking = lacking_in_numpy(method.of_rows.objective)
    if lacking and is_cpu(inputs.device.context):
        progress.say(f"nnabla computes this network, more slowly: NumPy lacks {listed(lacking)}")
    with progress.stage("Checking derivatives", 1, "network") as stage:
        last = method.step_inputs.of(window.trials[0][-1])[-1]
        check_engines(method.objective, last, inputs.device.context)
        stage.update()


def _trace(
    inputs: Inputs,
    method: Method,
    window: Window,
    target: _Target,
    executor: Executor | None,
    progress: Progress,
) -> list[Trace]:
    """Trace each order of the mini-batches, here or in the executor's workers."""
    try:
        if executor is None:
            traces = trace_all(inputs, method, window.trials, target.gradient, progress)
        else:
            traces = trace_in_workers(executor, inputs, len(window.trials), progress)
    except DivergedError as error:
        ways = advice(inputs.definition, inputs.options, method.why)
        raise ScoreError(f"no ranking is written: {error}; {ways}") from error
    return traces


def _judge(inputs: Inputs, method: Method, traces: Sequence[Trace], target: _Target) -> Verdict:
    signs = signs_of(
        traces,
        target.loss,
        exact=method.trajectory.exact,
        chosen=inputs.options.validation_rows is not None,
        never_negative=is_never_negative(inputs.definition),
    )
    ways = advice(inputs.definition, inputs.options, method.why)
    return judge(signs, ways, any_verdict=inputs.options.any_verdict)


def _losses(
    engine: Engine,
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
            found = engine.outputs(dataset.batch(some))
            losses.append(found.losses)
            if found.predictions is not None:
                predictions.append(found.predictions)
            stage.update(len(some))
    return np.concatenate(losses), np.concatenate(predictions) if predictions else None


def _ignored(inputs: Inputs, rows: np.ndarray, progress: Progress) -> np.ndarray:
    """Return which training rows the loss ignores; report how many, and in validation."""
    ignored = ignored_rows(inputs.definition, inputs.train)
    validating = validation_definition(inputs.definition)
    for which, what, consequence in (
        (ignored, "training", "influence 0, times_seen 0"),
        (
            ignored_rows(validating, inputs.validation)[rows],
            "validation",
            "they count in the mean loss, with 0, as in nnabla_cli's own validation",
        ),
    ):
        if which.any():
            progress.say(
                f"{which.sum()} of {len(which)} {what} rows have a label below 0, which the loss"
                f" ignores: {consequence}"
            )
    return ignored


def _scores(traces: Sequence[Trace], target: _Target) -> Scores:
    influence = np.stack([trace.influence for trace in traces])
    times_seen = np.stack([trace.times_seen for trace in traces])
    return Scores(
        influence=influence.mean(axis=0),
        influence_std=influence.std(axis=0, ddof=1) if len(traces) > 1 else None,
        times_seen=times_seen.sum(axis=0) * ~target.ignored,
        loss=target.row_losses,
        predicted=target.predicted,
    )
