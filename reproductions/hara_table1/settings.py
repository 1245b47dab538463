"""The settings of the paper's section 7.1: what is trained, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Settings:
    """One column of the experiment: a problem and a model.

    Attributes:
        problem: ``fair`` or ``mnist``.
        model: ``logreg`` or ``dnn``.
        n_rows: Rows of each part.
        hidden: Units of the hidden layers (ReLU).
        batch_size: Examples of a mini-batch.
        epochs: Of the training.
        decaying: Whether the learning rate falls as 1/sqrt(t + 1).
        alpha: Weight decay; None to choose it by cross-validation.
        damping: What is added to the Hessian's diagonal for Koh and Liang's method; None for the
            weight decay alone.
    """

    problem: str
    model: str
    n_rows: int
    hidden: tuple[int, ...]
    batch_size: int
    epochs: int
    decaying: bool
    alpha: float | None
    damping: float | None

    @property
    def steps_per_epoch(self) -> int:
        """Solver updates of an epoch; every row is used once."""
        return -(-self.n_rows // self.batch_size)

    def learning_rate(self, step: int) -> float:
        """The rate of update ``step``, from 0."""
        return 0.1 / math.sqrt(step + 1) if self.decaying else 0.1

    def weight_decay(self, x: np.ndarray, y: np.ndarray, seed: int) -> float:
        """Return alpha, where it is chosen as 1/(C n) of scikit-learn's cross-validation."""
        if self.alpha is not None:
            return self.alpha
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegressionCV

        search = LogisticRegressionCV(random_state=seed, fit_intercept=False, cv=5)
        with warnings.catch_warnings():  # it stops after 100 iterations, as it did for the paper
            warnings.simplefilter("ignore", ConvergenceWarning)
            search.fit(x.astype(np.float64), y[:, 0])
        return float(1 / (search.C_[0] * len(x)))


def settings(problem: str, model: str, n_rows: int = 200) -> Settings:
    """Return the paper's settings; ``fair`` stands where the paper has Adult."""
    if model == "logreg":
        epochs = {"fair": 20, "mnist": 5}[problem]
        return Settings(problem, model, n_rows, (), 5, epochs, True, None, None)
    return Settings(problem, model, n_rows, (8, 8), 20, 10, False, 0.001, 1.0)
