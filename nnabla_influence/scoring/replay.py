"""Replay a whole training that kept no checkpoints, to trace it exactly."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nnabla as nn
import numpy as np
import yaml
from google.protobuf import text_format
from nnabla.utils import nnabla_pb2

from nnabla_influence.definition import Definition, Mode, RandomLayers
from nnabla_influence.definition.training_network import check_start
from nnabla_influence.engine import check_differentiable
from nnabla_influence.errors import (
    InfluenceError,
    ModelError,
    RunError,
    ScoreError,
    UnsupportedError,
)
from nnabla_influence.files import file_hash
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.influence.trajectory import relative_distance
from nnabla_influence.nnabla_cli.training import set_absolute_uris, train
from nnabla_influence.progress import Progress
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.run import Run, read_run
from nnabla_influence.runs.steps import Step
from nnabla_influence.scoring.inputs import Inputs, PathLike
from nnabla_influence.scoring.methods import final_checkpoint
from nnabla_influence.scoring.window import check_same_training
from nnabla_influence.solvers import STATE_NAMES, SolverState
from nnabla_influence.text import seconds_text, with_option

NO_REPLAY = "no checkpoints and no replay"
TOO_LONG = "no checkpoints and the replay takes too long"
NOT_ASKED = "no checkpoints and no replay asked for"
NO_EXACT = "exact cannot follow the network"
"""Why a training is not traced exactly; in the headers of rankings."""

NEAR = 1e-3
"""How far a replay may end from the training, over the distance that the parameters moved in the
recorded steps: rounding does that, another training far more."""

PROBE_STEPS = 5
"""How many steps are timed, after one that is not; no more than `PROBE_SECONDS`, though."""

PROBE_SECONDS = 2.0

BESIDE_STEPS = 2.0
"""The time of a training over that of its steps, as it evaluates and reads data too. 1.9 was
measured for the demo's LeNet with its two monitors."""


def more_time() -> str:
    """Return how to let a replay take longer, for the user."""
    return f"allow the replay more time ({with_option('--replay-budget', 'replay-budget')})"


@contextlib.contextmanager
def replayed_training(inputs: Inputs, progress: Progress) -> Iterator[tuple[Run | None, str]]:
    """Yield the run of the replayed training, with checkpoints, and in a few words why.

    With method ``auto``, the run is None where the replay ends at other parameters, is not
    possible, or not within the budget, and the words say which. With ``exact`` that is an error.
    """
    asked = inputs.options.method == "exact"
    reason = _reason_against(inputs, progress)
    if reason is not None:
        yield None, reason
        return
    progress.say(
        "The training is replayed for exact scores, since no checkpoints of it were kept"
        " (nnabla-influence train keeps them)"
    )
    with replay_folder(inputs.output) as folder:
        try:
            replay = replay_training(inputs, folder, progress)
        except InfluenceError as error:
            if asked:
                raise
            progress.say(f"No exact scores: the training cannot be replayed: {error}")
            replay = None
        if replay is None:
            yield None, "the replay failed"
        elif replay.is_near:
            of = "" if replay.distance == 0 else "; the scores are those of the replayed training"
            progress.say(f"{replay.explanation}{of}")
            try:
                yield replay.run, "as asked" if asked else "the training was replayed"
            except KeyboardInterrupt:
                if inputs.output is not None:
                    progress.say(
                        f"The replayed training is kept in {folder.parent.name} for the same"
                        " command; remove it to start over"
                    )
                raise
        else:
            otherwise = (
                f"{replay.explanation} (other device, nnabla version, data or initial values), so"
                " exact scores are not available"
            )
            if asked:
                raise RunError(f"{inputs.definition.path}: {otherwise}; use method auto or final")
            progress.say(f"{otherwise}; falling back to method final")
            yield None, "the replayed training arrives elsewhere"


def _reason_against(inputs: Inputs, progress: Progress) -> str | None:
    """Return why the training is not replayed; None where it is."""
    asked, budget = inputs.options.method == "exact", 60 * inputs.options.replay_budget
    try:
        _check_replayable(inputs)
        if asked:
            return None
        if not budget:
            return NOT_ASKED
        seconds = replay_seconds(inputs)
    except (ModelError, RunError, UnsupportedError) as error:
        if asked:
            raise
        progress.say(f"No exact scores: no checkpoints were kept, and {error}")
        # Recording does not help where the network is the reason.
        return NO_EXACT if isinstance(error, UnsupportedError) else NO_REPLAY
    progress.say(
        f"Replaying the training's {inputs.definition.max_epoch} epochs takes about"
        f" {seconds_text(seconds)}; the replay budget is {seconds_text(budget)}"
    )
    return None if seconds <= budget else TOO_LONG


def _check_replayable(inputs: Inputs) -> None:
    """Refuse a training of which it is known beforehand that a replay would end elsewhere."""
    definition, run = inputs.definition, inputs.run
    if run is not None and (run.settings is None or run.settings.recorded_by != "nnabla_cli"):
        raise RunError(
            f"{run.folder}: a script's training cannot be replayed by this command; for exact"
            " scores, record it with RecorderOptions(keep='sqrt')"
        )
    check_differentiable(definition, Mode.TRAINING)
    how = "record the training with checkpoints (nnabla-influence train, Recorder)"
    check_start(definition, {}, how)
    batch_size = definition.training.batch_size if definition.training else 0
    RandomLayers(definition, max(batch_size, 1), inputs.device.context)  # Do they have seeds?
    try:
        check_same_training(
            definition, inputs.train.path, len(inputs.train), inputs.options.batch_size
        )
    except (RunError, UnsupportedError) as reason:
        raise RunError(
            f"the training cannot be replayed: {reason}; for exact scores, record it with"
            " nnabla-influence train or the Recorder"
        ) from reason


def replay_seconds(inputs: Inputs) -> float:
    """Estimate how long a replay takes, from a few of its steps and `BESIDE_STEPS`."""
    definition, context = inputs.definition, inputs.device.context
    parameters = final_checkpoint(inputs).parameters
    assert definition.training is not None
    n, interval = definition.training.batch_size, definition.solver.update_interval
    rows = np.resize(np.arange(len(inputs.train)), n)
    steps = [Step(i, 0, 0.0, (rows,) * interval) for i in range(PROBE_STEPS + 1)]
    step_inputs = StepInputs(inputs.train.batch, RandomLayers(definition, n, context), steps)
    states = {
        kind: {name: np.ones_like(parameters[name]) for name in definition.trainable}
        for kind in STATE_NAMES[definition.solver.name]
    }
    trainer = Trainer(definition, definition.solver, context)
    trainer.start(Checkpoint(0, parameters, SolverState(1, states)))
    trainer.step(steps[0], step_inputs)
    times: list[float] = []
    for step in steps[1:]:
        started = time.perf_counter()
        trainer.step(step, step_inputs)
        times.append(time.perf_counter() - started)
        if sum(times) > PROBE_SECONDS:
            break
    per_epoch = definition.proto.training_config.iter_per_epoch // interval
    return BESIDE_STEPS * float(np.median(times)) * per_epoch * definition.max_epoch


@dataclass(frozen=True, eq=False)
class Replay:
    """A replayed training.

    Attributes:
        run: As recorded, up to the epoch whose parameters are closest to the wanted ones.
        distance: Of its final parameters from the wanted ones, over the distance that they moved
            in the recorded steps; 0 for the same bytes.
        epochs: How many were trained.
    """

    run: Run
    distance: float
    epochs: int

    @property
    def is_near(self) -> bool:
        """Whether a trace of the replay is one of the original training."""
        return self.distance <= NEAR

    @property
    def explanation(self) -> str:
        """Where it ended, for the user."""
        ended = f"different parameters (relative error {self.distance:.1e})"
        if self.distance == 0:
            ended = "exactly the trained parameters"
        return f"The replayed training, {self.epochs} epochs, ended at {ended}"


@contextlib.contextmanager
def replay_folder(output: PathLike | None) -> Iterator[Path]:
    """Yield a path for the run of `replay_training`, which is removed when the block succeeds.

    It lies beside ``output``, so that the same command finds it after it was killed, or in a
    temporary folder where nothing is written. A failure that would happen again removes it too.
    """
    if output is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary) / "run"
        return
    folder = _folder_beside(output)
    folder.mkdir(exist_ok=True)
    try:
        yield folder / "run"
    except BaseException as error:
        refused = isinstance(error, (ModelError, RunError, ScoreError, UnsupportedError))
        if refused or not (folder / "run").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def remove_replay(output: PathLike) -> None:
    """Remove the replay of an earlier command for the same output that was killed."""
    shutil.rmtree(_folder_beside(output), ignore_errors=True)


def _folder_beside(output: PathLike) -> Path:
    target = Path(os.path.realpath(output))
    return target.with_name(f".{target.name}.replay")


def replay_training(inputs: Inputs, folder: Path, progress: Progress) -> Replay:
    """Train the definition from nnabla_cli's own initial values, in its own order.

    nnabla_cli saves the best epoch's parameters as its result. So where the training does not end
    at the trained parameters, it is also trained up to its best epoch.

    Args:
        inputs: What is scored.
        folder: To write the run into. An existing one is used if it is of the same training.
        progress: Where to show the progress.
    """
    definition, wanted = inputs.definition, final_checkpoint(inputs).parameters
    end = _train(inputs, definition.max_epoch, folder, progress)
    distance = _distance(definition, end, wanted)
    best = _best_epoch(
        folder / "nnabla_cli" / "monitoring_report.yml",
        save_best=definition.proto.training_config.save_best,
    )
    if distance == 0 or best is None or best >= definition.max_epoch:
        return Replay(end, distance, definition.max_epoch)
    progress.say(
        "The training does not end at the model file's parameters; trying its best epoch,"
        f" {best} of {definition.max_epoch}"
    )
    run = _train(inputs, best, folder.with_name(f"{folder.name}.best"), progress)
    distance_to_best = _distance(definition, run, wanted)
    if distance_to_best < distance:
        return Replay(run, distance_to_best, best)
    return Replay(end, distance, definition.max_epoch)


def _train(inputs: Inputs, epochs: int, folder: Path, progress: Progress) -> Run:
    """Train ``epochs`` epochs of the definition, without its parameters and solver states."""
    definition, device, window = inputs.definition, inputs.request.device, inputs.options.epochs
    training = inputs.train.path
    proto = nnabla_pb2.NNablaProtoBuf()
    proto.CopyFrom(definition.proto)
    proto.training_config.max_epoch = epochs
    set_absolute_uris(proto, definition.path.parent)
    for dataset in proto.dataset:
        if not os.path.exists(dataset.uri):
            # Of a project that was moved. Monitors' data do not change the training, but decide
            # which epoch is the best.
            dataset.uri = os.path.abspath(inputs.validation.path)
    assert definition.training is not None
    proto.dataset[definition.training.index].uri = os.path.abspath(training)
    for optimizer in proto.optimizer:
        optimizer.solver.ClearField("states")
    recorded = "all" if window is None else min(window, epochs)
    # The file holds all else that the run depends on, to be compared with that of a later call.
    text = f"# window {recorded}, device {device}, nnabla {nn.__version__}\n"
    text += text_format.MessageToString(proto)
    written = folder.with_name(f"{folder.name}.nntxt")
    before = written.read_text("utf-8") if written.exists() else None
    if before == text and folder.exists():
        with contextlib.suppress(RunError):  # A damaged run is trained again.
            found = read_run(folder)
            if found.settings is not None and found.settings.dataset_hash == file_hash(training):
                return found
    written.write_text(text, "utf-8")
    return train(written, folder, device=device, window=recorded, keep="sqrt", progress=progress)


def _distance(definition: Definition, run: Run, wanted: Mapping[str, np.ndarray]) -> float:
    start = run.checkpoint(run.checkpoints[0]).parameters
    names = [name for name in definition.trainable if name in wanted]
    return relative_distance(wanted, run.parameters(), start, names)


def _best_epoch(report: Path, *, save_best: bool) -> int | None:
    """Return the epoch, from 1, that nnabla_cli saved as its result; None where not known."""
    try:
        epochs = yaml.safe_load(report.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    best, least = None, 0.0
    for epoch, errors in sorted((epochs or {}).items()):
        if not set(errors or {}) - {"cost"}:
            continue  # Not evaluated: after the first epochs, nnabla_cli does so now and then.
        error = errors.get("valid_error", 0.0)
        # nnabla_cli's rule, an error of 0 included.
        if not save_best or not least or error <= least:
            best, least = int(epoch) + 1, error
    return best
