"""How much disk, memory and time the checkpoints of a training take."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.errors import OutputError
from nnabla_influence.runs.checkpoint_folder import HEADER_BYTES, write_values
from nnabla_influence.runs.checkpoint_plan import KEEP, WindowPlan
from nnabla_influence.runs.run import CHECKPOINTS, PARAMETERS, SOLVER_STATES, Run
from nnabla_influence.text import seconds_text, size_text

# Measured overhead of final.h5 and solver_states.h5: of both files, and per array.
_H5_BYTES, _H5_BYTES_PER_ARRAY = 5600, 1500
# Measured time in which nnabla hands out an array, in seconds on a CPU.
_SECONDS_PER_ARRAY = 25e-6
_PROBE_BYTES = 2**25


@dataclass(frozen=True)
class StorageEstimate:
    """The cost of each choice of ``keep`` for one training.

    Attributes:
        n_parameters: Values of all parameters.
        n_states: Values of the solver's state.
        n_arrays: Arrays that hold them.
        plan: The window.
    """

    n_parameters: int
    n_states: int
    n_arrays: int
    plan: WindowPlan

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of one checkpoint: parameters and the solver's state."""
        return HEADER_BYTES + 4 * (self.n_parameters + self.n_states)

    def disk_bytes(self, keep: str) -> int:
        """Return the bytes of all checkpoints on disk, including the final state."""
        beside = _H5_BYTES + _H5_BYTES_PER_ARRAY * self.n_arrays
        final = 4 * (self.n_parameters + self.n_states) + beside
        return final + self.checkpoint_bytes * self.plan.n_checkpoints(keep)

    def memory_bytes(self, keep: str) -> int:
        """Return the bytes of the checkpoints that an exact trace holds in memory at once."""
        return self.checkpoint_bytes * (1 + self.plan.spacing(keep) if keep == "sqrt" else 1)

    def describe(self, keep: str, seconds_per_checkpoint: float) -> str:
        """Return a line for the user, such as ``Checkpoints: final 1.2 MB, sqrt 214 MB ...``.

        Args:
            keep: The choice.
            seconds_per_checkpoint: The result of `measure_writing`.
        """
        choices = []
        for choice in KEEP:
            n = self.plan.n_checkpoints(choice)
            count = f" ({n:,})" if n else ""
            choices.append(f"{choice} {size_text(self.disk_bytes(choice))}{count}")
        line = f"Checkpoints: {', '.join(choices)}; keeping {keep}"
        if keep == "final":
            return line
        seconds = seconds_per_checkpoint * self.plan.n_checkpoints(keep)
        return (
            f"{line}, which adds about {seconds_text(seconds)} to the training; exact scores will"
            f" need {size_text(self.memory_bytes(keep))} of memory for them"
        )

    def check_disk_space(self, folder: Path, keep: str) -> None:
        """Refuse a choice of ``keep`` for which the disk is too small.

        Raises:
            OutputError: The checkpoints need more space than is free on the disk of ``folder``.
        """
        needed, free = self.disk_bytes(keep), shutil.disk_usage(folder).free
        if needed > free:
            fitting = [choice for choice in KEEP if self.disk_bytes(choice) <= free]
            advice = f"use --keep {fitting[-1]}, or " if fitting else ""
            raise OutputError(
                f"{folder}: --keep {keep} needs {size_text(needed)} of disk, but only"
                f" {size_text(free)} are free; {advice}free disk space"
            )

    def measure_writing(self, folder: Path) -> float:
        """Return about how many seconds one checkpoint takes to write into ``folder``."""
        size = min(self.checkpoint_bytes, _PROBE_BYTES)
        values = np.zeros(size // 4, np.float32)
        with tempfile.TemporaryDirectory(dir=folder) as probe:
            started = time.perf_counter()
            for i in range(2):
                write_values(Path(probe) / f"{i}.npy", values)
            seconds = (time.perf_counter() - started) / 2
        return seconds * self.checkpoint_bytes / size + _SECONDS_PER_ARRAY * self.n_arrays


def describe_kept(run: Run) -> str:
    """Return a run's checkpoints in words, such as ``checkpoints: sqrt (7), 1.2 MB, ...``."""
    keep = "final" if run.settings is None else run.settings.keep
    kept = [run.folder / PARAMETERS, run.folder / SOLVER_STATES]
    if not run.checkpoints:
        return f"checkpoints: {keep}, {size_text(_size(kept))}"
    kept += (run.folder / CHECKPOINTS).iterdir()
    return (
        f"checkpoints: {keep} ({len(run.checkpoints):,}), {size_text(_size(kept))}, written in"
        f" {seconds_text(run.seconds_keeping)}"
    )


def _size(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())
