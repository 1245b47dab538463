"""Algorithm 2 and leave-one-out in float64 JAX: the yardsticks, written from the definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

MiniBatch = tuple[Sequence[int], float]
"""The rows of a step, and its learning rate."""


def float64(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {k: jnp.asarray(np.asarray(v, np.float64)) for k, v in arrays.items()}


def pick(arrays: Mapping[str, Any], rows: Any) -> dict[str, Any]:
    return {k: v[rows] for k, v in arrays.items()}


class Reference:
    """One case's losses as functions of its trainable parameters.

    Args:
        losses: (parameters, inputs) -> (n,).
        parameters: All of them; those not in ``trainable`` stay as they are.
    """

    def __init__(self, losses: Any, parameters: Mapping[str, np.ndarray], trainable: Sequence[str]):
        everything = float64(parameters)
        self.theta = {k: everything[k] for k in trainable}
        frozen = {k: v for k, v in everything.items() if k not in trainable}
        self.losses = jax.jit(lambda theta, inputs: losses({**theta, **frozen}, inputs))
        self.mean_loss = jax.jit(lambda theta, inputs: self.losses(theta, inputs).mean())
        self.gradient = jax.jit(jax.grad(self.mean_loss))
        self.per_example = jax.jit(
            lambda theta, a, inputs: jax.jvp(lambda t: self.losses(t, inputs), (theta,), (a,))[1]
        )
        self.hessian = jax.jit(
            lambda theta, a, inputs: jax.jvp(
                lambda t: jax.grad(self.mean_loss)(t, inputs), (theta,), (a,)
            )[1]
        )
        self.update = jax.jit(
            lambda theta, batch, weights, eta, weight_decay: jax.tree_util.tree_map(
                lambda t, g: t - eta * (g + weight_decay * t),
                theta,
                jax.grad(lambda t: (weights * self.losses(t, batch)).sum())(theta),
            )
        )

    def influence(
        self,
        steps: Sequence[MiniBatch],
        train: Mapping[str, np.ndarray],
        validation: Mapping[str, np.ndarray],
        weight_decay: float = 0.0,
        relabelled: Mapping[str, np.ndarray] | None = None,
    ) -> np.ndarray:
        """Algorithm 2 at ``self.theta``, literally; of rows ``relabelled`` after the training."""
        scored = float64(train if relabelled is None else relabelled)
        train, validation = float64(train), float64(validation)
        total = np.zeros(len(next(iter(train.values()))))
        u = self.gradient(self.theta, validation)
        for rows, eta in reversed(steps):
            batch = pick(train, np.asarray(rows))
            products = np.asarray(self.per_example(self.theta, u, pick(scored, np.asarray(rows))))
            for j, product in zip(rows, products):
                total[j] += eta / len(rows) * product
            hessian_u = self.hessian(self.theta, u, batch)
            u = {k: u[k] - eta * (hessian_u[k] + weight_decay * u[k]) for k in u}
        return total

    def train(
        self,
        theta: Mapping[str, Any],
        steps: Sequence[MiniBatch],
        train: Mapping[str, np.ndarray],
        weight_decay: float = 0.0,
        without: int | None = None,
    ) -> dict[str, Any]:
        """Plain Sgd; ``without`` a row: its gradient is left out, 1/|S| stays."""
        train, theta = float64(train), dict(theta)
        for rows, eta in steps:
            weights = jnp.asarray([row != without for row in rows]) / len(rows)
            batch = pick(train, np.asarray(rows))
            theta = self.update(theta, batch, weights, eta, weight_decay)
        return theta
