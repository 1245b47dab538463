"""What else could order the rows, the worst first; all with the case's own network."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from reproductions.advice.cases import BATCH, EPOCHS
from reproductions.advice.trainings import Network, Rows, probabilities

TRAININGS = 5
FOLDS = 5
NEIGHBOURS = 10

SEEDS = 20_000
"""The first of the baselines' seeds."""


@dataclass(frozen=True, eq=False)
class _Trained:
    """What five trainings on all rows say of them.

    Attributes:
        losses: At the end of the first, (N,).
        features: What its last layer reads of the training and of the validation rows.
        margins: Mean over all epochs of all trainings, (N,).
        probabilities: Mean over the trainings' ends, (N, classes).
    """

    losses: np.ndarray
    features: tuple[np.ndarray, np.ndarray]
    margins: np.ndarray
    probabilities: np.ndarray


class Baselines:
    """The orders of one case.

    Args:
        network: The case's.
        training: Rows to order.
        validation: Rows that are right.
        seed: Of the random order and of the folds.
    """

    def __init__(self, network: Network, training: Rows, validation: Rows, seed: int):
        self._network, self._training, self._validation = network, training, validation
        self._seed = seed

    def order(self, name: str) -> np.ndarray:
        """Return all rows by one of `BASELINES`, the worst first, int64 (N,)."""
        return np.argsort(-BASELINES[name].badness(self), kind="stable")

    def best_other(self) -> np.ndarray:
        """Return the five trainings' best class other than the given one, int64 (N,)."""
        found = self._trained.probabilities.copy()
        np.put_along_axis(found, self._training.labels, -1, axis=1)
        return found.argmax(1)

    @functools.cached_property
    def _trained(self) -> _Trained:
        losses, margins, ends = [], [], []
        features: list[np.ndarray] = []
        for seed in range(SEEDS, SEEDS + TRAININGS):
            for parameters in self._network.train(self._training, seed):
                logits = self._network.logits(parameters, self._training)
                given = self._given(logits)
                np.put_along_axis(logits, self._training.labels, -np.inf, axis=1)
                margins.append(given - logits.max(1))
            ends.append(probabilities(self._network.logits(parameters, self._training)))
            losses.append(-np.log(self._given(ends[-1]) + 1e-30))
            if not features:
                for rows in (self._training, self._validation):
                    features.append(self._network.features(parameters, rows))
        return _Trained(
            losses=losses[0],
            features=(features[0], features[1]),
            margins=np.mean(margins, axis=0),
            probabilities=np.mean(ends, axis=0),
        )

    def _given(self, values: np.ndarray) -> np.ndarray:
        """Return of each training row's values by class that of its label."""
        return np.take_along_axis(values, self._training.labels, axis=1)[:, 0]

    def loss(self) -> np.ndarray:
        """Order by the row's own loss at the end of one training."""
        return self._trained.losses

    def aum(self) -> np.ndarray:
        """Order by the area under the margin (Pleiss et al. 2020), mean of five trainings."""
        return -self._trained.margins

    def confident_learning(self) -> np.ndarray:
        """Order by the label's probability under a training on other folds (Northcutt 2021)."""
        n = len(self._training)
        given = np.empty(n)
        for i, fold in enumerate(np.array_split(self._draw(0).permutation(n), FOLDS)):
            others = self._training.some(np.setdiff1d(np.arange(n), fold))
            *_, parameters = self._network.train(others, SEEDS + 100 + i)
            found = probabilities(self._network.logits(parameters, self._training.some(fold)))
            given[fold] = np.take_along_axis(found, self._training.labels[fold], axis=1)[:, 0]
        return -given

    def knn_shapley(self) -> np.ndarray:
        """Order by the Shapley value for a nearest neighbours classifier (Jia et al. 2019)."""
        training, validation = self._trained.features
        return -knn_shapley(
            training,
            self._training.labels[:, 0],
            validation,
            self._validation.labels[:, 0],
            NEIGHBOURS,
        )

    def validation_model(self) -> np.ndarray:
        """Order by the label's probability under five trainings on the validation rows alone.

        They have as many steps as a training on all rows, without which they learn too little.
        """
        n_steps = len(self._training) // BATCH * EPOCHS
        found = []
        for seed in range(SEEDS + 200, SEEDS + 200 + TRAININGS):
            *_, parameters = self._network.train(self._validation, seed, n_steps)
            found.append(probabilities(self._network.logits(parameters, self._training)))
        return -self._given(np.mean(found, axis=0))

    def _draw(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, SEEDS, number])

    def random(self) -> np.ndarray:
        """Order by chance."""
        return self._draw(1).random(len(self._training))


@dataclass(frozen=True)
class Baseline:
    """A way to order rows: how bad each is, float64 (N,), and the trainings that it costs."""

    badness: Callable[[Baselines], np.ndarray]
    trainings: int


BASELINES: Mapping[str, Baseline] = {
    "random": Baseline(Baselines.random, 0),
    "loss": Baseline(Baselines.loss, 1),
    "AUM": Baseline(Baselines.aum, TRAININGS),
    "confident learning": Baseline(Baselines.confident_learning, FOLDS),
    "KNN-Shapley": Baseline(Baselines.knn_shapley, 1),
    "validation model": Baseline(Baselines.validation_model, TRAININGS),
}


def knn_shapley(
    training: np.ndarray,
    labels: np.ndarray,
    validation: np.ndarray,
    validation_labels: np.ndarray,
    neighbours: int,
) -> np.ndarray:
    """Return each training row's Shapley value for the mean accuracy on the validation rows."""
    n = len(training)
    squares = (training**2).sum(1) - 2 * validation @ training.T
    order = np.argsort(squares, axis=1, kind="stable")  # nearest first
    right = labels[order] == validation_labels[:, None]
    # From the farthest row to the nearest: each differs from the next by a closed form.
    ranks = np.arange(1, n)
    steps = np.diff(right.astype(float), axis=1) / neighbours
    steps *= np.minimum(neighbours, ranks) / ranks
    values = np.empty(right.shape)
    values[:, -1] = right[:, -1] / n
    values[:, :-1] = values[:, -1:] - np.cumsum(steps[:, ::-1], axis=1)[:, ::-1]
    shapley = np.zeros(right.shape)
    np.put_along_axis(shapley, order, values, axis=1)
    return shapley.mean(0)
