"""Keep checkpoints of a training on disk while it runs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import nnabla as nn

from nnabla_influence.errors import OutputError, RunError
from nnabla_influence.runs.checkpoints import Layout, write_layout, write_values
from nnabla_influence.runs.keep import Kept
from nnabla_influence.runs.snapshot import Snapshot
from nnabla_influence.runs.staging import Staging
from nnabla_influence.runs.steps import Step


class CheckpointKeeper:
    """Keeps the checkpoints of a training that `Kept` names, in a folder beside the run to be.

    Checkpoints are numbered by the updates that were recorded before them.

    Args:
        target: The run folder to be.
        solver: nnabla's solver.
        parameters: Everything that the network reads, by the names to use.
        kept: Which checkpoints to keep.
    """

    def __init__(
        self, target: Path, solver: Any, parameters: Mapping[str, nn.Variable], kept: Kept
    ):
        self._snapshot = Snapshot(solver, parameters)
        self._kept = kept
        self._staging: Optional[Staging] = None
        self._target = target
        self._t: dict[int, int] = {}
        self._checksums: dict[int, int] = {}
        self.seconds = 0.0

    def take(self, number: int) -> None:
        """Keep the checkpoint of now, before update ``number``, if it is one to be kept.

        Raises:
            OutputError: It cannot be written.
        """
        if not self._kept.wants(number):
            return
        started = time.perf_counter()
        if self._staging is None:
            self._staging = Staging(self._target)
        self._t[number], flat = self._snapshot.take()
        try:
            file = self._staging.path / f"{number}.npy"
            self._checksums[number] = write_values(file, flat)
        except OSError as error:
            raise _cannot_write(self._staging.path, error) from error
        if number not in self._kept.numbers:
            self._remove(self._kept.add(number))
        self.seconds += time.perf_counter() - started

    def anchor(self, number: int) -> int:
        """Return the last checkpoint at or before ``number``; ``number`` if there is none."""
        return self._kept.anchor(number)

    def release(self, window_start: int) -> None:
        """Remove the checkpoints that a window from update ``window_start`` on does not need."""
        gone = self._kept.release(window_start)
        if gone:
            started = time.perf_counter()
            self._remove(gone)
            self.seconds += time.perf_counter() - started

    def publisher(self, steps: Sequence[Step], first_step: int = 0) -> Callable[[Path], None]:
        """Return what makes the folder of checkpoints of a run with these steps.

        Args:
            steps: The run's, which reach back to a checkpoint.
            first_step: Number of the first recorded update within the whole training.
        """

        def publish(folder: Path) -> None:
            first, last = (steps[i].step - first_step for i in (0, -1))
            kept = [number for number in self._kept.numbers if first <= number <= last]
            if self._staging is None or kept[:1] != [first]:
                raise RunError(
                    "no checkpoint was kept where the window begins: the training was shorter than"
                    " it was said to be; record it again with keep='final'"
                )
            folder.mkdir()
            for number in kept:
                _link(self._staging.path / f"{number}.npy", folder / f"{number + first_step}.npy")
            checkpoints = tuple((number + first_step, self._t[number]) for number in kept)
            checksums = tuple(self._checksums[number] for number in kept)
            seconds = round(self.seconds, 3)
            write_layout(folder, Layout(self._snapshot.arrays, checkpoints, seconds, checksums))

        return publish

    def close(self) -> None:
        """Remove what is kept on the way."""
        if self._staging is not None:
            self._staging.close()

    def _remove(self, numbers: list[int]) -> None:
        assert self._staging is not None
        for number in numbers:
            (self._staging.path / f"{number}.npy").unlink()
            del self._t[number], self._checksums[number]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: a checkpoint cannot be written ({error.strerror or error}); make room, or record"
        " with keep='sqrt' or 'final'"
    )
