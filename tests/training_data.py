"""A linear regression, small enough to be trained by hand, for the tests of recorded trainings."""

from __future__ import annotations

import numpy as np


def linear_data(n, seed=0):
    """Rows whose first value tells the row's number: ``round(1000 * x[row, 0]) == row``."""
    rng = np.random.RandomState(seed)
    x = rng.randn(n, 3).round(3)
    x[:, 0] = np.arange(n) / 1000
    y = (x @ [[1.0], [-2.0], [0.5]] + 0.1 * rng.randn(n, 1)).round(3)
    return x, y


def rows_of(x):
    """Tell the row numbers of rows of ``linear_data``."""
    return np.rint(np.asarray(x)[:, 0] * 1000).astype(int).tolist()


def train_by_hand(steps, x, y, weights, bias, decay):
    """SGD on the squared error in float64, from nothing but the recorded steps."""
    weights, bias = weights.astype(np.float64), bias.astype(np.float64)
    for step in steps:
        gradient_w, gradient_b = decay * weights, decay * bias
        for rows in step.batches:
            error = x[rows] @ weights + bias - y[rows]
            gradient_w = gradient_w + 2 * x[rows].T @ error / len(rows)
            gradient_b = gradient_b + 2 * error.mean(axis=0)
        weights = weights - step.learning_rate * gradient_w
        bias = bias - step.learning_rate * gradient_b
    return weights, bias
