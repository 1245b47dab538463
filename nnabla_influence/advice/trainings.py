"""What the workers of an advice do: train from a seed, judge the training, and score its rows.

Arguments are plain and results go to files, so that the work can be done in other processes and is
not done again after an interruption.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nnabla as nn
import numpy as np

from nnabla_influence.advice.relabelling import class_scores, relabel_gains
from nnabla_influence.definition import build_objective, find_label
from nnabla_influence.engine import Engine, build_engine
from nnabla_influence.errors import RunError
from nnabla_influence.files import replacing_file
from nnabla_influence.influence.influence_functions import decay_of, solve
from nnabla_influence.influence.step_engines import default_chunk_size
from nnabla_influence.influence.targets import target_gradient, target_of
from nnabla_influence.progress import SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.retraining.inputs import Config, CurveInputs, open_inputs
from nnabla_influence.retraining.seeded import Changes, SeededTraining, seeded_training

_BLOCK = 256
_CURVATURE = "gauss-newton"

Parameters = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Judged:
    """How a training does on the validation rows: the mean over the last quarter of its epochs.

    Attributes:
        right: Of each validation row the share of these epochs that predict its class, (V,); None
            where the network predicts no class.
        losses: Its mean loss, (V,).
        seconds: What the training took.
    """

    right: np.ndarray | None
    losses: np.ndarray
    seconds: float

    @property
    def values(self) -> np.ndarray:
        """What is to grow, (V,): the accuracy, or the loss with a minus where there is none."""
        return -self.losses if self.right is None else self.right


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of a training's rows, at the epoch with the least validation loss.

    Attributes:
        influence: For the target on each half of the validation rows, (2, N).
        gains: The relabel gain of each class, likewise, (2, N, C); None where there is none.
        scores: Of each class, (N, C), to be averaged over trainings; None without classes.
        losses: Of the rows, (N,).
        epoch: Which epoch, from 0.
        damping: What was added to the matrix's diagonal.
        residual: What conjugate gradients left, relative to the target's gradient.
    """

    influence: np.ndarray
    gains: np.ndarray | None
    scores: np.ndarray | None
    losses: np.ndarray
    epoch: int
    damping: float
    residual: float


def judge(config: Config, seed: int, changes: Changes, output: str) -> None:
    """Train with changes, and write how that does on the validation rows; see `Judged`."""
    began = time.perf_counter()
    inputs = open_inputs(config)
    judged = []
    n_epochs = inputs.definition.max_epoch
    with without_futile_imports():
        for epoch, parameters in enumerate(_epochs(seeded_training(inputs, seed, changes))):
            if _counts(epoch, n_epochs):
                judged.append(_evaluated(inputs, parameters))
    _write(output, _judged(judged, time.perf_counter() - began))


def score_and_judge(
    config: Config,
    seed: int,
    target: str,
    folds: tuple[Sequence[int], Sequence[int]],
    judged: str,
    output: str,
) -> None:
    """Train, score the rows for the target on each half of the validation rows, and judge.

    Args:
        config: What is trained on what.
        seed: Of the training.
        target: The name of a target.
        folds: The validation rows of each half.
        judged: Where `Judged` goes.
        output: Where `Scored` goes, the last one: with it the work is done.
    """
    began = time.perf_counter()
    inputs = open_inputs(config)
    n_epochs = inputs.definition.max_epoch
    rows = np.concatenate([np.asarray(fold, np.int64) for fold in folds])
    least, best, best_epoch = math.inf, None, 0
    found = []
    with without_futile_imports():
        for epoch, parameters in enumerate(_epochs(seeded_training(inputs, seed))):
            right, losses = _evaluated(inputs, parameters)
            if _counts(epoch, n_epochs):
                found.append((right, losses))
            if losses[rows].mean() < least:
                least, best, best_epoch = float(losses[rows].mean()), parameters, epoch
        if best is None:
            raise RunError(
                f"{inputs.definition.path}: seed {seed}: the validation loss is not finite; train"
                " with a lower learning rate"
            )
        scored = _scored(inputs, best, target, folds)
    _write(judged, _judged(found, time.perf_counter() - began))
    _write(output, dataclasses.replace(scored, epoch=best_epoch))


def _scored(
    inputs: CurveInputs, parameters: Parameters, target: str, folds: Sequence[Sequence[int]]
) -> Scored:
    engine = engine_at(inputs, parameters)
    fetch, of = inputs.validation.batch, target_of(target, inputs.definition)
    gradients = [
        target_gradient(engine, fetch, np.asarray(fold, np.int64), of, SilentProgress()).data
        for fold in folds
    ]
    solved = solve(
        engine, inputs.training, np.stack(gradients), _CURVATURE, decay_of(inputs.definition)
    )
    losses, scores = [], []
    for start in range(0, len(inputs.training), _BLOCK):
        some = np.arange(start, min(start + _BLOCK, len(inputs.training)))
        evaluation = engine.outputs(inputs.training.batch(some))
        losses.append(evaluation.losses)
        scores.append(class_scores(inputs.definition, evaluation.values))
    label = find_label(inputs.definition)
    gains = None
    if label is not None and solved.outputs is not None:
        given = label.of(inputs.training.values(label.column, np.arange(len(inputs.training))))
        gains = relabel_gains(inputs.definition, solved.outputs, given.astype(np.int64))
    return Scored(
        influence=solved.influence,
        gains=gains,
        scores=None if scores[0] is None else np.concatenate(scores),
        losses=np.concatenate(losses),
        epoch=0,
        damping=solved.damping,
        residual=solved.residual,
    )


def engine_at(inputs: CurveInputs, parameters: Parameters) -> Engine:
    """Return the engine of the network in test mode at some parameters."""
    context = inputs.device.context
    size = default_chunk_size(inputs.definition, _BLOCK)
    return build_engine(build_objective(inputs.definition, size, context, parameters), context)


def _epochs(training: SeededTraining) -> Iterator[Parameters]:
    """Yield the parameters after each epoch."""
    trainer, steps = training.trainer, training.steps
    trainer.start(training.start)
    for step, following in zip(steps, [*steps[1:], None]):
        trainer.step(step, training.inputs)
        if following is None or following.epoch != step.epoch:
            yield trainer.checkpoint().parameters


def _counts(epoch: int, n_epochs: int) -> bool:
    return epoch >= n_epochs - max(n_epochs // 4, 1)


def _evaluated(
    inputs: CurveInputs, parameters: Parameters
) -> tuple[np.ndarray | None, np.ndarray]:
    rows = np.arange(len(inputs.validation))
    losses, right = inputs.evaluator.evaluate(parameters, inputs.validation.batch, rows)
    return right, losses


def _judged(found: Sequence[tuple[np.ndarray | None, np.ndarray]], seconds: float) -> Judged:
    right = [r for r, _ in found if r is not None]
    losses = np.mean([losses for _, losses in found], axis=0)
    return Judged(np.mean(right, axis=0) if right else None, losses, seconds)


def _write(path: str | Path, record: Judged | Scored) -> None:
    values = {name: value for name, value in vars(record).items() if value is not None}
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **values)


def read_judged(path: Path) -> Judged:
    """Read what `judge` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return Judged(file.get("right"), file["losses"], float(file["seconds"]))


def read_scored(path: Path) -> Scored:
    """Read what `score_and_judge` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return Scored(
            influence=file["influence"],
            gains=file.get("gains"),
            scores=file.get("scores"),
            losses=file["losses"],
            epoch=int(file["epoch"]),
            damping=float(file["damping"]),
            residual=float(file["residual"]),
        )
