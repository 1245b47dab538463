"""Write checkpoints of a training to disk while it runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nnabla as nn
import nnabla.functions as F
import numpy as np

from nnabla_influence.errors import OutputError, RunError
from nnabla_influence.files import working_folder
from nnabla_influence.runs.checkpoint import (
    Layout,
    StoredArray,
    write_layout,
    write_values,
)
from nnabla_influence.runs.checkpoint_plan import CheckpointSelection
from nnabla_influence.runs.steps import Step
from nnabla_influence.solvers.state import SolverState, collect_state, get_state


class CheckpointWriter:
    """Writes the selected checkpoints of a training into a hidden folder beside the run folder.

    The hidden folder is removed by `close` or when the process ends; after a hard kill, by the next
    run that is written to the same place. Checkpoints are numbered by the updates recorded before
    them.

    Args:
        run_folder: The later run folder.
        solver: nnabla's solver.
        parameters: All parameters that the network reads, by the names to use.
        selection: Which checkpoints to keep.
    """

    def __init__(
        self,
        run_folder: Path,
        solver: Any,
        parameters: Mapping[str, nn.Variable],
        selection: CheckpointSelection,
    ):
        self.seconds = 0.0
        self._snapshot = Snapshot(solver, parameters)
        self._selection = selection
        self._run_folder = run_folder
        self._folder: Path | None = None
        self._t: dict[int, int] = {}
        self._checksums: dict[int, int] = {}
        self._opened = contextlib.ExitStack()
        self.close = weakref.finalize(self, self._opened.close)  # removes the hidden folder

    def write(self, number: int) -> None:
        """Write the current state as the checkpoint before update ``number``, if it is selected.

        Raises:
            OutputError: It cannot be written.
        """
        if not self._selection.wants(number):
            return
        started = time.perf_counter()
        if self._folder is None:
            hidden = working_folder(os.path.realpath(self._run_folder))
            self._folder = self._opened.enter_context(hidden)
        self._t[number], flat = self._snapshot.take()
        try:
            self._checksums[number] = write_values(self._folder / f"{number}.npy", flat)
        except OSError as error:
            raise OutputError(
                f"{self._run_folder}: a checkpoint cannot be written ({error.strerror or error});"
                " free disk space, or record with keep='sqrt' or 'final'"
            ) from error
        if number not in self._selection.numbers:
            self._remove(self._selection.add(number))
        self.seconds += time.perf_counter() - started

    def anchor(self, number: int) -> int:
        """Return the last checkpoint at or before ``number``; ``number`` if there is none."""
        return self._selection.anchor(number)

    def release(self, window_start: int) -> None:
        """Remove the checkpoints that a window from update ``window_start`` does not need."""
        started = time.perf_counter()
        self._remove(self._selection.release(window_start))
        self.seconds += time.perf_counter() - started

    def publish(self, folder: Path, steps: Sequence[Step], first_step: int = 0) -> None:
        """Write the checkpoints of a run with these steps.

        Args:
            folder: The run's folder of checkpoints, to make.
            steps: The steps of the run, from a checkpoint on.
            first_step: Number of the first recorded update within the whole training.

        Raises:
            RunError: There is no checkpoint at the first of the steps.
        """
        first, last = (steps[i].step - first_step for i in (0, -1))
        kept = [number for number in self._selection.numbers if first <= number <= last]
        if self._folder is None or kept[:1] != [first]:
            raise RunError(
                "there is no checkpoint at the start of the window: the training was shorter than"
                " announced; record it again with keep='final'"
            )
        folder.mkdir()
        for number in kept:
            _link(self._folder / f"{number}.npy", folder / f"{number + first_step}.npy")
        t_of = {number + first_step: self._t[number] for number in kept}
        checksum_of = {number + first_step: self._checksums[number] for number in kept}
        seconds = round(self.seconds, 3)
        write_layout(folder, Layout(self._snapshot.arrays, t_of, checksum_of, seconds))

    def _remove(self, numbers: list[int]) -> None:
        for number in numbers:
            assert self._folder is not None
            (self._folder / f"{number}.npy").unlink()
            del self._t[number], self._checksums[number]


class Snapshot:
    """Copies parameters and a solver's state into one flat array.

    nnabla concatenates them in one static graph: reading each array on its own takes four times as
    long.

    Args:
        solver: nnabla's solver.
        parameters: All parameters that the network reads, by the names to use.

    Attributes:
        arrays: The layout of the flat array; known after the first `take`.
    """

    def __init__(self, solver: Any, parameters: Mapping[str, nn.Variable]):
        self.arrays: tuple[StoredArray, ...] = ()
        self._solver = solver
        self._parameters = dict(parameters)
        self._keys = _keys(solver, parameters)
        self._variables: list[nn.Variable] = []
        self._flat: nn.Variable | None = None

    def take(self) -> tuple[int, np.ndarray]:
        """Return the solver's t and the current values, float32; the next call overwrites them.

        Raises:
            RunError: A shape changed since the first call, or the parameters were not updated
                together.
        """
        states = self._solver.get_states()
        state_of = {name: states[key] for name, key in self._keys.items()}
        variables = list(self._parameters.values())
        arrays = [StoredArray(name, "", v.shape) for name, v in self._parameters.items()]
        for name, state in state_of.items():
            for kind in sorted(state.pstate):
                variables.append(state.pstate[kind])
                arrays.append(StoredArray(name, kind, state.pstate[kind].shape))
        if self._flat is None or arrays != list(self.arrays) or variables != self._variables:
            if self.arrays and arrays != list(self.arrays):
                changed = next(new for new, old in zip(arrays, self.arrays) if new != old)
                raise RunError(
                    f"the parameter {changed.parameter} or its solver state changed its shape"
                    " during the training; make the Recorder after the network"
                )
            self.arrays, self._variables = tuple(arrays), variables
            with nn.context_scope(_in_float32(nn.get_current_context())), nn.auto_forward(False):
                flat = [F.reshape(v, (v.size,), inplace=False) for v in variables]
                self._flat = F.concatenate(*flat, axis=0)
        self._flat.forward()
        t = collect_state({name: int(state.t) for name, state in state_of.items()}, {}).t
        return t, np.asarray(self._flat.data.get_data("r"), np.float32)


def final_solver_state(
    solver: Any, parameters: Mapping[str, nn.Variable], keep: str
) -> SolverState | None:
    """Return a copy of an nnabla solver's state at the end of a training.

    Args:
        solver: nnabla's solver.
        parameters: The variables that it trains, and maybe others, by the names to use.
        keep: Of the run; with ``final`` a state that cannot be read is left out.

    Raises:
        RunError: The parameters were not updated together.
    """
    keys = _keys(solver, parameters)
    try:
        return get_state(solver, keys)
    except RunError:
        if keep == "final":
            return None
        raise


def trained_names(solver: Any, parameters: Mapping[str, nn.Variable]) -> list[str]:
    """Return the names in ``parameters`` of what an nnabla solver trains, in their order there."""
    return list(_keys(solver, parameters))


def _keys(solver: Any, parameters: Mapping[str, nn.Variable]) -> dict[str, str]:
    """Return the solver's names, maybe of another parameter scope, by those in ``parameters``."""
    keys = {variable: key for key, variable in solver.get_parameters().items()}
    return {name: keys[variable] for name, variable in parameters.items() if variable in keys}


def _in_float32(context: nn.Context) -> nn.Context:
    """Return the context without half precision, which would round the copies."""
    backend = [f"{name.split(':')[0]}:float" for name in context.backend]
    return nn.Context(backend, context.array_class, context.device_id)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
