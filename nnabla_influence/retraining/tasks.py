"""What the workers of a removal curve do: train, rank, retrain.

Arguments and results are plain, so that they go to other processes; what a task computes depends on
its arguments and on nothing that was computed before it.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Optional

import numpy as np

from nnabla_influence.errors import ScoreError
from nnabla_influence.files import file_hash, replacing_file
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.retraining.evaluation import tested
from nnabla_influence.retraining.inputs import open_problem
from nnabla_influence.retraining.plan import PROTOCOLS, RANKINGS
from nnabla_influence.retraining.problem import Problem
from nnabla_influence.retraining.rankings import cache_bytes, ranking_scores
from nnabla_influence.retraining.removal import removed_rows, retrained
from nnabla_influence.retraining.seeded_training import recorded_training, train

__all__ = ["RANKINGS", "Ranked", "Retrained", "Trained", "rank", "retrain", "train_seed"]


@dataclass(frozen=True)
class Trained:
    """A training was done and recorded.

    Attributes:
        seconds: What it took.
        n_rows: N, of the training data.
    """

    seconds: float
    n_rows: int


@dataclass(frozen=True)
class Ranked:
    """The rows were ranked.

    Attributes:
        seconds: What it took.
        cache_bytes: Bytes on disk of the states that the ranking needs.
        scores_hash: `file_hash` of the scores' file.
    """

    seconds: float
    cache_bytes: int
    scores_hash: str


@dataclass(frozen=True)
class Retrained:
    """A retraining was done and tested.

    Attributes:
        accuracy: On the test data; None where the network predicts no class, or it diverged.
        loss: The mean on the test data; NaN where the training diverged.
        seconds: What it took.
    """

    accuracy: Optional[float]
    loss: float
    seconds: float


def train_seed(problem: Problem, seed: int, run: str) -> Trained:
    """Train from the start of a seed and write the run folder, whole or not at all.

    A run that is there already is replaced.

    Raises:
        InfluenceError: The problem cannot be trained.
    """
    began = time.perf_counter()
    opened = open_problem(problem)
    train(opened, seed, run)
    return Trained(time.perf_counter() - began, len(opened.training))


def rank(problem: Problem, seed: int, ranking: str, run: str, output: str) -> Ranked:
    """Score the training rows and write the scores as .npy, float64 (N,), in the CSV's order.

    The lower a score, the more harmful the row.

    Args:
        problem: What is trained on what.
        seed: Of the training.
        ranking: One of `RANKINGS`.
        run: Run folder of the training.
        output: The .npy to write, whole or not at all.

    Raises:
        InfluenceError: The ranking cannot be computed, or not be written.
    """
    began = time.perf_counter()
    opened = open_problem(problem)
    recorded = recorded_training(opened, seed, run)
    with without_futile_imports():
        scores = ranking_scores(opened, seed, ranking, recorded)
    with replacing_file(output) as temporary, temporary.open("wb") as file:
        np.save(file, scores)
    n_bytes = cache_bytes(opened, ranking, recorded)
    return Ranked(time.perf_counter() - began, n_bytes, file_hash(output))


def retrain(
    problem: Problem, seed: int, protocol: str, run: str, scores: Optional[str], n: int
) -> Retrained:
    """Train again without the ``n`` most harmful rows, and test.

    The rows have no gradient; the start, the order, each mini-batch's 1/|S| and its statistics stay
    as they were.

    Args:
        problem: What is trained on what.
        seed: Of the training.
        protocol: ``all``: the training from its start; ``last``: its last epoch from the state that
            it had there.
        run: Run folder of the training.
        scores: .npy of `rank`; None where ``n`` is 0.
        n: Rows to remove, those of the lowest scores. 0 tests the training itself.

    Raises:
        InfluenceError: It cannot be retrained.
    """
    began = time.perf_counter()
    if protocol not in PROTOCOLS:
        raise ScoreError(f"the protocol {protocol!r} is unknown; use {' or '.join(PROTOCOLS)}")
    opened = open_problem(problem)
    rows = removed_rows(scores, n, len(opened.training))
    with without_futile_imports():
        parameters = retrained(opened, seed, protocol, run, rows)
        result = None if parameters is None else tested(opened, parameters)
    if result is None or not np.isfinite(result.loss):
        return Retrained(None, math.nan, time.perf_counter() - began)
    return Retrained(result.accuracy, result.loss, time.perf_counter() - began)
