"""Least squares by gradient steps with momentum, in float64 NumPy: a trainer with no nnabla in it.

Its losses, leaving rows out and all, are written out again in `retrained`, without any shortcut.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnabla_influence.runs.steps import Step

MU = 0.5


@dataclass(frozen=True)
class State:
    values: Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Checkpoint:
    step: int
    parameters: Mapping[str, np.ndarray]
    solver: State

    @property
    def n_bytes(self) -> int:
        states = [array for values in self.solver.values.values() for array in values.values()]
        return sum(array.nbytes for array in (*self.parameters.values(), *states))


class LinearTrainer:
    """Counts its steps; ``jitter`` makes it a device that never gives the same twice."""

    def __init__(self, jitter: float = 0.0):
        self.n_steps = 0
        self._rng = np.random.default_rng(0) if jitter else None
        self._jitter = jitter

    def start(self, checkpoint: Any) -> None:
        self._next = checkpoint.step
        self._theta = checkpoint.parameters["theta"].copy()
        self._v = checkpoint.solver.values["m"]["theta"].copy()

    def step(self, step: Step, fetch: Any, weights: Mapping[int, float]) -> None:
        assert step.step == self._next
        self._next += 1
        self.n_steps += 1
        gradient = np.zeros_like(self._theta)
        for batch in step.batches:
            rows = fetch(batch)
            v = np.array([weights.get(int(row), 1.0) for row in batch]) / len(batch)
            gradient += 2 * rows["x"].T @ (v * (rows["x"] @ self._theta - rows["y"]))
        self._v = MU * self._v + step.learning_rate * gradient
        self._theta = self._theta - self._v
        if self._rng is not None:
            self._theta = self._theta + self._jitter * self._rng.normal(size=len(self._theta))

    def checkpoint(self) -> Any:
        state = State({"m": {"theta": self._v.copy()}})
        return Checkpoint(self._next, {"theta": self._theta.copy()}, state)


@dataclass(frozen=True)
class LinearData:
    n: int = 24
    epochs: int = 3
    batch_size: int = 4
    learning_rate: float = 0.05
    seed: int = 0
    x: np.ndarray = field(init=False)
    y: np.ndarray = field(init=False)
    validation: tuple[np.ndarray, np.ndarray] = field(init=False)
    steps: tuple[Step, ...] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        drawn = rng.normal(size=(self.n, 3)), rng.normal(size=self.n)
        order = np.concatenate([rng.permutation(self.n) for _ in range(self.epochs)])
        per_epoch = self.n // self.batch_size
        steps = tuple(
            Step(i, i // per_epoch, self.learning_rate, (batch,))
            for i, batch in enumerate(order.reshape(-1, self.batch_size))
        )
        for name, value in {
            "x": drawn[0],
            "y": drawn[1],
            "validation": (rng.normal(size=(9, 3)), rng.normal(size=9)),
            "steps": steps,
        }.items():
            object.__setattr__(self, name, value)

    @property
    def start(self) -> Any:
        return Checkpoint(0, {"theta": np.ones(3)}, State({"m": {"theta": np.zeros(3)}}))

    def fetch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"x": self.x[rows], "y": self.y[rows]}

    def loss(self, parameters: Mapping[str, np.ndarray]) -> float:
        x, y = self.validation
        return float(((x @ parameters["theta"] - y) ** 2).mean())

    def retrained(self, left_out: Collection[int] = (), weight: float = 0.0) -> np.ndarray:
        """Final theta of the whole run without rows, from the definition."""
        theta, v = np.ones(3), np.zeros(3)
        for step in self.steps:
            g = np.zeros(3)
            for j in step.rows:
                v_j = (weight if j in left_out else 1.0) / len(step.rows)
                g += v_j * 2 * (self.x[j] @ theta - self.y[j]) * self.x[j]
            v = MU * v + step.learning_rate * g
            theta = theta - v
        return theta
