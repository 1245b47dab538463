"""The training of a seed: where it starts, its steps, and how it is recorded."""

from __future__ import annotations

import dataclasses
import functools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.curves.opening import Opened
from nnabla_influence.definition import (
    Definition,
    RandomLayers,
    seed_random_layers,
    with_seeds,
)
from nnabla_influence.definition.training_network import initial_parameters
from nnabla_influence.errors import InfluenceError, RunError
from nnabla_influence.files import file_hash
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.nnabla_cli.seeded_order import seeded_steps
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.checkpoints import read_layout, write_checkpoints, write_layout
from nnabla_influence.runs.keep import Plan
from nnabla_influence.runs.run import (
    Run,
    RunSettings,
    read_run,
    replacing_run,
    write_run_files,
)
from nnabla_influence.runs.run_folder import CHECKPOINTS
from nnabla_influence.runs.staging import in_use, remove_leftovers
from nnabla_influence.runs.steps import Step
from nnabla_influence.scoring.window import recorded_window
from nnabla_influence.solvers import STATE_NAMES, SolverState

KEEP = "sqrt"

# Generators of one seed that have nothing to do with each other.
_OF_RANDOM_LAYERS = 1


@dataclass(frozen=True, eq=False)
class SeededTraining:
    """The whole training of one seed, before it is done.

    Attributes:
        seed: The seed.
        trainer: Does the steps; shared by the seeds of a problem.
        start: What it starts from.
        steps: All of them.
        inputs: Gives each step's data.
        random_seeds: Of the random layers that the definition gives no seed, by layer.
    """

    seed: int
    trainer: Trainer
    start: Checkpoint
    steps: tuple[Step, ...]
    inputs: StepInputs
    random_seeds: dict[str, int]


@functools.lru_cache(maxsize=2)
def seeded_training(opened: Opened, seed: int) -> SeededTraining:
    """Return the training of a seed.

    Parameters come from ``RandomState(seed)``, the order of the rows and the random layers' seeds
    from generators of it, so that a seed is the same training in any process.

    Raises:
        InfluenceError: The seed is none, or the definition cannot be trained from one.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InfluenceError(f"seed {seed!r} is not a whole number from 0 to {2**32 - 1}")
    definition = opened.definition
    random_seeds = _random_seeds(definition, seed)
    start = initial_parameters(definition, seed)
    steps = seeded_steps(
        definition, len(opened.training), seed=seed, batch_size=opened.problem.batch_size
    )
    seeded = with_seeds(_to_train(opened), random_seeds)
    random = RandomLayers(seeded, opened.batch_size, opened.device.context)
    zeros = {name: np.zeros_like(start[name]) for name in definition.trainable}
    states = STATE_NAMES[definition.solver.name]
    return SeededTraining(
        seed=seed,
        trainer=_trainer(opened),
        start=Checkpoint(0, start, SolverState(0, dict.fromkeys(states, zeros))),
        steps=steps,
        inputs=StepInputs(opened.training.batch, random, steps),
        random_seeds=random_seeds,
    )


def train(opened: Opened, seed: int, folder: str | os.PathLike[str]) -> int:
    """Do the training of a seed and write its run folder, whole or not at all.

    States of about the square root of the number of steps are kept, so that any other is replayed
    from one of them.

    Returns:
        The number of steps.

    Raises:
        InfluenceError: It cannot be trained or written, or it diverged.
    """
    training = seeded_training(opened, seed)
    remove_leftovers(Path(os.path.realpath(folder)), ".tmp")
    with replacing_run(folder) as staged, in_use(staged):
        checkpoints = staged / CHECKPOINTS
        checkpoints.mkdir()
        end = _train_keeping(opened, training, checkpoints)
        write_run_files(
            staged,
            parameters=end.parameters,
            steps=training.steps,
            settings=_settings(opened, training),
            trainable=opened.definition.trainable,
            solver_state=end.solver,
        )
    return len(training.steps)


def recorded_training(opened: Opened, seed: int, folder: str | os.PathLike[str]) -> Run:
    """Read the run folder of a seed's training.

    Raises:
        RunError: It cannot be read, or is of another training.
    """
    run, training = read_run(folder), seeded_training(opened, seed)
    recorded_window(run, opened.training.path, len(opened.training), None)  # of these data?
    same = len(run.steps) == len(training.steps) and all(
        one.learning_rate == other.learning_rate and np.array_equal(one.rows, other.rows)
        for one, other in zip(run.steps, training.steps)
    )
    if not same:
        raise RunError(
            f"{run.folder}: is not the run of seed {seed} with mini-batches of"
            f" {opened.batch_size}; train it again"
        )
    return run


def _train_keeping(opened: Opened, training: SeededTraining, folder: Path) -> Checkpoint:
    steps, trainer, kept = training.steps, training.trainer, []
    checksums: list[int] = []
    spacing = Plan(0, len(steps)).spacing(KEEP)
    try:
        with without_futile_imports():
            trainer.start(training.start)
            for step in steps:
                if step.step % spacing == 0:
                    checkpoint = trainer.checkpoint()
                    # One at a time: all of them may not fit into memory.
                    checksums += write_checkpoints(folder, [checkpoint])
                    kept.append((checkpoint.step, checkpoint.solver.t))
                trainer.step(step, training.inputs)
            end = trainer.checkpoint()
    except RunError as error:
        raise RunError(f"{opened.definition.path}: seed {training.seed}: {error}") from error
    layout = dataclasses.replace(
        read_layout(folder), checkpoints=tuple(kept), checksums=tuple(checksums)
    )
    write_layout(folder, layout)
    return end


def _settings(opened: Opened, training: SeededTraining) -> RunSettings:
    definition, solver = opened.definition, opened.definition.solver
    return RunSettings(
        n_rows=len(opened.training),
        total_steps=len(training.steps),
        solver=solver.name,
        hyperparameters=solver.hyperparameters,
        weight_decay=solver.weight_decay,
        network=definition.network_name,
        definition=os.path.abspath(definition.path),
        dataset=os.path.abspath(opened.training.path),
        dataset_hash=file_hash(opened.training.path),
        window="all",
        keep=KEEP,
        random_seeds=training.random_seeds,
        context=str(opened.device.context),
        recorded_by="curve",
    )


def _random_seeds(definition: Definition, seed: int) -> dict[str, int]:
    proto = type(definition.proto)()
    proto.CopyFrom(definition.proto)
    layers = list(seed_random_layers(proto))
    rng = np.random.default_rng([seed, _OF_RANDOM_LAYERS])
    drawn = rng.choice(2**31 - 1, size=len(layers), replace=False)
    return {layer: int(number) for layer, number in zip(layers, drawn)}


def _to_train(opened: Opened) -> Definition:
    """Return the definition with the problem's batch size and no monitors, which do not run."""
    definition = opened.definition
    proto = type(definition.proto)()
    proto.CopyFrom(definition.proto)
    del proto.monitor[:]
    settings = definition.training
    if settings is not None:
        settings = dataclasses.replace(settings, batch_size=opened.batch_size)
    return dataclasses.replace(definition, proto=proto, training=settings)


@functools.lru_cache(maxsize=2)
def _trainer(opened: Opened) -> Trainer:
    """Return the trainer that all seeds share: what random layers draw comes in from outside."""
    definition = _to_train(opened)
    seeded = with_seeds(definition, _random_seeds(definition, 0))
    return Trainer(seeded, definition.solver, opened.device.context)
