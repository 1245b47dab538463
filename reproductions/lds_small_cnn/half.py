"""Leave half of each subset's gradients out: a second truth, to judge the first and the scores.

The retest of `validate` leaves nine tenths out. That is so near the whole that what kinks of ReLU
and pooling do to one they do to the other, and so it flatters the truth. A half is further away.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnabla_influence.definition import load_definition
from nnabla_influence.device import choose_device
from nnabla_influence.influence.step_inputs import step_inputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.progress import SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.retraining.evaluation import Evaluator
from nnabla_influence.retraining.retraining import Retraining, replayed
from nnabla_influence.runs.run import Run
from nnabla_influence.scoring.inputs import open_training, open_validation

LEFT = 0.5


def half_changes(definition_path: Path, run: Run, subsets: Sequence[np.ndarray]) -> np.ndarray:
    """Redo the last epoch with half of the gradients of each subset; return twice the changes.

    The run must have been recorded with ``keep="sqrt"`` or ``"all"``.
    """
    definition, context = load_definition(definition_path), choose_device("cpu").context
    progress = SilentProgress()
    trained = open_training(definition, None, progress)
    validated = open_validation(definition, None, progress)
    last = run.steps[-1].epoch
    steps = tuple(step for step in run.steps if step.epoch == last)
    trainer = Trainer(definition, definition.solver, context)
    inputs = step_inputs(definition, run, trained.batch, context)
    with without_futile_imports():
        start = replayed(run, trainer, steps[0].step, inputs)
        evaluator, rows = (
            Evaluator(definition, context, run.parameters()),
            np.arange(len(validated)),
        )
        retraining = Retraining(trainer, start, steps, inputs, len(trained))
        base = evaluator.mean_loss(retraining.base(progress), validated.batch, rows)
        parameters = (retraining.without(some.tolist(), LEFT) for some in subsets)
        losses = [evaluator.mean_loss(each, validated.batch, rows) for each in parameters]
    return (np.array(losses) - base) / (1 - LEFT)
