"""From a trained network and evaluated rows to the training rows behind each answer.

The score of training row j for evaluated row i is its influence function with the loss of row i
alone as the target (`nnabla_influence.influence.influence_functions`), or its margin, which orders
the training rows alike, since it is a function of that loss. The rows are solved for at once, a
block at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import nnabla as nn
import numpy as np

from nnabla_influence import files
from nnabla_influence.definition import Definition, find_label
from nnabla_influence.definition.losses import Label, kind_of_outputs
from nnabla_influence.engine import Engine
from nnabla_influence.errors import InfluenceError, ScoreError, UnsupportedError
from nnabla_influence.explanation.explanation import Answer, Cause, Explanation, is_table
from nnabla_influence.explanation.page import write_page
from nnabla_influence.files import PathLike
from nnabla_influence.influence.influence_functions import decay_in_objective, solve
from nnabla_influence.influence.relabelling import (
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
from nnabla_influence.review.page import check_outputs
from nnabla_influence.scoring.inputs import Inputs, Request, check_request, read_inputs
from nnabla_influence.scoring.methods import Method
from nnabla_influence.scoring.scoring import method_without_steps
from nnabla_influence.scoring.target import evaluate

MOST_ON_PAGE, MOST = 200, 1000
"""Rows that may be explained at once."""
SHOWN = 10
"""The strongest opponents, and proponents, of each."""
TARGETS = ("loss", "margin")

DAMPING = 10.0
"""In mean eigenvalues of the Gauss-Newton matrix. With 1, which suits a mean loss, removing the
opponents corrected fewer rows (`reproductions/explain`)."""

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
    request = Request(model, run, train, validation, None, parameters, options, device)
    check_request(request)
    check_outputs(model, page=output)
    inputs = read_inputs(request, progress)
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
    if output is not None:
        write_page(explanation, output, progress)
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
    read = [request.model, request.parameters, inputs.train.path, inputs.validation.path]
    of_run = [] if run is None else run.folder.iterdir()
    files.check_output(table, [*read, *of_run], is_table, "a table of explain")


def _explained(inputs: Inputs, method: Method, progress: Progress) -> Explanation:
    rows, train, validation = inputs.validation_rows, inputs.train, inputs.validation
    of = target_of(inputs.options.target, method.at_end.objective.definition)
    evaluated = evaluate(method.at_end, validation, rows, progress)
    losses, predicted = evaluated.losses, evaluated.predictions
    label = _label(method.at_end.objective.definition)
    given = None if label is None else classes_of(validation, label, rows)
    influence = np.zeros((len(rows), len(train)), np.float32)
    answers: list[Answer] = []
    at_once = min(_AT_ONCE, max(_VALUES // method.of_rows.size, 1))
    of_block = progress if len(rows) <= at_once else SilentProgress()
    with progress.stage("Explaining", len(rows), "rows") as stage:
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            influence[part], solutions = _scores(inputs, method, of, part, losses, of_block)
            for k, (row, s) in enumerate(zip(rows[part].tolist(), solutions), start):
                against, in_favor = _strongest(influence[k])
                shown = np.concatenate([against, in_favor])
                causes = _causes(inputs, method.of_rows, influence[k], shown, s)
                answers.append(
                    Answer(
                        row=row,
                        loss=float(losses[k]),
                        given=None if given is None else int(given[k]),
                        predicted=None if predicted is None else float(predicted[k]),
                        opponents=causes[: len(against)],
                        proponents=causes[len(against) :],
                        loss_without=_loss_at(of, losses[k], influence[k, against].sum()),
                    )
                )
                stage.update()
    column = None if label is None else label.column
    return Explanation(train, validation, of.name, column, tuple(answers), influence)


def _label(definition: Definition) -> Label | None:
    """Return the label of a network that predicts a single class of each row."""
    return None if kind_of_outputs(definition) is None else find_label(definition)


def _scores(
    inputs: Inputs, method: Method, of: Target, part: slice, losses: np.ndarray, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Return the influence on some evaluated rows, (k, N), and the solutions, (k, p).

    Both are 0 where the gradient is: a loss of 0, as of a row that the loss ignores.
    """
    rows, train = inputs.validation_rows[part], inputs.train
    v = _gradients(inputs, method.at_end, rows, of.phi(losses[part])[1])
    moved = v.any(axis=1)
    influence, solutions = np.zeros((len(rows), len(train))), np.zeros(v.shape)
    if moved.any():
        found = solve(
            method.of_rows,
            train.batch,
            np.arange(len(train)),
            v[moved],
            "gauss-newton",
            decay_in_objective(inputs.solver),
            damping=DAMPING,
            with_outputs=False,
            progress=progress,
        )
        influence[moved], solutions[moved] = found.influence, found.solutions
    return influence, solutions


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
    inputs: Inputs, engine: Engine, influence: np.ndarray, shown: np.ndarray, s: np.ndarray
) -> tuple[Cause, ...]:
    """Describe training rows; the tangents of the outputs are computed of these alone."""
    train, definition = inputs.train, engine.objective.definition
    rows, own = shown.tolist(), influence[shown].tolist()
    label = _label(definition)
    if label is None or not rows:
        return tuple(map(Cause, rows, own))
    batch, given = train.batch(shown), classes_of(train, label, shown)
    scores = class_scores(definition, engine.outputs(batch).values)
    # Of unit length, since what comes in between is float32.
    length = np.linalg.norm(s)
    along = nn.NdArray.from_numpy_array((s / length).astype(engine.dtype))
    moves = engine.add_products(batch, np.zeros(len(rows)), along, engine.zeros()).outputs
    assert scores is not None  # there are classes
    gains = None
    if moves is not None and has_relabel_gains(definition):
        # Each is one of all the training rows.
        gains = relabel_gains(definition, length * moves[None] / len(train), given)[0]
    found = suggest(scores, gains, given)
    gain = [None] * len(rows) if found.gains is None else found.gains.tolist()
    return tuple(map(Cause, rows, own, given.tolist(), found.labels.tolist(), gain))


def _loss_at(of: Target, loss: float, change: float) -> float:
    """Return the loss of a row whose target changes."""
    if of.name == "loss":
        return float(loss + change)
    margin = of.phi(np.array([loss]))[0][0] + change
    return float(np.logaddexp(0, margin))
