"""Exact scores of a training that kept no checkpoints: it is replayed first."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import Definition, Mode, RandomLayers, check_differentiable
from nnabla_influence.device import Device
from nnabla_influence.errors import InfluenceError, ModelError, RunError, UnsupportedError
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.options import Options
from nnabla_influence.progress import Progress
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.run import Run
from nnabla_influence.runs.steps import Step
from nnabla_influence.scoring.opening import PathLike
from nnabla_influence.scoring.past_training import (
    PastTraining,
    check_replay_start,
    folder_to_train_in,
    train_again,
)
from nnabla_influence.scoring.window import check_same_training
from nnabla_influence.solvers import STATE_NAMES, SolverState
from nnabla_influence.text import seconds_text
from nnabla_influence.wording import with_option

NO_REPLAY = "no checkpoints and no replay"
TOO_LONG = "no checkpoints and the replay takes too long"
NOT_ASKED = "no checkpoints and no replay asked for"
NO_EXACT = "exact cannot follow the network"
"""Why a training is not traced exactly."""

PROBE_STEPS = 5
"""How many steps are timed, after one that is not; no more than `PROBE_SECONDS`, though."""

PROBE_SECONDS = 2.0

BESIDE_STEPS = 2.0
"""What a training takes, measured in its steps: it evaluates and reads the data, too. 1.9 was
measured for the demo's LeNet with its two monitors."""


def more_time() -> str:
    """Return how to let a replay take longer, for the user."""
    return f"allow the replay more time ({with_option('--replay-budget', 'replay-budget')})"


@contextlib.contextmanager
def replayed_training(
    definition: Definition,
    recorded: Run | None,
    trained: Dataset,
    validation: Path,
    output: PathLike | None,
    options: Options,
    device: Device,
    progress: Progress,
) -> Iterator[tuple[Run | None, str]]:
    """Yield a run of the training replayed, with checkpoints, and a few words on why there is one.

    With method ``auto``, in place of the run None where it arrives at other parameters, cannot be
    replayed, or not within the budget. The words say why.

    Args:
        definition: Of the training.
        recorded: What was recorded of it, if anything; its parameters count.
        trained: The training data that is scored.
        validation: The validation CSV, for the training's monitors where theirs has gone.
        output: The ranking that will be written.
        options: The user's.
        device: Where to compute.
        progress: Says what is done, and why not.

    Raises:
        InfluenceError: Method ``exact`` was asked for, and the training cannot be replayed, or
            arrives at other parameters.
    """
    parameters = definition.parameters if recorded is None else recorded.parameters()
    if not parameters:
        raise ModelError(
            f"{definition.path}: holds no trained parameters; give them with -p (an .h5), or a"
            " recorded run with --run"
        )
    asked = options.method == "exact"
    refusal = None
    try:
        _check_replayable(definition, recorded, trained, options, device)
        if not asked:
            refusal = _over_budget(definition, parameters, trained, options, device, progress)
    except (ModelError, RunError, UnsupportedError) as reason:
        if asked:
            raise
        progress.say(f"No exact trace: no checkpoints are kept, and {reason}")
        # What the network does no record cures.
        refusal = NO_EXACT if isinstance(reason, UnsupportedError) else NO_REPLAY
    if refusal is not None:
        yield None, refusal
        return
    progress.say(
        "The training is replayed, to be traced exactly, since no checkpoints of it are kept"
        " (nnabla-influence train keeps them)"
    )
    with folder_to_train_in(output) as folder:
        past = _replayed(definition, parameters, trained, validation, folder, options, progress)
        if past is None:
            yield None, "the replay failed"
        elif past.stands_for_it:
            of = "" if past.distance == 0 else "; the scores are those of the replayed training"
            progress.say(f"{past.explanation}{of}")
            try:
                yield past.run, "as asked" if asked else "the training was replayed"
            except KeyboardInterrupt:
                if output is not None:
                    progress.say(
                        f"The replayed training stays in {folder.parent.name} for the same"
                        " command; remove it to begin anew"
                    )
                raise
        else:
            elsewhere = (
                f"{past.explanation}: another device, another nnabla, other data or other initial"
                " parameters trained them, so there is no exact trace"
            )
            if asked:
                raise RunError(f"{definition.path}: {elsewhere}; choose method auto or final")
            progress.say(f"{elsewhere}. Scored instead: method final")
            yield None, "the replayed training arrives elsewhere"


def _replayed(
    definition: Definition,
    parameters: Mapping[str, np.ndarray],
    trained: Dataset,
    validation: Path,
    folder: Path,
    options: Options,
    progress: Progress,
) -> PastTraining | None:
    try:
        return train_again(
            definition,
            parameters,
            trained.path,
            validation,
            folder,
            device=options.device,
            window=options.epochs,
            progress=progress,
        )
    except InfluenceError as reason:
        if options.method == "exact":
            raise
        progress.say(f"No exact trace: the training cannot be replayed: {reason}")
        return None


def _check_replayable(
    definition: Definition,
    recorded: Run | None,
    trained: Dataset,
    options: Options,
    device: Device,
) -> None:
    """Refuse what can be known beforehand not to arrive where the training did."""
    by = recorded.settings.recorded_by if recorded is not None and recorded.settings else None
    if recorded is not None and by != "nnabla_cli":
        raise RunError(
            f"{recorded.folder}: a script's training cannot be replayed from here; for exact"
            " scores, record it with Recorder(..., keep='sqrt')"
        )
    check_differentiable(definition, Mode.TRAINING)
    check_replay_start(definition)
    batch_size = definition.training.batch_size if definition.training else 0
    RandomLayers(definition, max(batch_size, 1), device.context)  # Have they seeds?
    try:
        check_same_training(definition, trained.path, len(trained), options.batch_size)
    except (RunError, UnsupportedError) as reason:
        raise RunError(
            f"the training cannot be replayed: {reason}; for exact scores, record it with"
            " nnabla-influence train or the Recorder"
        ) from reason


def _over_budget(
    definition: Definition,
    parameters: Mapping[str, np.ndarray],
    trained: Dataset,
    options: Options,
    device: Device,
    progress: Progress,
) -> str | None:
    """Say how long the replay takes; return why it is not done, None where it is."""
    budget = 60 * options.replay_budget
    if not budget:
        return NOT_ASKED
    seconds = replay_seconds(definition, parameters, trained, device)
    takes = f"A replay of the training's {definition.max_epoch} epochs takes about"
    progress.say(f"{takes} {seconds_text(seconds)}; the replay budget is {seconds_text(budget)}")
    return None if seconds <= budget else TOO_LONG


def replay_seconds(
    definition: Definition,
    parameters: Mapping[str, np.ndarray],
    trained: Dataset,
    device: Device,
) -> float:
    """Estimate how long a replay takes, from a few of its steps and `BESIDE_STEPS`."""
    assert definition.training is not None
    n, interval = definition.training.batch_size, definition.solver.update_interval
    rows = np.resize(np.arange(len(trained)), n)
    steps = [Step(i, 0, 0.0, (rows,) * interval) for i in range(PROBE_STEPS + 1)]
    random = RandomLayers(definition, n, device.context)
    inputs = StepInputs(trained.batch, random, steps)
    states = {
        kind: {name: np.ones_like(parameters[name]) for name in definition.trainable}
        for kind in STATE_NAMES[definition.solver.name]
    }
    trainer = Trainer(definition, definition.solver, device.context)
    trainer.start(Checkpoint(0, parameters, SolverState(1, states)))
    trainer.step(steps[0], inputs)
    times: list[float] = []
    for step in steps[1:]:
        started = time.perf_counter()
        trainer.step(step, inputs)
        times.append(time.perf_counter() - started)
        if sum(times) > PROBE_SECONDS:
            break
    per_epoch = definition.proto.training_config.iter_per_epoch // interval
    return BESIDE_STEPS * float(np.median(times)) * per_epoch * definition.max_epoch
