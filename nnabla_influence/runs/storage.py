"""What keeping the states of a training takes: said before it, reported after it."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.errors import OutputError
from nnabla_influence.runs.checkpoints import HEADER_BYTES, write_values
from nnabla_influence.runs.keep import KEEP, Plan
from nnabla_influence.runs.run import CHECKPOINTS, PARAMETERS, SOLVER_STATES, Run
from nnabla_influence.text import seconds_text, size_text

# What was seen to lie in final.h5 and solver_states.h5 beside the values: of both, and per array.
_H5_BYTES, _H5_BYTES_PER_ARRAY = 5600, 1500
# What nnabla was seen to take for handing out an array, in seconds on a CPU.
_SECONDS_PER_ARRAY = 25e-6
_PROBE_BYTES = 2**25


@dataclass(frozen=True)
class Storage:
    """What each choice of ``keep`` takes for one training.

    Attributes:
        n_parameters: Values of all parameters.
        n_states: Values of the solver's state.
        n_arrays: Arrays that hold these.
        plan: The window.
    """

    n_parameters: int
    n_states: int
    n_arrays: int
    plan: Plan

    @property
    def set_bytes(self) -> int:
        """Bytes of one set: parameters and the solver's state."""
        return HEADER_BYTES + 4 * (self.n_parameters + self.n_states)

    def disk_bytes(self, keep: str) -> int:
        """Bytes of the parameter sets on disk, that of the end included."""
        beside = _H5_BYTES + _H5_BYTES_PER_ARRAY * self.n_arrays
        final = 4 * (self.n_parameters + self.n_states) + beside
        return final + self.set_bytes * self.plan.n_checkpoints(keep)

    def memory_bytes(self, keep: str) -> int:
        """Bytes of the sets that are in memory at once while the training is traced exactly."""
        return self.set_bytes * (1 + self.plan.spacing(keep) if keep == "sqrt" else 1)

    def describe(self, keep: str, seconds_per_set: float) -> str:
        """Return a line for the user, such as ``Checkpoints: final 1.2 MB, sqrt 214 MB ...``.

        Args:
            keep: What was chosen.
            seconds_per_set: What `measure_writing` found.
        """
        choices = []
        for choice in KEEP:
            n = self.plan.n_checkpoints(choice)
            sets = f" ({n:,} {'set' if n == 1 else 'sets'})" if n else ""
            choices.append(f"{choice} {size_text(self.disk_bytes(choice))}{sets}")
        line = f"Checkpoints: {', '.join(choices)}; keeping {keep}"
        if keep == "final":
            return line
        seconds = seconds_per_set * self.plan.n_checkpoints(keep)
        return (
            f"{line}: about {seconds_text(seconds)} of the training, and"
            f" {size_text(self.memory_bytes(keep))} of memory to replay"
        )

    def check_room(self, folder: Path, keep: str) -> None:
        """Refuse what does not fit the disk.

        Raises:
            OutputError: The sets would not leave room on the disk of ``folder``.
        """
        needed, free = self.disk_bytes(keep), shutil.disk_usage(folder).free
        if needed > free:
            fitting = [choice for choice in KEEP if self.disk_bytes(choice) <= free]
            advice = f"--keep {fitting[-1]} (keep='{fitting[-1]}') would fit" if fitting else ""
            raise OutputError(
                f"{folder}: keeping {keep} takes {size_text(needed)} of disk, and"
                f" {size_text(free)} are free; {advice or 'make room'}"
            )

    def measure_writing(self, folder: Path) -> float:
        """Return about how many seconds taking one set and writing it into ``folder`` takes."""
        size = min(self.set_bytes, _PROBE_BYTES)
        values = np.zeros(size // 4, np.float32)
        with tempfile.TemporaryDirectory(dir=folder) as probe:
            started = time.perf_counter()
            for i in range(2):
                write_values(Path(probe) / f"{i}.npy", values)
            seconds = (time.perf_counter() - started) / 2
        return seconds * self.set_bytes / size + _SECONDS_PER_ARRAY * self.n_arrays


def describe_kept(run: Run) -> str:
    """Return what a run keeps in words, such as ``checkpoints: sqrt, 7 sets, 1.2 MB, 0.1 s``."""
    keep = "final" if run.settings is None else run.settings.keep
    kept = [run.folder / PARAMETERS, run.folder / SOLVER_STATES]
    if not run.checkpoints:
        return f"checkpoints: {keep}, {size_text(_size(kept))}"
    kept += (run.folder / CHECKPOINTS).iterdir()
    n = len(run.checkpoints)
    return (
        f"checkpoints: {keep}, {n:,} {'set' if n == 1 else 'sets'}, {size_text(_size(kept))},"
        f" {seconds_text(run.seconds_keeping)} of the training"
    )


def _size(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())
