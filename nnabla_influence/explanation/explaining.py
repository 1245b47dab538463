"""From a trained network and evaluated rows to the training rows behind each answer.

The score of training row j for evaluated row i is its influence function with the loss of row i
alone as the target (`nnabla_influence.influence.influence_functions`), or its margin, which orders
the training rows alike, since it is a function of that loss. The rows are solved for at once, a
block at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import nnabla as nn
import numpy as np

from nnabla_influence import files
from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import find_label
from nnabla_influence.definition.losses import Label, kind_of_outputs
from nnabla_influence.engine import Engine
from nnabla_influence.errors import InfluenceError, ScoreError, UnsupportedError
from nnabla_influence.explanation.explanation import Answer, Cause, Explanation, is_table
from nnabla_influence.explanation.page import write_page
from nnabla_influence.files import PathLike
from nnabla_influence.influence.influence_functions import decay_in_objective, solve
from nnabla_influence.influence.relabelling import (
    Suggestions,
    class_scores,
    classes_of,
    has_relabel_gains,
    relabel_gains,
    suggest,
)
from nnabla_influence.influence.targets import Target, target_of
from nnabla_influence.options import Options
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.ranking import Ranking
from nnabla_influence.review.page import check_outputs
from nnabla_influence.scoring.inputs import (
    Inputs,
    Request,
    check_output,
    check_request,
    read_inputs,
)
from nnabla_influence.scoring.methods import Method
from nnabla_influence.scoring.scoring import (
    evaluate_training,
    method_without_steps,
    rank_without_steps,
    with_suggestions,
)
from nnabla_influence.scoring.target import BLOCK, evaluate

MOST_ON_PAGE, MOST = 200, 1000
"""Rows that may be explained at once."""
SHOWN = 10
"""The strongest opponents, and proponents, of each."""
TARGETS = ("loss", "margin")

_CURVATURE = "gauss-newton"
_AT_ONCE = 16
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
    check_outputs(model, page=output)
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
        explanation = _explained(inputs, method, progress)
    if explanation.ranking is not None and ranking is not None:
        explanation.ranking.write(ranking)
    if output is not None:
        write_page(explanation, output, ranking, progress)
    if table is not None:
        explanation.write_table(table)
    return explanation


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


def _explained(inputs: Inputs, method: Method, progress: Progress) -> Explanation:
    rows, train, validation = inputs.validation_rows, inputs.train, inputs.validation
    definition = method.at_end.objective.definition
    label = None if kind_of_outputs(definition) is None else find_label(definition)
    of = target_of(inputs.options.target, definition)
    evaluated = evaluate(method.at_end, validation, rows, progress)
    losses, predicted = evaluated.losses, evaluated.predictions
    given = None if label is None else classes_of(validation, label, rows)
    influence = np.zeros((len(rows), len(train)), np.float32)
    solution = np.zeros(method.of_rows.size)
    answers: list[Answer] = []
    at_once = min(_AT_ONCE, max(_VALUES // method.of_rows.size, 1))
    of_block = progress if len(rows) <= at_once else SilentProgress()
    with progress.stage("Explaining", len(rows), "rows") as stage:
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            found = _solved(inputs, method, of, part, losses, of_block)
            influence[part] = found.influence
            solution += found.solutions.sum(axis=0)
            causes = _causes(inputs, method.of_rows, label, found)
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
                    )
                )
            stage.update(len(causes))
    ranking = None
    if inputs.output is not None:
        ranking = _ranking(inputs, method, of, label, influence, solution / len(rows), progress)
    return Explanation(
        train,
        validation,
        of.name,
        None if label is None else label.column,
        () if label is None else _class_names(label, train, validation),
        tuple(answers),
        influence,
        ranking,
    )


def _class_names(label: Label, *datasets: Dataset) -> tuple[str, ...]:
    """Return the names that the Console keeps in a label's header: ``y:label;cat;dog``."""
    for column in (c for dataset in datasets for c in dataset.columns):
        if column.name == label.column and not column.is_comment:
            names = (column.label or "").split(";")[1:]
            if names:
                return tuple(name.strip() for name in names)
    return ()


@dataclass(frozen=True, eq=False)
class _Solved:
    """The influence on some evaluated rows, (k, N), the solutions, (k, p), and residuals, (k,)."""

    influence: np.ndarray
    solutions: np.ndarray
    residual: np.ndarray


def _solved(
    inputs: Inputs, method: Method, of: Target, part: slice, losses: np.ndarray, progress: Progress
) -> _Solved:
    """Solve for some evaluated rows.

    All is 0 where the gradient is: a loss of 0, as of a row that the loss ignores.
    """
    rows, train = inputs.validation_rows[part], inputs.train
    v = _gradients(inputs, method.at_end, rows, of.phi(losses[part])[1])
    moved = v.any(axis=1)
    solved = _Solved(np.zeros((len(rows), len(train))), np.zeros(v.shape), np.zeros(len(rows)))
    if moved.any():
        found = solve(
            method.of_rows,
            train.batch,
            np.arange(len(train)),
            v[moved],
            _CURVATURE,
            decay_in_objective(inputs.solver),
            with_outputs=False,
            progress=progress,
        )
        solved.influence[moved], solved.solutions[moved] = found.influence, found.solutions
        solved.residual[moved] = found.residual
    return solved


def _gradients(inputs: Inputs, engine: Engine, rows: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Return the gradient of each row's target, (k, p)."""
    gradients = np.zeros((len(rows), engine.size))
    for k, row in enumerate(rows):
        v = engine.zeros()
        engine.add_gradient(inputs.validation.batch(rows[k : k + 1]), slopes[k : k + 1], v)
        gradients[k] = v.data
        if not np.isfinite(gradients[k]).all():
            raise ScoreError(
                f"{inputs.validation.path}: the gradient of row {row}'s loss is not finite; the"
                " training diverged, or the row holds extreme values"
            )
    return gradients


def _strongest(influence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the training rows of the lowest influence below 0, and of the highest above."""
    order = np.argsort(influence, kind="stable")
    lowest, highest = order[:SHOWN], order[::-1][:SHOWN]
    return lowest[influence[lowest] < 0], highest[influence[highest] > 0]


def _causes(
    inputs: Inputs, engine: Engine, label: Label | None, found: _Solved
) -> list[tuple[tuple[Cause, ...], tuple[Cause, ...]]]:
    """Describe the opponents and the proponents of some evaluated rows."""
    train, definition = inputs.train, engine.objective.definition
    strongest = [_strongest(influence) for influence in found.influence]
    shown = np.unique(np.concatenate([rows for pair in strongest for rows in pair]))
    suggestions: list[Suggestions] = []
    if label is not None and len(shown):
        given = classes_of(train, label, shown)
        scores = class_scores(definition, engine.outputs(train.batch(shown)).values)
        suggestions = _suggestions(engine, train, shown, scores, given, found.solutions)

    def cause(k: int, row: int) -> Cause:
        influence = float(found.influence[k, row])
        if not suggestions:
            return Cause(row, influence)
        at, own = int(np.searchsorted(shown, row)), suggestions[k]
        gain = None if own.gains is None else float(own.gains[at])
        return Cause(row, influence, int(given[at]), int(own.labels[at]), gain)

    return [
        (
            tuple(cause(k, row) for row in against.tolist()),
            tuple(cause(k, row) for row in in_favor.tolist()),
        )
        for k, (against, in_favor) in enumerate(strongest)
    ]


def _suggestions(
    engine: Engine,
    train: Dataset,
    rows: np.ndarray,
    scores: np.ndarray | None,
    given: np.ndarray,
    solutions: np.ndarray,
) -> list[Suggestions]:
    """Suggest labels for training rows, once for each of the solutions."""
    definition = engine.objective.definition
    assert scores is not None  # there are classes
    if not has_relabel_gains(definition):
        return [suggest(scores, None, given)] * len(solutions)
    # Of unit length, since what comes in between is float32.
    length = np.linalg.norm(solutions, axis=1, keepdims=True)
    length[length == 0] = 1
    along = nn.NdArray.from_numpy_array((solutions / length).astype(engine.dtype))
    unused = nn.NdArray.from_numpy_array(np.zeros(solutions.shape, engine.dtype))
    moves = []
    for start in range(0, len(rows), BLOCK):
        batch = train.batch(rows[start : start + BLOCK])
        n = len(rows[start : start + BLOCK])
        outputs = engine.add_products(batch, np.zeros(n), along, unused).outputs
        assert outputs is not None  # a cross entropy compares them
        moves.append(outputs.reshape(len(solutions), n, -1) * length[:, :, None])
    # Each row is one of all the training rows.
    gains = relabel_gains(definition, np.concatenate(moves, axis=1) / len(train), given)
    return [suggest(scores, own, given) for own in gains]


def _ranking(
    inputs: Inputs,
    method: Method,
    of: Target,
    label: Label | None,
    influence: np.ndarray,
    solution: np.ndarray,
    progress: Progress,
) -> Ranking:
    """Rank the training rows by their mean influence, which the mean solution has."""
    if not influence.any():
        raise ScoreError(
            f"{inputs.output}: no ranking is written, since no training row moves the evaluated"
            " rows: their losses are 0, or the loss ignores them; give other rows"
        )
    train, engine = inputs.train, method.of_rows
    of_rows = evaluate_training(
        inputs, method, inputs.validation_rows, progress, with_gains=label is not None
    )
    mean = influence.mean(axis=0, dtype=np.float64)
    ranking = rank_without_steps(inputs, method, mean, of_rows, f"{_CURVATURE} {of.name}")
    if label is None:
        return ranking
    every, scores = np.arange(len(train)), of_rows.class_scores
    given = classes_of(train, label)
    [suggested] = _suggestions(engine, train, every, scores, given, solution[None])
    return dataclasses.replace(ranking, scores=with_suggestions(ranking.scores, suggested))


def _loss_at(of: Target, loss: float, change: float) -> float:
    """Return the loss of a row whose target changes."""
    if of.name == "loss":
        return float(loss + change)
    margin = of.phi(np.array([loss]))[0][0] + change
    return float(np.logaddexp(0, margin))
