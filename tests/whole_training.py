"""A complete training in float64 JAX, as a function of the rows' weights: the definition itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnabla_influence.definition import SolverSettings
from nnabla_influence.runs.steps import Step
from tests.reference import float64, pick
from tests.rules import RULES, first_states


class WholeTraining:
    """Trains a case's network and asks for the validation loss at its end.

    Args:
        losses: (parameters, inputs) -> (n,), in test mode: of the validation.
        parameters: The initial ones, running statistics included.
        trainable: The names of those that the solver moves.
        steps: All of them.
        train: Training data by column.
        validation: Validation data by column.
        solver: Its settings.
        training_losses: (parameters, inputs) -> (n,), of the training, where it is another.
        statistics: (parameters, inputs) -> {name: value}, what running statistics move towards.
        decay_rate: Of the running statistics.
    """

    def __init__(
        self,
        losses: Any,
        parameters: Mapping[str, np.ndarray],
        trainable: Sequence[str],
        steps: Sequence[Step],
        train: Mapping[str, np.ndarray],
        validation: Mapping[str, np.ndarray],
        solver: SolverSettings,
        training_losses: Any = None,
        statistics: Any = None,
        decay_rate: float = 0.9,
    ):
        self.training_losses = training_losses or losses
        self.losses, self.statistics, self.decay_rate = losses, statistics, decay_rate
        self.trainable = list(trainable)
        self.shapes = {name: parameters[name].shape for name in trainable}
        self.steps, self.solver = steps, solver
        self.n_rows = len(next(iter(train.values())))
        self.n_epochs = 1 + max(step.epoch for step in steps)
        # Arguments, not constants: XLA's CPU compiler folds constant convolutions wrongly.
        given = (float64(parameters), float64(train), float64(validation))
        # Compiling an unrolled training takes far longer than running it; so not too well.
        quick = {"xla_backend_optimization_level": 0}
        loss = jax.jit(self._loss, compiler_options=quick)
        derivative = jax.jit(jax.grad(self._loss), compiler_options=quick)
        self.loss = lambda weights: loss(weights, *given)
        self.derivative = lambda weights: derivative(weights, *given)
        of_train = jax.jit(jax.grad(self._loss, argnums=2), compiler_options=quick)
        ones, (start, known, validating) = np.ones((self.n_epochs, self.n_rows)), given
        self.loss_of = lambda **changed: loss(ones, start, {**known, **changed}, validating)
        self.derivatives_by_train = lambda: of_train(ones, *given)

    def _loss(self, weights: Any, start: Any, train: Any, validation: Any) -> Any:
        """The validation loss after the training; ``weights`` (E, N) are those of the gradients."""
        theta = jnp.concatenate([start[name].ravel() for name in self.trainable])
        rest = {k: v for k, v in start.items() if k not in self.trainable}
        states = first_states(self.solver.name, theta)
        for step in self.steps:
            g = jnp.zeros_like(theta)
            for rows in step.batches:
                batch = pick(train, np.asarray(rows))

                v = weights[step.epoch, np.asarray(rows)] / len(rows)

                def weighted_loss(
                    theta: Any, batch: Any = batch, v: Any = v, rest: Any = rest
                ) -> Any:
                    return (v * self.training_losses({**rest, **self.named(theta)}, batch)).sum()

                g = g + jax.grad(weighted_loss)(theta)
                if self.statistics is not None:
                    d = float(np.float32(self.decay_rate))
                    towards = self.statistics({**rest, **self.named(theta)}, batch)
                    rest = {k: d * v + (1 - d) * towards[k] for k, v in rest.items()}
            rule = RULES[self.solver.name]
            theta, states = rule(
                *(theta, states, g, step.learning_rate, step.step),
                *(self.solver.hyperparameters, self.solver.weight_decay),
            )
        return self.losses({**rest, **self.named(theta)}, validation).mean()

    def named(self, theta: Any) -> dict[str, Any]:
        named, start = {}, 0
        for name in self.trainable:
            size = int(np.prod(self.shapes[name]))
            named[name] = theta[start : start + size].reshape(self.shapes[name])
            start += size
        return named

    def central_differences(self, rows: Sequence[int], half: float = 1e-5) -> np.ndarray:
        """The influence of ``rows`` over all epochs, -dL/dw, by the definition."""
        ones = np.ones((self.n_epochs, self.n_rows))
        out = []
        for row in rows:
            up, down = ones.copy(), ones.copy()
            up[:, row] += half
            down[:, row] -= half
            out.append(-(float(self.loss(up)) - float(self.loss(down))) / (2 * half))
        return np.array(out)

    def influence(self) -> np.ndarray:
        """The same of every row in each epoch, by JAX's derivative of the whole training."""
        return -np.asarray(self.derivative(np.ones((self.n_epochs, self.n_rows))))
