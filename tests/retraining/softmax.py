"""A small data set, and its trainings in float64 NumPy: softmax regression by momentum, by hand.

Nothing of the package is in the yardstick but the drawn start, read from a run's first checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from network_defs.samples import Scheduler, Training, logistic_regression, write_definition
from nnabla_influence.retraining.inputs import Config
from nnabla_influence.runs.run import read_run

W, B = "Affine/affine/W", "Affine/affine/b"
N, N_VALIDATION, N_TEST, BATCH, EPOCHS = 37, 20, 30, 5, 4
RATE, MU, DECAY, INTERVAL = 0.3, 0.75, 0.02, 2
ITERATIONS = 7
"""Of an epoch: two rows are left, with which the next one begins."""

Data = tuple[np.ndarray, np.ndarray]
Theta = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Softmax:
    """Model and data on disk, and the data as the files hold them."""

    folder: Path
    training: Data
    validation: Data
    test: Data

    def config(self, **changes: object) -> Config:
        given = {"model": "net.nntxt", **{p: f"{p}.csv" for p in ("training", "validation")}}
        given |= {"test": "test.csv"}
        paths = {name: str(self.folder / path) for name, path in given.items()}
        return Config(**{**paths, "device": "cpu", **changes})  # type: ignore[arg-type]

    def trained(
        self, theta: Theta, seed: int, weights: Callable[[int, int], float] = lambda row, epoch: 1.0
    ) -> Theta:
        """The whole training from ``theta``; each row's gradient by its weight in each epoch."""
        w, b = theta
        m_w, m_b = np.zeros_like(w), np.zeros_like(b)
        x, y = self.training
        for epoch, rate, batches in steps(seed):
            g_w, g_b = np.zeros_like(w), np.zeros_like(b)
            for rows in batches:
                p = probabilities((w, b), x[rows])
                p[np.arange(len(rows)), y[rows]] -= 1
                p *= np.array([weights(row, epoch) for row in rows])[:, None] / BATCH
                g_w, g_b = g_w + x[rows].T @ p, g_b + p.sum(0)
            m_w = MU * m_w + rate * (g_w + DECAY * w)
            m_b = MU * m_b + rate * (g_b + DECAY * b)
            w, b = w - m_w, b - m_b
        return w, b


def steps(seed: int) -> Iterator[tuple[int, float, Sequence[np.ndarray]]]:
    """Each update's epoch, rate and mini-batches: one stream of permutations, in pieces."""
    rng = np.random.default_rng(seed)
    stream = np.concatenate([rng.permutation(N) for _ in range(EPOCHS)])
    for last in range(INTERVAL - 1, EPOCHS * ITERATIONS, INTERVAL):
        iterations = range(last - INTERVAL + 1, last + 1)
        batches = [stream[i * BATCH : (i + 1) * BATCH] for i in iterations]
        yield last // ITERATIONS, RATE * 0.9 ** (last // 3), batches


def probabilities(theta: Theta, x: np.ndarray) -> np.ndarray:
    e = np.exp(x @ theta[0] + theta[1])
    return e / e.sum(1, keepdims=True)


def losses(theta: Theta, data: Data) -> np.ndarray:
    x, y = data
    return -np.log(probabilities(theta, x)[np.arange(len(y)), y])


def accuracy(theta: Theta, data: Data) -> float:
    x, y = data
    return float(((x @ theta[0] + theta[1]).argmax(1) == y).mean())


def theta_of(parameters: Mapping[str, np.ndarray]) -> Theta:
    return parameters[W].astype(np.float64), parameters[B].astype(np.float64)


def start_of(run: Path) -> Theta:
    return theta_of(read_run(run).checkpoint(0).parameters)


def make_softmax(folder: Path) -> Softmax:
    rng = np.random.default_rng(3)
    teacher = rng.normal(size=(5, 3))
    data = {}
    for part, n in (("training", N), ("validation", N_VALIDATION), ("test", N_TEST)):
        x = rng.normal(size=(n, 5)).astype(np.float32)
        y = (x @ teacher + 0.5 * rng.gumbel(size=(n, 3))).argmax(1)
        lines = [",".join([*(f"x__{i}" for i in range(5)), "y"])]
        lines += [",".join([*(repr(float(v)) for v in a), str(b)]) for a, b in zip(x, y)]
        (folder / f"{part}.csv").write_text("\n".join(lines) + "\n")
        data[part] = x.astype(np.float64), y
    training = Training(
        n_rows=N,
        batch_size=BATCH,
        epochs=EPOCHS,
        solver="Momentum",
        learning_rate=RATE,
        hyperparameters={"momentum": MU},
        scheduler=Scheduler("Exponential", {"gamma": 0.9, "iter_interval": 3}),
        weight_decay=DECAY,
        update_interval=INTERVAL,
    )
    write_definition(folder / "net.nntxt", logistic_regression((5,), 3), training)
    return Softmax(folder, **data)
