"""The training of a seed: its start, its steps, and its run folder."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.definition import (
    Definition,
    RandomLayers,
    find_label,
    seed_random_layers,
    with_seeds,
)
from nnabla_influence.definition.training_network import initial_parameters
from nnabla_influence.errors import RunError
from nnabla_influence.files import file_hash, working_folder
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.nnabla_cli.order import seeded_steps
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.retraining.inputs import CurveInputs
from nnabla_influence.runs.checkpoint import (
    Checkpoint,
    read_layout,
    write_checkpoints,
    write_layout,
)
from nnabla_influence.runs.checkpoint_plan import WindowPlan
from nnabla_influence.runs.run import RunSettings, write_run
from nnabla_influence.runs.run_files import CHECKPOINTS, check_replaceable
from nnabla_influence.runs.steps import FetchRows, Step
from nnabla_influence.solvers import STATE_NAMES, SolverState

KEEP = "sqrt"
_TIMED = 20

# Generators of one seed that have nothing to do with each other.
_OF_RANDOM_LAYERS = 1


@dataclass(frozen=True, eq=False)
class SeededTraining:
    """The whole training of one seed, ready to start.

    ``trainer`` is shared by the seeds of a config; ``random_seeds`` are those of the random layers
    without a seed in the definition, by layer.
    """

    seed: int
    trainer: Trainer
    start: Checkpoint
    steps: tuple[Step, ...]
    inputs: StepInputs
    random_seeds: dict[str, int]


@dataclass(frozen=True)
class Changes:
    """What becomes of the training rows before they are trained on.

    Attributes:
        removed: Rows that are taken out of the CSV.
        relabelled: Rows and their new classes.
    """

    removed: tuple[int, ...] = ()
    relabelled: tuple[tuple[int, int], ...] = ()


NO_CHANGES = Changes()


@functools.lru_cache(maxsize=2)
def seeded_training(
    inputs: CurveInputs, seed: int, changes: Changes = NO_CHANGES
) -> SeededTraining:
    """Return the training of a seed, on the training CSV or on one with changes.

    Parameters come from ``RandomState(seed)``, the order of the rows and the random layers' seeds
    from generators of it, so that a seed is the same training in any process. A CSV of fewer rows
    has shorter epochs.
    """
    definition = inputs.definition
    random_seeds = _random_seeds(definition, seed)
    start = initial_parameters(definition, seed)
    n_rows = len(inputs.training)
    kept = np.setdiff1d(np.arange(n_rows), np.array(changes.removed, np.int64))
    steps = tuple(
        dataclasses.replace(step, batches=tuple(kept[batch] for batch in step.batches))
        for step in seeded_steps(
            definition,
            len(kept),
            seed=seed,
            batch_size=inputs.config.batch_size,
            defined_rows=n_rows,
        )
    )
    seeded = with_seeds(_to_train(inputs), random_seeds)
    random = RandomLayers(seeded, inputs.batch_size, inputs.device.context)
    zeros = {name: np.zeros_like(start[name]) for name in definition.trainable}
    states = STATE_NAMES[definition.solver.name]
    return SeededTraining(
        seed=seed,
        trainer=_trainer(inputs),
        start=Checkpoint(0, start, SolverState(0, dict.fromkeys(states, zeros))),
        steps=steps,
        inputs=StepInputs(_relabelling(inputs, changes), random, steps),
        random_seeds=random_seeds,
    )


def _relabelling(inputs: CurveInputs, changes: Changes) -> FetchRows:
    """Return what gives the rows of the training CSV, with the new labels."""
    label = find_label(inputs.definition)
    if not changes.relabelled or label is None:
        return inputs.training.batch
    column, new = label.column, dict(changes.relabelled)

    def fetch(rows: np.ndarray) -> Mapping[str, np.ndarray]:
        batch = dict(inputs.training.batch(rows))
        labels = batch[column] = batch[column].copy()
        for place, row in enumerate(rows.tolist()):
            if row in new:
                labels[place] = new[row]
        return batch

    return fetch


def training_seconds(inputs: CurveInputs, seed: int) -> float:
    """Estimate how long a training takes, from some of its steps."""
    training = seeded_training(inputs, seed)
    steps = training.steps[: _TIMED + 1]
    training.trainer.start(training.start)
    training.trainer.step(steps[0], training.inputs)  # builds the network
    began = time.perf_counter()
    for step in steps[1:]:
        training.trainer.step(step, training.inputs)
    return (time.perf_counter() - began) / max(len(steps) - 1, 1) * len(training.steps)


def train(inputs: CurveInputs, seed: int, folder: str | os.PathLike[str]) -> None:
    """Do the training of a seed and write its run folder, whole or not at all.

    About the square root of the number of steps are kept as checkpoints, for replays.
    """
    training = seeded_training(inputs, seed)
    check_replaceable(folder)
    with working_folder(folder) as hidden:
        checkpoints = hidden / CHECKPOINTS
        checkpoints.mkdir()
        end = _train_keeping(inputs, training, checkpoints)
        write_run(
            folder,
            parameters=end.parameters,
            steps=training.steps,
            settings=_settings(inputs, training),
            trainable=inputs.definition.trainable,
            solver_state=end.solver,
            checkpoints=checkpoints.replace,
        )


def _train_keeping(inputs: CurveInputs, training: SeededTraining, folder: Path) -> Checkpoint:
    steps, trainer = training.steps, training.trainer
    t_of: dict[int, int] = {}
    checksum_of: dict[int, int] = {}
    spacing = WindowPlan(0, len(steps)).spacing(KEEP)
    try:
        with without_futile_imports():
            trainer.start(training.start)
            for step in steps:
                if step.step % spacing == 0:
                    checkpoint = trainer.checkpoint()
                    # One at a time: all of them may not fit into memory.
                    checksum_of.update(write_checkpoints(folder, [checkpoint]))
                    t_of[checkpoint.step] = checkpoint.solver.t
                trainer.step(step, training.inputs)
            end = trainer.checkpoint()
    except RunError as error:
        raise RunError(f"{inputs.definition.path}: seed {training.seed}: {error}") from error
    layout = dataclasses.replace(read_layout(folder), t_of=t_of, checksum_of=checksum_of)
    write_layout(folder, layout)
    return end


def _settings(inputs: CurveInputs, training: SeededTraining) -> RunSettings:
    definition, solver = inputs.definition, inputs.definition.solver
    return RunSettings(
        n_rows=len(inputs.training),
        total_steps=len(training.steps),
        solver=solver.name,
        hyperparameters=solver.hyperparameters,
        weight_decay=solver.weight_decay,
        network=definition.network_name,
        definition=os.path.abspath(definition.path),
        dataset=os.path.abspath(inputs.training.path),
        dataset_hash=file_hash(inputs.training.path),
        window="all",
        keep=KEEP,
        random_seeds=training.random_seeds,
        context=str(inputs.device.context),
        recorded_by="curve",
    )


def _random_seeds(definition: Definition, seed: int) -> dict[str, int]:
    layers = list(seed_random_layers(copy.deepcopy(definition.proto)))
    rng = np.random.default_rng([seed, _OF_RANDOM_LAYERS])
    drawn = rng.choice(2**31 - 1, size=len(layers), replace=False)
    return {layer: int(number) for layer, number in zip(layers, drawn)}


def _to_train(inputs: CurveInputs) -> Definition:
    """Return the definition with the config's batch size and no monitors, which do not run."""
    definition = inputs.definition
    proto = copy.deepcopy(definition.proto)
    del proto.monitor[:]
    settings = definition.training
    if settings is not None:
        settings = dataclasses.replace(settings, batch_size=inputs.batch_size)
    return dataclasses.replace(definition, proto=proto, training=settings)


@functools.lru_cache(maxsize=2)
def _trainer(inputs: CurveInputs) -> Trainer:
    """Return the trainer that all seeds share: what random layers draw comes in from outside."""
    definition = _to_train(inputs)
    seeded = with_seeds(definition, _random_seeds(definition, 0))
    return Trainer(seeded, definition.solver, inputs.device.context)
