"""Do a run's last steps, done again, lead where the training arrived?"""

from __future__ import annotations

import dataclasses

import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import Definition, SolverSettings
from nnabla_influence.device import Device
from nnabla_influence.errors import ModelError, RunError, UnsupportedError
from nnabla_influence.influence.step_inputs import step_inputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.influence.trajectory import OTHERWISE
from nnabla_influence.runs.run import Run

FURTHEST = 0.1
"""Of the way that the parameters went: rounding on another device stays far below it, another loss
or other inputs are off by about all of it."""


def check_last_steps(
    definition: Definition, run: Run, solver: SolverSettings, trained: Dataset, device: Device
) -> None:
    """Refuse to trace a run at its final parameters if its last steps were other ones.

    Where the run keeps checkpoints, the steps from the last one on are done again. A weight decay
    that the model file says and the recorder did not see is noticed however small. Exact scores
    prove more, byte for byte; where nothing is kept, nothing can be done again.

    Raises:
        RunError: The steps lead elsewhere.
    """
    if not run.checkpoints:
        return
    off = _distance(definition, run, solver, trained, device)
    if off is None or off == 0:
        return
    decay = definition.solver.weight_decay
    if decay != solver.weight_decay:
        with_decay = dataclasses.replace(solver, weight_decay=decay)
        by_definition = _distance(definition, run, with_decay, trained, device)
        if by_definition is not None and by_definition < off / 10:
            raise RunError(
                f"{run.folder}: was trained with the weight decay {decay:g} of {definition.path},"
                f" but recorded with {solver.weight_decay:g}; call recorder.solver.weight_decay, or"
                " give Recorder(weight_decay=...)"
            )
    if not off <= FURTHEST:  # NaN too
        raise RunError(
            f"{run.folder}: replaying the steps from {run.checkpoints[-1]} on gives other"
            f" parameters (off by {off:.2g} of the way that they went); {OTHERWISE}."
            " Scores of it would be wrong"
        )


def _distance(
    definition: Definition, run: Run, solver: SolverSettings, trained: Dataset, device: Device
) -> float | None:
    """Return how far the replay arrives from the final parameters; None where there is none."""
    start, final = run.checkpoint(run.checkpoints[-1]), run.parameters()
    try:
        inputs = step_inputs(definition, run, trained.batch, device.context)
        trainer = Trainer(definition, solver, device.context)
        trainer.start(start)
        for step in run.steps:
            if step.step >= start.step:
                trainer.step(step, inputs)
        got = trainer.checkpoint().parameters
    except (ModelError, UnsupportedError):
        return None  # Method final needs no replay.
    off, way = (
        float(np.sqrt(sum(np.sum((a[n] - final[n]) ** 2.0) for n in trainer.trainable)))
        for a in (got, start.parameters)
    )
    return off / way if way else float(off > 0)
