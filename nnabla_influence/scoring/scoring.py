"""From a model file and a dataset CSV to the ranking; read `score` first."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import nnabla as nn
import numpy as np

from nnabla_influence.definition import (
    find_label,
    is_never_negative,
    validation_definition,
)
from nnabla_influence.engine import (
    check_independence,
    is_cpu,
    lacking_in_numpy,
)
from nnabla_influence.engine.guard import check_engines
from nnabla_influence.errors import ScoreError
from nnabla_influence.execution import Executor
from nnabla_influence.influence.influence_functions import decay_in_objective, solve
from nnabla_influence.influence.relabelling import (
    Suggestions,
    class_scores,
    classes_of,
    has_relabel_gains,
    relabel_gains,
    suggest,
)
from nnabla_influence.influence.trace import DivergedError, Trace
from nnabla_influence.options import Options
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.ranking import ROUGH, Orders, Ranking, Scores, Verdict
from nnabla_influence.scoring.choice import check_trained_on, choose
from nnabla_influence.scoring.inputs import (
    Inputs,
    PathLike,
    Request,
    check_output,
    check_request,
    ignored_rows,
    read_inputs,
)
from nnabla_influence.scoring.methods import Method, final_method
from nnabla_influence.scoring.replay import remove_replay
from nnabla_influence.scoring.target import ChosenTarget, choose_target, evaluate
from nnabla_influence.scoring.traces import (
    gives_relabel_gains,
    trace_all,
    trace_files,
    trace_in_workers,
    workers_for,
)
from nnabla_influence.scoring.verdict import advice, judge, signs_of
from nnabla_influence.scoring.window import Window
from nnabla_influence.text import listed

FEW = 32
"""Training rows that a network is checked with where there are no mini-batches."""


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
    request = Request(
        model, run, train, validation, output, parameters, options or Options(), device
    )
    return score_training(request, jobs, progress or SilentProgress()).ranking


@dataclass(frozen=True, eq=False)
class ScoredTraining:
    """The ranking of one training, and what suggests labels, to be averaged over several.

    Attributes:
        ranking: Of its rows.
        class_scores: A score of each class, (N, C); None without gains.
        gains: The relabel gain of each class, (N, C); None where nothing that deserves trust gives
            them: no cross entropy, or not the whole training.
    """

    ranking: Ranking
    class_scores: np.ndarray | None
    gains: np.ndarray | None


def score_training(
    request: Request, jobs: int | str, progress: Progress, *, of_several: bool = False
) -> ScoredTraining:
    """Score one training, or one of several: then an influence function gives gains, too.

    Raises:
        InfluenceError: As `score` does.
    """
    check_request(request)
    inputs = read_inputs(request, progress)
    check_output(inputs)
    # The stack removes a replayed training and the traces' files once the ranking is written.
    with contextlib.ExitStack() as stack:
        if inputs.options.method == "influence-function":
            scored = _of_parameters(inputs, progress, of_several)
        else:
            scored = _of_steps(inputs, jobs, progress, stack)
        if request.output is not None:
            scored.ranking.write(request.output)
            remove_replay(request.output)  # of an earlier command that was killed
    return scored


def _of_steps(
    inputs: Inputs, jobs: int | str, progress: Progress, stack: contextlib.ExitStack
) -> ScoredTraining:
    """Trace the steps of the window back."""
    method, window = choose(inputs, progress, stack)
    n_trials = len(window.trials)
    executor = stack.enter_context(workers_for(n_trials, jobs, progress))
    _check_network(inputs, method, method.step_inputs.of(window.trials[0][-1])[-1], progress)
    stack.enter_context(without_futile_imports())
    target = choose_target(inputs, method.at_end, progress)
    with_gains = gives_relabel_gains(inputs, window.trials[0])
    of_rows = evaluate_training(inputs, method, target.rows, progress, with_gains)
    stack.enter_context(trace_files(inputs.output, n_trials, progress))
    traces = _trace(inputs, method, window, target.gradient, executor, progress)
    verdict = _judge(inputs, method, traces, target)
    words = [window.order.value, method.name]
    if inputs.options.gauss_newton:
        words.append("gauss-newton")
    if target.words != "loss":
        words.append(target.words)
    orders = Orders(" ".join(words), n_trials, method.why, verdict)
    scores, gains = _scores(traces, of_rows), None
    moves = [trace.moves for trace in traces if trace.moves is not None]
    if moves and of_rows.class_scores is not None:
        given = _given(inputs)
        gains = relabel_gains(inputs.definition, np.mean(moves, axis=0)[None], given)[0]
        scores = with_suggestions(scores, suggest(of_rows.class_scores, gains, given))
    return ScoredTraining(Ranking(inputs.train, scores, orders=orders), of_rows.class_scores, gains)


def _of_parameters(inputs: Inputs, progress: Progress, of_several: bool) -> ScoredTraining:
    """Solve for the influence functions at the final parameters."""
    options, n_rows = inputs.options, len(inputs.train)
    method = method_without_steps(inputs, progress)
    with_gains = of_several and has_relabel_gains(inputs.definition)
    with without_futile_imports():
        target = choose_target(inputs, method.at_end, progress)
        of_rows = evaluate_training(inputs, method, target.rows, progress, with_gains)
        curvature = "gauss-newton" if options.gauss_newton else "hessian"
        found = solve(
            method.of_rows,
            inputs.train.batch,
            np.arange(n_rows),
            target.gradient.data[None],
            curvature,
            decay_in_objective(inputs.solver),
            with_outputs=with_gains,
            progress=progress,
        )
    progress.say(
        f"Method influence-function at the final parameters: {curvature}, damping"
        f" {found.damping:.2g}, relative residual {found.residual[0]:.1g}"
    )
    ranking = rank_without_steps(
        inputs, method, found.influence[0], of_rows, f"{curvature} {target.words}"
    )
    gains = None
    if found.outputs is not None:
        moves = found.outputs / n_rows
        gains = relabel_gains(inputs.definition, moves, _given(inputs))[0]
    return ScoredTraining(ranking, of_rows.class_scores, gains)


def rank_without_steps(
    inputs: Inputs, method: Method, influence: np.ndarray, of_rows: OfRows, words: str
) -> Ranking:
    """Return the ranking by influence functions.

    Args:
        inputs: What is scored.
        method: How.
        influence: Of each training row, (N,).
        of_rows: What else is known of them.
        words: The curvature and the target, for the header.
    """
    scores = Scores(
        influence=influence,
        times_seen=np.where(of_rows.ignored, 0, 1),  # each row is once in the mean loss
        loss=of_rows.losses,
        predicted=of_rows.predicted,
    )
    verdict = Verdict(ROUGH, "one training - not checked by retraining")
    orders = Orders(f"influence-function {words}", 1, method.why, verdict)
    return Ranking(inputs.train, scores, orders=orders)


def method_without_steps(inputs: Inputs, progress: Progress) -> Method:
    """Return what computes influence functions at the final parameters, once it is checked.

    Raises:
        InfluenceError: The run is of another CSV, or the network cannot be used.
    """
    check_trained_on(inputs)
    method, n_rows = final_method(inputs), len(inputs.train)
    few = np.linspace(0, n_rows - 1, min(n_rows, FEW)).astype(np.int64)
    with without_futile_imports():
        _check_network(inputs, method, inputs.train.batch(few), progress)
    return method


@dataclass(frozen=True, eq=False)
class OfRows:
    """What the training rows have at the final parameters, shape ``(N,)`` each.

    Attributes:
        losses: Their own.
        predicted: What the network predicts of them, if it predicts.
        ignored: Whether the loss ignores them.
        class_scores: A score of each class, ``(N, C)``, where relabel gains are asked for.
    """

    losses: np.ndarray
    predicted: np.ndarray | None
    ignored: np.ndarray
    class_scores: np.ndarray | None


def evaluate_training(
    inputs: Inputs, method: Method, rows: np.ndarray, progress: Progress, with_gains: bool
) -> OfRows:
    """Evaluate all training rows at the final parameters; report which rows the loss ignores.

    Args:
        inputs: What is scored.
        method: How.
        rows: The validation rows of the target.
        progress: Where to show it.
        with_gains: Whether the class scores are wanted.
    """
    every = np.arange(len(inputs.train))
    found = evaluate(method.of_rows, inputs.train, every, progress, with_values=with_gains)
    ignored = _ignored(inputs, rows, progress)
    scores = class_scores(inputs.definition, found.values)
    return OfRows(found.losses, found.predictions, ignored, scores)


def _check_network(
    inputs: Inputs, method: Method, last: Mapping[str, np.ndarray], progress: Progress
) -> None:
    """Refuse a network that mixes examples in test mode, or of which derivatives are wrong."""
    n, size = len(inputs.train), method.of_rows.objective.batch_size
    batch = inputs.train.batch(np.linspace(0, n - 1, min(n, size)).astype(np.int64))
    check_independence(method.of_rows, batch)
    lacking = lacking_in_numpy(method.of_rows.objective)
    if lacking and is_cpu(inputs.device.context):
        progress.say(f"nnabla computes this network, more slowly: NumPy lacks {listed(lacking)}")
    with progress.stage("Checking derivatives", 1, "network") as stage:
        check_engines(method.objective, last, inputs.device.context)
        stage.update()


def _trace(
    inputs: Inputs,
    method: Method,
    window: Window,
    gradient: nn.NdArray,
    executor: Executor | None,
    progress: Progress,
) -> list[Trace]:
    """Trace each order of the mini-batches, here or in the executor's workers."""
    try:
        if executor is None:
            traces = trace_all(inputs, method, window.trials, gradient, progress)
        else:
            traces = trace_in_workers(executor, inputs, len(window.trials), progress)
    except DivergedError as error:
        ways = advice(inputs.definition, inputs.options, method.why)
        raise ScoreError(f"no ranking is written: {error}; {ways}") from error
    return traces


def _judge(
    inputs: Inputs, method: Method, traces: Sequence[Trace], target: ChosenTarget
) -> Verdict:
    options = inputs.options
    signs = signs_of(
        traces,
        target.value,
        exact=method.trajectory.exact,
        chosen=options.validation_rows is not None or target.class_ is not None,
        never_negative=options.target in ("loss", "error", "q-loss")
        and is_never_negative(inputs.definition),
    )
    ways = advice(inputs.definition, options, method.why)
    return judge(signs, ways, any_verdict=options.any_verdict)


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


def _given(inputs: Inputs) -> np.ndarray:
    label = find_label(inputs.definition)
    assert label is not None  # where there are relabel gains
    return classes_of(inputs.train, label)


def with_suggestions(scores: Scores, suggested: Suggestions) -> Scores:
    """Return scores with the labels that the rows should rather have."""
    return dataclasses.replace(
        scores, suggested_label=suggested.labels, relabel_gain=suggested.gains
    )


def _scores(traces: Sequence[Trace], of_rows: OfRows) -> Scores:
    influence = np.stack([trace.influence for trace in traces])
    times_seen = np.stack([trace.times_seen for trace in traces])
    return Scores(
        influence=influence.mean(axis=0),
        influence_std=influence.std(axis=0, ddof=1) if len(traces) > 1 else None,
        times_seen=times_seen.sum(axis=0) * ~of_rows.ignored,
        loss=of_rows.losses,
        predicted=of_rows.predicted,
    )
