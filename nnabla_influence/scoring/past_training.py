"""Replay a training that was not recorded, and see whether it arrives where that did."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nnabla as nn
import numpy as np
import yaml
from google.protobuf import text_format
from nnabla.utils import nnabla_pb2

from nnabla_influence.definition import Definition
from nnabla_influence.definition.training_network import check_start
from nnabla_influence.errors import (
    ModelError,
    OutputError,
    RunError,
    ScoreError,
    UnsupportedError,
)
from nnabla_influence.files import file_hash
from nnabla_influence.nnabla_cli.training import train
from nnabla_influence.progress import Progress
from nnabla_influence.runs.run import Run, read_run

NEAR = 1e-3
"""How far the parameters may be off for the replay to stand for them, relative to the way that they
went in the recorded steps: rounding that differs does that, another training is off by far more."""


@dataclass(frozen=True, eq=False)
class PastTraining:
    """A training done again.

    Attributes:
        run: As it was recorded, up to the epoch whose parameters come closest.
        distance: Of its final parameters from those that were looked for, relative to the way that
            they went in the recorded steps; 0 for the same bytes.
        epochs: How many it trained.
    """

    run: Run
    distance: float
    epochs: int

    @property
    def stands_for_it(self) -> bool:
        """Whether a trace of this training is one of the training that was."""
        return self.distance <= NEAR

    @property
    def explanation(self) -> str:
        """Where it arrived, for the user."""
        if self.distance == 0:
            arrived = "arrives at exactly the trained parameters"
        else:
            arrived = f"arrives at others: off by {self.distance:.1e} of the way that they went"
        return f"The replayed training, {self.epochs} epochs, {arrived}"


@contextlib.contextmanager
def folder_to_train_in(output: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Yield the name of a folder that `train_again` may write; it goes when the block succeeds.

    Beside ``output``, so that a command which was killed finds the training done; a temporary one
    where nothing is written. It goes in any case where no training was finished, or the command
    would fail again.

    Raises:
        OutputError: The folder cannot be made.
    """
    if output is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary) / "run"
        return
    folder = _replay_folder(output)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made, to do the training again in ({error.strerror}); choose"
            " another output path"
        ) from error
    try:
        yield folder / "run"
    except (ModelError, RunError, ScoreError, UnsupportedError):
        shutil.rmtree(folder, ignore_errors=True)  # It would fail again.
        raise
    except BaseException:
        if not (folder / "run").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def remove_replay(output: str | os.PathLike[str]) -> None:
    """Remove what a command for the same output left that was killed while it replayed."""
    shutil.rmtree(_replay_folder(output), ignore_errors=True)


def _replay_folder(output: str | os.PathLike[str]) -> Path:
    target = Path(os.path.realpath(output))
    return target.with_name(f".{target.name}.replay")


def train_again(
    definition: Definition,
    parameters: Mapping[str, np.ndarray],
    training: Path,
    validation: Path,
    folder: Path,
    *,
    device: str,
    window: int | None,
    progress: Progress,
) -> PastTraining:
    """Train the definition from nnabla_cli's own initial values, in its own order.

    nnabla_cli saves the best epoch's parameters as its result, so where the end of the training is
    not what is looked for, the training is done up to its best epoch too.

    Args:
        definition: Of the training; its other datasets must be where it says.
        parameters: That the training is known to have arrived at.
        training: The CSV that was trained on.
        validation: A CSV in the place of those that have gone since.
        folder: To write the run into; one that is there already is taken if it belongs to the same
            training.
        device: As for `train`.
        window: Epochs to record, counted from the end; None for all.
        progress: Where to tell how far it is.

    Raises:
        InfluenceError: It cannot be trained or recorded.
    """
    check_replay_start(definition)
    how = (training, validation, device, window, progress)
    last = _train(definition, definition.max_epoch, folder, *how)
    distance = _distance(definition, last, parameters)
    best = _best_epoch(
        folder / "nnabla_cli" / "monitoring_report.yml",
        save_best=definition.proto.training_config.save_best,
    )
    if distance == 0 or best is None or best >= definition.max_epoch:
        return PastTraining(last, distance, definition.max_epoch)
    progress.say(
        "The end of the training is not what the model file holds; trying its best epoch,"
        f" {best} of {definition.max_epoch}"
    )
    to_best = folder.with_name(f"{folder.name}.best")
    run = _train(definition, best, to_best, *how)
    distance_to_best = _distance(definition, run, parameters)
    if distance_to_best < distance:
        return PastTraining(run, distance_to_best, best)
    return PastTraining(last, distance, definition.max_epoch)


def check_replay_start(definition: Definition) -> None:
    """Refuse to replay what started from values that the definition does not say.

    Raises:
        ModelError: A parameter has no initialiser.
    """
    check_start(
        definition, {}, "record the training with checkpoints (nnabla-influence train, Recorder)"
    )


def _train(
    definition: Definition,
    epochs: int,
    folder: Path,
    training: Path,
    validation: Path,
    device: str,
    window: int | None,
    progress: Progress,
) -> Run:
    """Train ``epochs`` epochs of the definition alone: no parameters, no solver states."""
    proto = nnabla_pb2.NNablaProtoBuf()
    proto.CopyFrom(definition.proto)
    proto.training_config.max_epoch = epochs
    for dataset in proto.dataset:
        beside = definition.path.parent / dataset.uri
        dataset.uri = os.path.abspath(beside if beside.exists() else dataset.uri)
        if not os.path.exists(dataset.uri):
            # Of a project that was moved. What monitors look at moves nothing in the training, but
            # tells the best epoch.
            dataset.uri = os.path.abspath(validation)
    assert definition.training is not None
    proto.dataset[definition.training.index].uri = os.path.abspath(training)
    for optimizer in proto.optimizer:
        optimizer.solver.ClearField("states")
    recorded = "all" if window is None else min(window, epochs)
    # What else the run hangs on stands in the file too, to be compared with a later call's.
    text = f"# window {recorded}, device {device}, nnabla {nn.__version__}\n"
    text += text_format.MessageToString(proto)
    written = folder.with_name(f"{folder.name}.nntxt")
    before = written.read_text("utf-8") if written.exists() else None
    if before == text and folder.exists():
        with contextlib.suppress(RunError):  # A damaged one is done again.
            found = read_run(folder)
            if found.settings is not None and found.settings.dataset_hash == file_hash(training):
                return found
    written.write_text(text, "utf-8")
    return train(
        written,
        folder,
        device=device,
        window=recorded,
        keep="sqrt",
        progress=progress,
    )


def _distance(definition: Definition, run: Run, wanted: Mapping[str, np.ndarray]) -> float:
    got, start = run.parameters(), run.checkpoint(run.checkpoints[0]).parameters
    names = [name for name in definition.trainable if name in wanted]
    off, way = (
        float(np.sqrt(sum(np.sum((a[name] - got[name]) ** 2.0) for name in names)))
        for a in (wanted, start)
    )
    return off / way if way else float(off > 0)


def _best_epoch(report: Path, *, save_best: bool) -> int | None:
    """Return the epoch, from 1, that nnabla_cli saved as its result; None where nothing tells."""
    try:
        epochs = yaml.safe_load(report.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    best, least = None, 0.0
    for epoch, errors in sorted((epochs or {}).items()):
        if not set(errors or {}) - {"cost"}:
            continue  # not evaluated; after the first ones nnabla_cli does so now and then
        error = errors.get("valid_error", 0.0)
        # nnabla_cli's rule, an error of 0 included.
        if not save_best or not least or error <= least:
            best, least = int(epoch) + 1, error
    return best
