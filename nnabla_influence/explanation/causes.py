"""The training rows behind answers: their influence, the strongest of them, a ranking.

Each evaluated row is a target of its own of the influence functions, and they are solved for
together. What relabelling a training row would do is known from the same solution.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import nnabla as nn
import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition.losses import Label
from nnabla_influence.engine import Engine
from nnabla_influence.errors import ScoreError
from nnabla_influence.explanation.explanation import Cause
from nnabla_influence.influence.influence_functions import (
    GaussNewton,
    decay_in_objective,
    solve,
)
from nnabla_influence.influence.relabelling import (
    Suggestions,
    class_scores,
    classes_of,
    has_relabel_gains,
    relabel_gains,
    suggest,
)
from nnabla_influence.influence.targets import Target
from nnabla_influence.progress import Progress
from nnabla_influence.ranking import Ranking
from nnabla_influence.scoring.inputs import Inputs
from nnabla_influence.scoring.methods import Method
from nnabla_influence.scoring.scoring import (
    evaluate_training,
    rank_without_steps,
    with_suggestions,
)
from nnabla_influence.scoring.target import BLOCK

CURVATURE = "gauss-newton"
HOW = GaussNewton(damping=10.0, steps=8, rank=64, most_rows=12_000)
"""Of one row's loss. With the damping that suits a mean loss, 1, removing the opponents corrected
fewer rows (`reproductions/explain`)."""

SHOWN = 10
"""The strongest opponents, and proponents, of each evaluated row."""


@dataclass(frozen=True, eq=False)
class Solved:
    """The influence on some evaluated rows, (k, N), the solutions, (k, p), and residuals, (k,)."""

    influence: np.ndarray
    solutions: np.ndarray
    residual: np.ndarray


def solve_for(
    inputs: Inputs, method: Method, of: Target, part: slice, losses: np.ndarray, progress: Progress
) -> Solved:
    """Solve for some evaluated rows.

    All is 0 where the gradient is: a loss of 0, as of a row that the loss ignores.
    """
    rows, train = inputs.validation_rows[part], inputs.train
    v = _gradients(inputs, method.at_end, rows, of.phi(losses[part])[1])
    moved = v.any(axis=1)
    solved = Solved(np.zeros((len(rows), len(train))), np.zeros(v.shape), np.zeros(len(rows)))
    if moved.any():
        found = solve(
            method.of_rows,
            train.batch,
            np.arange(len(train)),
            v[moved],
            CURVATURE,
            decay_in_objective(inputs.solver),
            how=HOW,
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


def causes_of(
    inputs: Inputs, engine: Engine, label: Label | None, found: Solved
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


def rank(
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
    ranking = rank_without_steps(inputs, method, mean, of_rows, f"{CURVATURE} {of.name}")
    if label is None:
        return ranking
    every, scores = np.arange(len(train)), of_rows.class_scores
    given = classes_of(train, label)
    [suggested] = _suggestions(engine, train, every, scores, given, solution[None])
    return dataclasses.replace(ranking, scores=with_suggestions(ranking.scores, suggested))
