"""The truth: train again without each row, in float64.

A retraining changes the mean validation loss by as little as 1e-6, near what float32 can tell, so
this is a NumPy twin of the recorded training in float64. It works on all retrainings at once, and
shares nothing with the package but the recorded start, order, learning rates and weight decay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from nnabla_influence.runs.run import Run
from nnabla_influence.runs.steps import Step
from reproductions.hara_table1.data import Part

Layers = list[tuple[np.ndarray, np.ndarray]]
"""From the input on, W of shape (copies, in, out) and b of shape (copies, 1, out)."""


SMALL = 1e-5
"""A weight that tells a derivative."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What leaving out does.

    Attributes:
        whole: Change of the mean validation loss without each row in the whole run, (n,).
        last: Without each row in the last epoch, (n,).
        whole_slope: The same per weight that is taken off the row's gradient, for a weight so small
            that it is the derivative: what exact scores are of.
        last_slope: Likewise in the last epoch.
        final: The twin's layers at the end of the undisturbed training, one copy.
    """

    whole: np.ndarray
    last: np.ndarray
    whole_slope: np.ndarray
    last_slope: np.ndarray
    final: Layers


def leave_each_out(run: Run, names: Sequence[str], data: Part, validation: Part) -> Truth:
    """Train without each row in turn: the same start and order, 1/|S| kept."""
    assert run.settings is not None
    steps, decay, n = run.steps, run.settings.weight_decay, len(data)
    start = layers(run.checkpoint(0).parameters, names)
    last = [step for step in steps if step.epoch == steps[-1].epoch]
    everything = np.ones((1, n))
    before_last = retrain(start, steps[: -len(last)], data, everything, decay)

    def slopes(first: Layers, some: Sequence[Step], off: float) -> np.ndarray:
        weights = np.concatenate([everything, 1 - off * np.eye(n)])
        theta = retrain(_copies(first, n + 1), some, data, weights, decay)
        loss = mean_loss(theta, validation)
        return (loss[1:] - loss[0]) / off

    return Truth(
        whole=slopes(start, steps, 1.0),
        last=slopes(before_last, last, 1.0),
        whole_slope=slopes(start, steps, SMALL),
        last_slope=slopes(before_last, last, SMALL),
        final=retrain(before_last, last, data, everything, decay),
    )


def layers(parameters: Mapping[str, np.ndarray], names: Sequence[str]) -> Layers:
    """Return nnabla's parameters as the layers of one copy, in float64."""
    return [
        (
            parameters[f"{name}/affine/W"].astype(np.float64)[None],
            parameters[f"{name}/affine/b"].astype(np.float64)[None, None],
        )
        for name in names
    ]


def retrain(
    start: Layers, steps: Sequence[Step], data: Part, weights: np.ndarray, decay: float
) -> Layers:
    """Do the steps with the gradient of row j times ``weights[c, j]`` in copy c; plain SGD."""
    theta = [(W.copy(), b.copy()) for W, b in start]
    x, y = data.x.astype(np.float64), data.y.astype(np.float64)
    for step in steps:
        (rows,) = step.batches
        h = _activations(theta, x[rows])
        v = weights[:, rows, None] / len(rows)
        delta = v * (expit(h[-1]) - y[rows])  # dL/d(logit)
        for number in reversed(range(len(theta))):
            W, b = theta[number]
            gradient = h[number].swapaxes(-1, -2) @ delta, delta.sum(axis=1, keepdims=True)
            if number:
                delta = (delta @ W.swapaxes(-1, -2)) * (h[number] > 0)
            W -= step.learning_rate * (gradient[0] + decay * W)
            b -= step.learning_rate * (gradient[1] + decay * b)
    return theta


def mean_loss(theta: Layers, data: Part) -> np.ndarray:
    """Return the mean loss of each copy, (copies,)."""
    logit = _activations(theta, data.x.astype(np.float64))[-1]
    return (np.logaddexp(0, logit) - data.y * logit).mean(axis=(1, 2))


def error(theta: Layers, data: Part) -> float:
    """Return the share of wrong predictions of the first copy."""
    logit = _activations(theta, data.x.astype(np.float64))[-1][0]
    return float(((logit > 0) != (data.y > 0.5)).mean())


def _activations(theta: Layers, x: np.ndarray) -> list[np.ndarray]:
    """What enters each layer, (copies, n, units), and the logits at last."""
    h = [x]
    for number, (W, b) in enumerate(theta):
        z = h[-1] @ W + b
        h.append(np.maximum(z, 0) if number + 1 < len(theta) else z)
    return h


def _copies(theta: Layers, n: int) -> Layers:
    return [(np.repeat(W, n, axis=0), np.repeat(b, n, axis=0)) for W, b in theta]
