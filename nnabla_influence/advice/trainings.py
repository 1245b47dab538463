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
from typing import Any

import nnabla as nn
import numpy as np

from nnabla_influence.definition import build_objective, find_label
from nnabla_influence.definition.training_network import initial_parameters
from nnabla_influence.engine import Engine, build_engine
from nnabla_influence.engine.guard import check_engines
from nnabla_influence.errors import RunError
from nnabla_influence.files import replacing_file
from nnabla_influence.influence.influence_functions import (
    InfluenceFunctions,
    decay_in_objective,
    n_products,
    solve,
)
from nnabla_influence.influence.relabelling import (
    class_scores,
    classes_of,
    has_relabel_gains,
    relabel_gains,
)
from nnabla_influence.influence.step_engines import default_chunk_size
from nnabla_influence.influence.targets import target_gradient, target_of
from nnabla_influence.progress import SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.retraining.inputs import Config, CurveInputs, open_inputs
from nnabla_influence.retraining.seeded import Changes, SeededTraining, seeded_training
from nnabla_influence.scoring.inputs import ignored_rows

_BLOCK = 256
_CURVATURE = "gauss-newton"
_OF = "of "

Parameters = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Judged:
    """How a training does on the validation rows: the mean over the last quarter of its epochs.

    Attributes:
        right: Of each validation row the share of these epochs that predict its class, (V,); None
            where the network predicts no class.
        losses: Its mean loss, (V,).
        targets: What it adds to the target, the mean likewise, (V,).
    """

    right: np.ndarray | None
    losses: np.ndarray
    targets: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """What is to grow, (V,): the accuracy, or the loss with a minus where there is none."""
        return -self.losses if self.right is None else self.right

    def at(self, rows: Sequence[int]) -> Judged:
        """Return the same of some of the rows."""
        right = None if self.right is None else self.right[list(rows)]
        return Judged(right, self.losses[list(rows)], self.targets[list(rows)])

    def joined(self, rows: Sequence[int], other: Judged, others: Sequence[int]) -> Judged:
        """Return some rows of this one, followed by others of another one."""
        one, two = self.at(rows), other.at(others)
        right = None
        if one.right is not None and two.right is not None:
            right = np.hstack([one.right, two.right])
        return Judged(
            right, np.hstack([one.losses, two.losses]), np.hstack([one.targets, two.targets])
        )


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of a training's rows, at the epoch with the least validation loss.

    Attributes:
        influence: For the target on each half of the validation rows, (2, N).
        gains: The relabel gain of each class, likewise, (2, N, C); None where there is none.
        scores: Of each class, (N, C), to be averaged over trainings; None without classes.
        losses: Of the rows, (N,).
        epoch: Which epoch, from 0.
    """

    influence: np.ndarray
    gains: np.ndarray | None
    scores: np.ndarray | None
    losses: np.ndarray
    epoch: int


def judge(config: Config, seed: int, target: str, changes: Changes, output: str) -> None:
    """Train with changes, and write how that does on the validation rows; see `Judged`."""
    inputs = open_inputs(config)
    training = seeded_training(inputs, seed, changes)
    judges = _Judges(inputs, target, training)
    with without_futile_imports():
        for epoch, parameters in enumerate(_epochs(training)):
            if judges.counts(epoch):
                judges.add(*_evaluated(inputs, parameters))
    write(output, judges.judged())


def score_and_judge(
    config: Config,
    seed: int,
    target: str,
    folds: tuple[Sequence[int], Sequence[int]],
    outputs: tuple[str, str, str],
) -> None:
    """Train, judge, and score the rows for the target on each half of the validation rows.

    Args:
        config: What is trained on what.
        seed: Of the training.
        target: The name of a target.
        folds: The validation rows of each half.
        outputs: Where `Judged`, the best epoch's parameters, and `Scored` go, in this order: with
            the last one the work is done.
    """
    inputs = open_inputs(config)
    rows = np.concatenate([np.asarray(fold, np.int64) for fold in folds])
    training = seeded_training(inputs, seed)
    judges, least, best, best_epoch = _Judges(inputs, target, training), math.inf, None, 0
    with without_futile_imports():
        for epoch, parameters in enumerate(_epochs(training)):
            right, losses = _evaluated(inputs, parameters)
            if judges.counts(epoch):
                judges.add(right, losses)
            if losses[rows].mean() < least:
                least, best, best_epoch = float(losses[rows].mean()), parameters, epoch
        if best is None:
            raise RunError(
                f"{inputs.definition.path}: seed {seed}: the validation loss is not finite; train"
                " with a lower learning rate"
            )
        scored = dataclasses.replace(_scored(inputs, best, target, folds), epoch=best_epoch)
    records: tuple[Judged | Parameters | Scored, ...] = (judges.judged(), best, scored)
    for path, record in zip(outputs, records):
        write(path, record)


def foresee(
    config: Config, parameters: str, target: str, removed: tuple[int, ...], output: str
) -> None:
    r"""Write how the target of each validation row moves to first order without some rows, (V,).

    .. math:: \varphi'(l_i) \langle \nabla l_i, s \rangle, \qquad
        (G + \lambda I) s = \frac1N \sum_{j \in S} \nabla l_j.
    """
    inputs = open_inputs(config)
    with without_futile_imports():
        engine = _engine_at(inputs, read(Path(parameters)))
        training, validation = inputs.training, inputs.validation
        v = engine.zeros()
        for rows in _blocks(np.array(removed, np.int64)):
            each = np.full(len(rows), 1 / len(training))
            engine.add_gradient(training.batch(rows), each, v)
        solved = _solved(engine, inputs, v.data[None])
        s, unused = nn.NdArray.from_numpy_array(solved.solutions[0]), engine.zeros()
        along, losses = [], []
        for rows in _blocks(np.arange(len(validation))):
            batch = validation.batch(rows)
            losses.append(engine.outputs(batch).losses)
            along.append(engine.add_products(batch, np.zeros(len(rows)), s, unused).losses)
        slopes = target_of(target, inputs.definition).phi(np.concatenate(losses))[1]
    write(output, {"moves": slopes * np.concatenate(along)})


def scoring_seconds(inputs: CurveInputs) -> float:
    """Estimate how long it takes to score the rows of a training, from one mini-batch of them."""
    engine = _engine_at(inputs, initial_parameters(inputs.definition, 0))
    training, n = inputs.training, min(len(inputs.training), _BLOCK)
    batch, each = training.batch(np.arange(n)), np.full(n, 1 / n)
    u = np.random.default_rng(0).normal(size=(2, engine.size)).astype(engine.dtype)
    a, h = nn.NdArray.from_numpy_array(u), nn.NdArray.from_numpy_array(np.zeros_like(u))
    began = time.perf_counter()
    engine.add_products(batch, each, a, h, gauss_newton=True)
    both = n_products(engine.size, 2, len(training)) / 2 + 4 * len(training)
    return (time.perf_counter() - began) / n * both


def _scored(
    inputs: CurveInputs, parameters: Parameters, target: str, folds: Sequence[Sequence[int]]
) -> Scored:
    definition, training = inputs.definition, inputs.training
    engine = _engine_at(inputs, parameters)
    # Rows that the loss ignores come last: they have no derivatives.
    order = np.argsort(ignored_rows(definition, training), kind="stable")
    check_engines(
        lambda size: build_objective(definition, size, inputs.device.context, parameters),
        training.batch(order[: inputs.batch_size]),
        inputs.device.context,
    )
    fetch, of = inputs.validation.batch, target_of(target, definition)
    gradients = [
        target_gradient(engine, fetch, np.asarray(fold, np.int64), of, SilentProgress()).data
        for fold in folds
    ]
    solved = _solved(engine, inputs, np.stack(gradients))
    found = [engine.outputs(training.batch(rows)) for rows in _blocks(np.arange(len(training)))]
    values = [each.values for each in found if each.values is not None]
    label, gains = find_label(definition), None
    if label is not None and solved.outputs is not None and has_relabel_gains(definition):
        moves = solved.outputs / len(training)
        gains = relabel_gains(definition, moves, classes_of(training, label))
    return Scored(
        influence=solved.influence,
        gains=gains,
        scores=class_scores(definition, np.concatenate(values)) if values else None,
        losses=np.concatenate([each.losses for each in found]),
        epoch=0,
    )


def _solved(engine: Engine, inputs: CurveInputs, v: np.ndarray) -> InfluenceFunctions:
    training = inputs.training
    decay = decay_in_objective(inputs.definition.solver)
    return solve(engine, training.batch, np.arange(len(training)), v, _CURVATURE, decay)


def _engine_at(inputs: CurveInputs, parameters: Parameters) -> Engine:
    """Return the engine of the network in test mode at some parameters."""
    context = inputs.device.context
    size = default_chunk_size(inputs.definition, _BLOCK)
    return build_engine(build_objective(inputs.definition, size, context, parameters), context)


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))


def _epochs(training: SeededTraining) -> Iterator[Parameters]:
    """Yield the parameters after each epoch that makes an update."""
    trainer, steps = training.trainer, training.steps
    trainer.start(training.start)
    for step, following in zip(steps, [*steps[1:], None]):
        trainer.step(step, training.inputs)
        if following is None or following.epoch != step.epoch:
            yield trainer.checkpoint().parameters


class _Judges:
    """The epochs of a training that judge it: the last quarter."""

    def __init__(self, inputs: CurveInputs, target: str, training: SeededTraining):
        self._definition, self._target = inputs.definition, target
        n_epochs = len({step.epoch for step in training.steps})
        self._first = n_epochs - max(n_epochs // 4, 1)
        self._found: list[tuple[np.ndarray | None, np.ndarray]] = []

    def counts(self, epoch: int) -> bool:
        return epoch >= self._first

    def add(self, right: np.ndarray | None, losses: np.ndarray) -> None:
        self._found.append((right, losses))

    def judged(self) -> Judged:
        of = target_of(self._target, self._definition)
        right = [r for r, _ in self._found if r is not None]
        return Judged(
            right=np.mean(right, axis=0) if right else None,
            losses=np.mean([losses for _, losses in self._found], axis=0),
            targets=np.mean([of.phi(losses)[0] for _, losses in self._found], axis=0),
        )


def _evaluated(inputs: CurveInputs, parameters: Parameters) -> tuple[np.ndarray | None, np.ndarray]:
    rows = np.arange(len(inputs.validation))
    losses, right = inputs.evaluator.evaluate(parameters, inputs.validation.batch, rows)
    return right, losses


def write(path: str, record: Judged | Scored | Mapping[str, Any]) -> None:
    """Write the values of a record that are not None; see `read`."""
    values = dict(record) if isinstance(record, Mapping) else vars(record)
    # A parameter may be called ``file``, which is an argument of numpy's.
    named = {f"{_OF}{name}": value for name, value in values.items() if value is not None}
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **named)


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a file by name."""
    with np.load(path, allow_pickle=False) as file:
        return {name[len(_OF) :]: file[name] for name in file.files}


def read_judged(path: Path) -> Judged:
    """Read what `judge` wrote."""
    found = read(path)
    return Judged(found.get("right"), found["losses"], found["targets"])


def read_scored(path: Path) -> Scored:
    """Read what `score_and_judge` wrote."""
    found = read(path)
    return Scored(
        influence=found["influence"],
        gains=found.get("gains"),
        scores=found.get("scores"),
        losses=found["losses"],
        epoch=int(found["epoch"]),
    )
