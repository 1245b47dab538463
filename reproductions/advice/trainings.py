"""Trainings of a case's network on any rows, for the judge and for the baselines.

The steps are the package's own, which are nnabla_cli's to the bit; nothing here knows of
`nnabla_influence.advice`.
"""

from __future__ import annotations

import copy
import csv
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Definition, build_objective, load_definition
from nnabla_influence.definition.training_network import initial_parameters
from nnabla_influence.device import choose_device
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.nnabla_cli.order import seeded_steps
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.solvers import STATE_NAMES, SolverState

BLOCK = 250
"""Rows in the network at once."""

Parameters = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as the network reads them: float32 (n, columns), and int64 (n, 1)."""

    features: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def some(self, rows: np.ndarray) -> Rows:
        """Return rows by number."""
        return Rows(self.features[rows], self.labels[rows])

    def fetch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the network's inputs of rows."""
        return {"x": self.features[rows], "y": self.labels[rows]}


def read_rows(path: Path) -> Rows:
    """Read a CSV of a case, but its comment columns."""
    with path.open(newline="") as file:
        header = next(csv.reader(file))
    columns = [i for i, cell in enumerate(header) if not cell.startswith("#")]
    table = np.loadtxt(path, np.float32, delimiter=",", skiprows=1, usecols=columns, ndmin=2)
    return Rows(table[:, :-1], table[:, -1:].astype(np.int64))


class Network:
    """A case's network, to train and to ask.

    Args:
        path: Its definition.
    """

    def __init__(self, path: Path):
        self._definition = load_definition(path)
        self._context = choose_device("cpu").context
        start = initial_parameters(self._definition, 0)
        self._trainer = Trainer(self._definition, self._definition.solver, self._context)
        self._objective = build_objective(self._definition, BLOCK, self._context, start)
        assert self._objective.outputs is not None
        self._outputs: nn.Variable = self._objective.outputs

    def train(self, rows: Rows, seed: int, n_steps: int | None = None) -> Iterator[Parameters]:
        """Train from the start of a seed, and yield the parameters after each epoch.

        Args:
            rows: What to train on. They settle the iterations of an epoch.
            seed: Of initial values and orders.
            n_steps: About how many steps in place of the definition's epochs; whole epochs.
        """
        definition = _for_rows(self._definition, len(rows), n_steps)
        steps = seeded_steps(definition, len(rows), seed=seed)
        start = initial_parameters(definition, seed)
        zeros = {name: np.zeros_like(start[name]) for name in definition.trainable}
        states = dict.fromkeys(STATE_NAMES[definition.solver.name], zeros)
        inputs = StepInputs(rows.fetch)
        self._trainer.start(Checkpoint(0, start, SolverState(0, states)))
        for step, following in zip(steps, (*steps[1:], None)):
            self._trainer.step(step, inputs)
            if following is None or following.epoch > step.epoch:
                yield self._trainer.checkpoint().parameters

    def logits(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Return the outputs before the softmax, float64 (n, classes)."""
        return self._forward(self._outputs, parameters, rows)

    def features(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Return what the last layer reads, float64 (n, ...)."""
        last_hidden = self._outputs.parent.inputs[0]
        return self._forward(last_hidden, parameters, rows).reshape(len(rows), -1)

    def _forward(self, variable: nn.Variable, parameters: Parameters, rows: Rows) -> np.ndarray:
        self._objective.set_parameters(parameters)
        found = []
        for start in range(0, len(rows), BLOCK):
            block = rows.features[start : start + BLOCK]
            with nn.context_scope(self._context):
                self._objective.inputs["x"].d = np.resize(block, (BLOCK, block.shape[1]))
                variable.forward()
            found.append(np.array(variable.d[: len(block)], np.float64))
        return np.concatenate(found)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def _for_rows(definition: Definition, n_rows: int, n_steps: int | None) -> Definition:
    assert definition.training is not None
    iterations = n_rows // definition.training.batch_size
    proto = copy.deepcopy(definition.proto)
    proto.training_config.iter_per_epoch = iterations
    epochs = definition.max_epoch if n_steps is None else round(n_steps / iterations)
    return dataclasses.replace(definition, proto=proto, max_epoch=epochs)
