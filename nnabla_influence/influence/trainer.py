"""Train from any checkpoint, step by step, as nnabla_cli does: to replay, or leave rows out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Definition, SolverSettings
from nnabla_influence.definition.training_network import TrainingNetwork, build_training_network
from nnabla_influence.errors import RunError
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.steps import Step
from nnabla_influence.solvers import build_solver, get_state, set_state

NOTHING: Mapping[int, float] = {}


class Trainer:
    """A training that can be set to any of its checkpoints and continued from there.

    On a CPU it computes the very bits that nnabla_cli does: the same functions, in the same order,
    at the same mini-batch sizes, and nnabla's own solver.

    Args:
        definition: The network.
        solver: That trained it; its learning rate is each step's own.
        context: Where to compute.

    Attributes:
        context: Where it computes.
        trainable: The names of the parameters that move.
    """

    def __init__(self, definition: Definition, solver: SolverSettings, context: nn.Context):
        self.context, self.trainable = context, definition.trainable
        self._definition, self._settings = definition, solver
        self._networks: dict[int, TrainingNetwork] = {}
        self._parameters: dict[str, nn.Variable] = {}
        self._solver: Any = None
        self._next = 0

    def start(self, checkpoint: Checkpoint) -> None:
        """Set parameters, running statistics and the solver's state to those of ``checkpoint``.

        Raises:
            ModelError: They do not fit the network.
            RunError: The solver did not train all that the definition trains.
        """
        self._network(self._definition.training.batch_size if self._definition.training else 2)
        with nn.context_scope(self.context):
            for name, variable in self._parameters.items():
                variable.d = checkpoint.parameters[name]
            # A new solver, since nnabla's count of updates cannot be set back otherwise.
            self._solver = build_solver(self._settings, self.context)
            trainable = {name: self._parameters[name] for name in self.trainable}
            for state, values in checkpoint.solver.values.items():
                lacking = sorted(set(trainable) - set(values))
                if lacking:
                    raise RunError(
                        f"the run's solver has no state ({state}) of {lacking[0]}, which the"
                        " definition trains: another solver trained it, and a training with more"
                        " than one cannot be replayed; train with one"
                    )
            self._solver.set_parameters(trainable)
            set_state(self._solver, checkpoint.solver)
        self._next = checkpoint.step

    def step(self, step: Step, inputs: StepInputs, weights: Mapping[int, float] = NOTHING) -> None:
        """Make the next solver update.

        Args:
            step: Which rows, and the learning rate.
            inputs: Gives the training data of each step.
            weights: By row, the weight of its gradient, 1 by default; 0 leaves the row out, while
                1/|S| and the statistics of batch normalisations stay.
        """
        if step.step != self._next:
            raise ValueError(f"step {step.step} does not follow {self._next - 1}")
        with nn.context_scope(self.context):
            self._solver.zero_grad()
            for rows, batch in zip(step.batches, inputs.of(step)):
                network = self._network(len(rows))
                for name, variable in network.inputs.items():
                    variable.d = np.asarray(batch[name], np.float32)
                for draw in network.draws:
                    draw.variable.d = batch[draw.name]
                network.add_gradient(np.array([weights.get(int(row), 1.0) for row in rows]))
            if self._settings.weight_decay > 0:
                self._solver.weight_decay(self._settings.weight_decay)
            self._solver.set_learning_rate(step.learning_rate)
            self._solver.update()
        self._next += 1

    def checkpoint(self) -> Checkpoint:
        """Return the present checkpoint, a copy."""
        return Checkpoint(
            step=self._next,
            parameters={n: np.array(v.data.get_data("r")) for n, v in self._parameters.items()},
            solver=get_state(self._solver),
        )

    def _network(self, batch_size: int) -> TrainingNetwork:
        if batch_size not in self._networks:
            built = build_training_network(
                self._definition, batch_size, self.context, self._parameters
            )
            self._networks[batch_size] = built
            self._parameters = dict(built.parameters)
        return self._networks[batch_size]
