"""What the workers of a removal curve do: train, rank, retrain.

Arguments and results are plain, so that they go to other processes. What a task computes depends on
its arguments alone.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.errors import RunError, ScoreError
from nnabla_influence.files import file_hash, replacing_file
from nnabla_influence.options import Options
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.retraining.inputs import Config, CurveInputs, open_inputs
from nnabla_influence.retraining.retraining import Parameters, Retraining, replayed
from nnabla_influence.retraining.seeded import seeded_training, train
from nnabla_influence.runs.run import Run, last_epochs, read_run
from nnabla_influence.runs.run_files import CHECKPOINTS, PARAMETERS, SOLVER_STATES
from nnabla_influence.scoring import score
from nnabla_influence.solvers import STATE_NAMES

_OF_RANDOM_RANKINGS = 2
_SCORED = {
    "final": ("final", "last"),
    "exact-last": ("exact", "last"),
    "exact": ("exact", "all"),
    "influence-functions": ("influence-function", "last"),
}
"""Method and window of each."""


@dataclass(frozen=True)
class Trained:
    """A finished training: seconds that it took, and N of its data."""

    seconds: float
    n_rows: int


@dataclass(frozen=True)
class Ranked:
    """A finished ranking; ``cache_bytes`` are those of the states that it needs on disk."""

    seconds: float
    cache_bytes: int
    scores_hash: str


@dataclass(frozen=True)
class Retrained:
    """A finished retraining, on the test data.

    ``accuracy`` is None where the network predicts no class; both are missing where it diverged.
    """

    accuracy: float | None
    loss: float
    seconds: float


def train_seed(config: Config, seed: int, run: str) -> Trained:
    """Train from the start of a seed and write, or replace, the run folder, whole or not at all."""
    began = time.perf_counter()
    inputs = open_inputs(config)
    train(inputs, seed, run)
    return Trained(time.perf_counter() - began, len(inputs.training))


def rank(config: Config, seed: int, ranking: str, run: str, output: str) -> Ranked:
    """Score the training rows and write the scores as .npy, float64 (N,), in the CSV's order.

    The lower a score, the more harmful the row.

    Args:
        config: What is trained on what.
        seed: Of the training.
        ranking: One of `nnabla_influence.retraining.plan.RANKINGS`.
        run: Run folder of the training.
        output: The .npy to write, whole or not at all.
    """
    began = time.perf_counter()
    inputs = open_inputs(config)
    recorded = read_run(run)
    with without_futile_imports():
        scores = np.asarray(_scores(inputs, seed, ranking, recorded), np.float64)
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ScoreError(
            f"{run}: the score of row {row} by {ranking} is not finite; train with a lower learning"
            " rate, or exclude this ranking"
        )
    with replacing_file(output) as temporary, temporary.open("wb") as file:
        np.save(file, scores)
    n_bytes = cache_bytes(inputs, ranking, recorded)
    return Ranked(time.perf_counter() - began, n_bytes, file_hash(output))


def retrain(
    config: Config, seed: int, protocol: str, run: str, scores: str | None, n: int
) -> Retrained:
    """Retrain without the ``n`` most harmful rows, and test.

    Args:
        config: What is trained on what.
        seed: Of the training.
        protocol: ``all``: the training from its start; ``last``: its last epoch, from the
            checkpoint that it had there.
        run: Run folder of the training.
        scores: .npy of `rank`; None where ``n`` is 0.
        n: Rows to remove, those of the lowest scores. 0 tests the training itself.
    """
    began = time.perf_counter()
    inputs = open_inputs(config)
    with without_futile_imports():
        accuracy, loss = None, math.nan
        parameters = _without_lowest(inputs, seed, protocol, run, scores, n)
        if parameters is not None:
            test = inputs.test
            rows = np.arange(len(test))
            losses, right = inputs.evaluator.evaluate(parameters, test.batch, rows)
            if np.isfinite(losses.mean()):
                loss = float(losses.mean())
                accuracy = None if right is None else float(right.mean())
    return Retrained(accuracy, loss, time.perf_counter() - began)


def _without_lowest(
    inputs: CurveInputs, seed: int, protocol: str, run: str, scores: str | None, n: int
) -> Parameters | None:
    """Return the parameters after a retraining; None where it diverges."""
    if n == 0 or scores is None:
        return read_run(run).parameters()
    lowest = np.argsort(np.load(scores, allow_pickle=False), kind="stable")[:n].tolist()
    training = seeded_training(inputs, seed)
    start, steps = training.start, training.steps
    if protocol == "last":
        steps = tuple(step for step in steps if step.epoch == steps[-1].epoch)
        start = replayed(read_run(run), training.trainer, steps[0].step, training.inputs)
    n_rows = len(inputs.training)
    retraining = Retraining(training.trainer, start, steps, training.inputs, n_rows)
    try:
        return retraining.without(lowest)
    except RunError:
        return None


def cache_bytes(inputs: CurveInputs, ranking: str, run: Run) -> int:
    """Return what a ranking needs of a training on disk, in bytes.

    ``final`` needs the last state, the exact ones those from which they replay their window, and
    the last. Losses and influence functions need parameters only, a random order nothing.
    """
    if ranking == "random":
        return 0
    parameters = os.path.getsize(run.folder / PARAMETERS)
    if ranking in ("loss", "influence-functions"):
        return parameters
    stateful = bool(STATE_NAMES[inputs.definition.solver.name])
    final = parameters + (os.path.getsize(run.folder / SOLVER_STATES) if stateful else 0)
    if ranking == "final":
        return final
    steps = last_epochs(run.steps, 1) if ranking == "exact-last" else run.steps
    first = max(number for number in run.checkpoints if number <= steps[0].step)
    folder: Path = run.folder / CHECKPOINTS
    kept = [number for number in run.checkpoints if number >= first]
    return final + sum(os.path.getsize(folder / f"{number}.npy") for number in kept)


def _scores(inputs: CurveInputs, seed: int, ranking: str, run: Run) -> np.ndarray:
    n_rows = len(inputs.training)
    if ranking == "random":
        return np.random.default_rng([seed, _OF_RANDOM_RANKINGS]).random(n_rows)
    if ranking == "loss":
        rows = np.arange(n_rows)
        return -inputs.evaluator.evaluate(run.parameters(), inputs.training.batch, rows)[0]
    method, window = _SCORED[ranking]
    config = inputs.config
    return score(
        config.model,
        run=run.folder,
        train=config.training,
        validation=config.validation,
        options=Options(
            method=method,
            window=window,
            curvature="hessian" if method == "influence-function" else None,
            running_statistics=config.running_statistics and method == "final",
            any_verdict=True,
        ),
        device=config.device,
    ).scores.influence
