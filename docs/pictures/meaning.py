"""The picture of docs/meaning.md: what retraining the last epoch without one row really does."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from looks import FOLDER, HARMFUL, HELPFUL, NEUTRAL, plt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from network_defs.samples import load_breast_cancer, write_table
from nnabla_influence import score
from nnabla_influence.definition import load_definition
from nnabla_influence.device import choose_device
from nnabla_influence.influence.step_inputs import step_inputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.nnabla_cli.training import train
from nnabla_influence.progress import SilentProgress
from nnabla_influence.resources import network_defs_folder
from nnabla_influence.retraining.evaluation import Evaluator
from nnabla_influence.runs.run import read_run
from nnabla_influence.runs.steps import Step
from nnabla_influence.scoring.inputs import open_training, open_validation, solver_that_trained

RANKING = "influence.csv"


class LastEpoch:
    """The last epoch of a logistic regression on breast_cancer, to be retrained without a row."""

    def __init__(self, folder: Path):
        model = folder / "logistic_regression.nntxt"
        shutil.copy(network_defs_folder() / model.name, model)
        write_table(folder, load_breast_cancer(), n_training=400, n_validation=169)
        train(model, folder / "run", window="last", keep="sqrt", device="cpu")
        run, definition = read_run(folder / "run"), load_definition(model)
        context = choose_device("cpu").context
        trained = open_training(definition, None, SilentProgress())
        validated = open_validation(definition, None, SilentProgress())
        self.steps: tuple[Step, ...] = run.steps
        self._start = run.checkpoint(run.steps[0].step)
        self._inputs = step_inputs(definition, run, trained.batch, context)
        self._trainer = Trainer(definition, solver_that_trained(definition, run), context)
        self._evaluator = Evaluator(definition, context, run.parameters())
        self._validated = validated
        self.ranking = score(model, run=folder / "run", output=folder / RANKING, device="cpu")

    def losses(self, left_out: int | None = None) -> np.ndarray:
        """Return the mean validation loss before the epoch's first step and after each step."""
        weights = {} if left_out is None else {left_out: 0.0}
        self._trainer.start(self._start)
        found = [self._loss()]
        for step in self.steps:
            self._trainer.step(step, self._inputs, weights)
            found.append(self._loss())
        return np.array(found)

    def _loss(self) -> float:
        parameters, rows = self._trainer.checkpoint().parameters, np.arange(len(self._validated))
        return self._evaluator.mean_loss(parameters, self._validated.batch, rows)


def draw_meaning(folder: Path) -> Path:
    """Draw the change of the validation loss without the most harmful and the most helpful row.

    Returns:
        The ranking, in the folder.
    """
    epoch = LastEpoch(folder)
    as_it_was = epoch.losses()
    middle = epoch.ranking.order[len(epoch.ranking) // 2]
    chosen = [
        (epoch.ranking.order[-1], "the most helpful row", HELPFUL),
        (middle, "a row from the middle", NEUTRAL),
        (epoch.ranking.order[0], "the most harmful row", HARMFUL),
    ]
    figure, axis = plt.subplots(figsize=(7.2, 3.6))
    n = len(epoch.steps)
    axis.axhline(0, color="0.6", lw=0.8)
    for row, name, colour in chosen:
        change = epoch.losses(left_out=int(row)) - as_it_was
        influence = epoch.ranking.scores.influence[row]
        axis.plot(change, color=colour, lw=1.8)
        axis.plot([n + 0.6, n + 2.6], [influence] * 2, color=colour, lw=3, solid_capstyle="butt")
        axis.annotate(
            f"without {name} ({row}):\nreally {change[-1]:+.1e}, influence {influence:+.1e}",
            (n + 3.2, influence),
            color=colour,
            va="center",
            fontsize=8.5,
            annotation_clip=False,
        )
        print(f"row {row}, {name}: really {change[-1]:+.3e}, influence {influence:+.3e}")
    axis.set_xlim(0, n + 3)
    axis.set_xlabel("step of the last epoch, redone")
    axis.set_ylabel("change of the mean\nvalidation loss")
    axis.ticklabel_format(axis="y", scilimits=(0, 0))
    axis.spines[["top", "right"]].set_visible(False)
    figure.subplots_adjust(left=0.12, right=0.66, bottom=0.15, top=0.92)
    figure.savefig(FOLDER / "meaning.png", dpi=110)
    return folder / RANKING
