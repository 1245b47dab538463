"""How much disk, memory and time the checkpoints of a training take."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from nnabla_influence.errors import OutputError
from nnabla_influence.runs.checkpoint import HEADER_BYTES
from nnabla_influence.runs.checkpoint_plan import KEEP, WindowPlan
from nnabla_influence.runs.run import CHECKPOINTS, PARAMETERS, SOLVER_STATES, Run
from nnabla_influence.text import seconds_text, size_text

# Measured overhead of final.h5 and solver_states.h5: of both files, and per array.
_H5_BYTES, _H5_BYTES_PER_ARRAY = 5600, 1500


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

    def describe(self, keep: str) -> str:
        """Return a line for the user, such as ``Checkpoints: final 1.2 MB, sqrt 214 MB ...``."""
        choices = []
        for choice in KEEP:
            n = self.plan.n_checkpoints(choice)
            count = f" ({n:,})" if n else ""
            choices.append(f"{choice} {size_text(self.disk_bytes(choice))}{count}")
        line = f"Checkpoints: {', '.join(choices)}; keeping {keep}"
        if keep == "final":
            return line
        memory = size_text(self.memory_bytes(keep))
        return f"{line}; exact scores will need {memory} of memory for them"

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
