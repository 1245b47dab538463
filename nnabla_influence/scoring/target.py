"""The target of a score: which validation rows, and what of their losses."""

from __future__ import annotations

from dataclasses import dataclass

import nnabla as nn
import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import find_label
from nnabla_influence.engine import Engine, Evaluation
from nnabla_influence.errors import DatasetError, ScoreError
from nnabla_influence.influence.relabelling import classes_of
from nnabla_influence.influence.targets import Target, target_gradient, target_of
from nnabla_influence.progress import Progress
from nnabla_influence.scoring.inputs import Inputs

BLOCK = 256


@dataclass(frozen=True, eq=False)
class ChosenTarget:
    """What is computed of the validation rows at the final parameters.

    Attributes:
        rows: Those whose losses make the target, shape ``(n,)``.
        target: Of their losses.
        value: V.
        gradient: Of V, with respect to parameters and running statistics.
        class_: The class of the rows, if it was chosen.
    """

    rows: np.ndarray
    target: Target
    value: float
    gradient: nn.NdArray
    class_: int | None

    @property
    def words(self) -> str:
        """The target, in the header of a ranking."""
        of_class = "" if self.class_ is None else f" class {self.class_}"
        return f"{self.target.name}{of_class}"


def choose_target(inputs: Inputs, engine: Engine, progress: Progress) -> ChosenTarget:
    """Compute the target that the options ask for.

    Raises:
        DatasetError: No validation row has the class.
        ScoreError: The network predicts no class; the target has no gradient.
    """
    options, dataset, rows = inputs.options, inputs.validation, inputs.validation_rows
    target = target_of(options.target, engine.objective.definition)
    losses = evaluate(engine, dataset, rows, progress).losses
    class_ = None
    if options.target_class is not None:
        labels = _labels(engine, dataset, rows)
        class_ = _class(options.target_class, labels, losses, dataset)
        rows, losses = rows[labels == class_], losses[labels == class_]
    gradient = target_gradient(engine, dataset.batch, rows, target, progress)
    return ChosenTarget(rows, target, float(target.phi(losses)[0].mean()), gradient, class_)


def evaluate(
    engine: Engine,
    dataset: Dataset,
    rows: np.ndarray,
    progress: Progress,
    *,
    with_values: bool = False,
) -> Evaluation:
    """Return the losses, predictions and, if asked for, outputs that the network has of rows."""
    losses, predictions, values = [], [], []
    with progress.stage("Losses and predictions", len(rows), "rows") as stage:
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            found = engine.outputs(dataset.batch(some))
            losses.append(found.losses)
            if found.predictions is not None:
                predictions.append(found.predictions)
            if with_values and found.values is not None:
                values.append(found.values)
            stage.update(len(some))
    of_rows = (np.concatenate(each) if each else None for each in (predictions, values))
    return Evaluation(np.concatenate(losses), *of_rows)


def _labels(engine: Engine, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    definition = engine.objective.definition
    label = None if engine.objective.prediction is None else find_label(definition)
    if label is None:
        raise ScoreError(
            f"{definition.path}: the network predicts no class, so no class can be the target; omit"
            " the target class"
        )
    return classes_of(dataset, label, rows)


def _class(asked: int | str, labels: np.ndarray, losses: np.ndarray, dataset: Dataset) -> int:
    classes = np.unique(labels).tolist()
    if asked == "worst":
        return max(classes, key=lambda c: float(losses[labels == c].mean()))
    if asked not in classes:
        raise DatasetError(
            f"{dataset.path}: no validation row has the target class {asked}; the classes there"
            f" are {', '.join(map(str, classes))}"
        )
    return int(asked)
