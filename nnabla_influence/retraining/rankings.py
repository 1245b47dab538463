"""The rankings that a curve compares: a score for each training row, low for a harmful one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Union

import numpy as np

from nnabla_influence.errors import ScoreError
from nnabla_influence.options import Options
from nnabla_influence.retraining.evaluation import evaluate
from nnabla_influence.retraining.influence_functions import influence_functions
from nnabla_influence.retraining.inputs import Opened
from nnabla_influence.runs.run import Run, last_epochs
from nnabla_influence.runs.run_folder import CHECKPOINTS, PARAMETERS, SOLVER_STATES
from nnabla_influence.scoring import score
from nnabla_influence.solvers import STATE_NAMES

_OF_RANDOM_RANKINGS = 2


def ranking_scores(opened: Opened, seed: int, ranking: str, run: Run) -> np.ndarray:
    """Return the scores of a ranking, float64 (N,), in the order of the training CSV.

    Raises:
        InfluenceError: There is no such ranking, or it cannot be computed.
    """
    if ranking not in _SCORES:
        raise ScoreError(f"the ranking {ranking!r} is unknown; use one of {', '.join(_SCORES)}")
    scores = np.asarray(_SCORES[ranking](opened, seed, run), np.float64)
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ScoreError(
            f"{run.folder}: the score of row {row} by {ranking} is not finite; train with a lower"
            " learning rate, or leave this ranking out"
        )
    return scores


def cache_bytes(opened: Opened, ranking: str, run: Run) -> int:
    """Return what a ranking needs of a training on disk, in bytes: the states at its steps.

    ``final`` needs the last state, the exact ones those from which they replay their window, and
    the last. Losses and influence functions need parameters only, a random order nothing.
    """
    if ranking == "random":
        return 0
    parameters = _size(run.folder / PARAMETERS)
    if ranking in ("loss", "influence-functions"):
        return parameters
    stateful = bool(STATE_NAMES[opened.definition.solver.name])
    final = parameters + (_size(run.folder / SOLVER_STATES) if stateful else 0)
    if ranking == "final":
        return final
    steps = last_epochs(run.steps, 1) if ranking == "exact-last" else run.steps
    first = max(number for number in run.checkpoints if number <= steps[0].step)
    kept = [number for number in run.checkpoints if number >= first]
    return final + sum(_size(run.folder / CHECKPOINTS / f"{number}.npy") for number in kept)


def _size(path: Path) -> int:
    return os.path.getsize(path)


def _traced(method: str, window: Union[str, int]) -> Callable[[Opened, int, Run], np.ndarray]:
    def scores(opened: Opened, seed: int, run: Run) -> np.ndarray:
        problem = opened.problem
        ranking = score(
            problem.model,
            run=run.folder,
            train=problem.training,
            validation=problem.validation,
            options=Options(
                method=method,
                window=window,
                running_statistics=problem.running_statistics and method == "final",
                any_verdict=True,
                device=problem.device,
            ),
        )
        return ranking.scores.influence

    return scores


def _loss(opened: Opened, seed: int, run: Run) -> np.ndarray:
    return -evaluate(opened, opened.training, run.parameters())[0]


def _influence_functions(opened: Opened, seed: int, run: Run) -> np.ndarray:
    return influence_functions(opened, run).influence


def _random(opened: Opened, seed: int, run: Run) -> np.ndarray:
    return np.random.default_rng([seed, _OF_RANDOM_RANKINGS]).random(len(opened.training))


_SCORES: Mapping[str, Callable[[Opened, int, Run], np.ndarray]] = {
    "final": _traced("final", "last"),
    "exact-last": _traced("exact", "last"),
    "exact": _traced("exact", "all"),
    "influence-functions": _influence_functions,
    "loss": _loss,
    "random": _random,
}
