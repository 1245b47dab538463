"""Take the moments of a training from nnabla while it runs, and keep them on disk."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import nnabla as nn
import numpy as np

from nnabla_influence.checkpoints import Array, Layout, write_layout, write_values
from nnabla_influence.errors import OutputError, RunError
from nnabla_influence.keep import Kept
from nnabla_influence.solvers.state import SolverState, collect_state, get_state
from nnabla_influence.staging import Staging
from nnabla_influence.steps import Step


def final_solver_state(
    solver: Any, parameters: Mapping[str, nn.Variable], keep: str
) -> Optional[SolverState]:
    """Return a copy of an nnabla solver's state at the end of a training.

    Args:
        solver: nnabla's solver.
        parameters: The variables that it trains, and maybe others, by the names to use.
        keep: Of the run; for ``final`` a state that cannot be told is no reason to lose it.

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
    """Return the solver's own names, as of another parameter scope, by those in ``parameters``."""
    keys = {variable: key for key, variable in solver.get_parameters().items()}
    return {name: keys[variable] for name, variable in parameters.items() if variable in keys}


class MomentKeeper:
    """Keeps the moments of a training that `Kept` names, in a folder beside the run to be.

    Moments are numbered by the updates that were recorded before them.

    Args:
        target: The run folder to be.
        solver: nnabla's solver.
        parameters: Everything that the network reads, by the names to use.
        kept: Which moments to keep.
    """

    def __init__(
        self, target: Path, solver: Any, parameters: Mapping[str, nn.Variable], kept: Kept
    ):
        self._solver = solver
        self._parameters = dict(parameters)
        self._keys = _keys(solver, parameters)
        self._kept = kept
        self._staging: Optional[Staging] = None
        self._target = target
        self._arrays: tuple[Array, ...] = ()
        self._flat = np.empty(0, np.float32)
        self._t: dict[int, int] = {}
        self.seconds = 0.0

    def take(self, number: int) -> None:
        """Keep the moment of now, before update ``number``, if it is one to be kept.

        Raises:
            OutputError: It cannot be written.
        """
        if not self._kept.wants(number):
            return
        started = time.perf_counter()
        if self._staging is None:
            self._staging = Staging(self._target)
        self._t[number] = self._fetch()
        try:
            write_values(self._staging.path / f"{number}.npy", self._flat)
        except OSError as error:
            raise _cannot_write(self._staging.path, error) from error
        if number not in self._kept.numbers:
            self._remove(self._kept.add(number))
        self.seconds += time.perf_counter() - started

    def anchor(self, number: int) -> int:
        """Return the last moment at or before ``number``; ``number`` if there is none."""
        return self._kept.anchor(number)

    def release(self, window_start: int) -> None:
        """Remove the moments that a window from update ``window_start`` on does not need."""
        gone = self._kept.release(window_start)
        if gone:
            started = time.perf_counter()
            self._remove(gone)
            self.seconds += time.perf_counter() - started

    def publisher(self, steps: Sequence[Step], first_step: int = 0) -> Callable[[Path], None]:
        """Return what makes the folder of checkpoints of a run with these steps.

        Args:
            steps: The run's, which reach back to a moment.
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
            moments = tuple((number + first_step, self._t[number]) for number in kept)
            write_layout(folder, Layout(self._arrays, moments, round(self.seconds, 3)))

        return publish

    def close(self) -> None:
        """Remove what is kept on the way."""
        if self._staging is not None:
            self._staging.close()

    def _remove(self, numbers: list[int]) -> None:
        assert self._staging is not None
        for number in numbers:
            (self._staging.path / f"{number}.npy").unlink()
            del self._t[number]

    def _fetch(self) -> int:
        """Copy the moment of now; return the solver's t."""
        states = self._solver.get_states()
        state_of = {name: states[key] for name, key in self._keys.items()}
        found = [("", name, variable) for name, variable in self._parameters.items()]
        for name, state in state_of.items():
            found += [(kind, name, state.pstate[kind]) for kind in sorted(state.pstate)]
        if not self._arrays:
            self._arrays = tuple(Array(name, state, v.shape) for state, name, v in found)
            self._flat = np.empty(sum(array.size for array in self._arrays), np.float32)
        start = 0
        for array, (state, name, variable) in zip(self._arrays, found):
            if (state, name, variable.shape) != (array.state, array.parameter, array.shape):
                raise RunError(
                    f"the parameter {name} or its solver's state changed its shape while the"
                    " training was recorded; start the Recorder after the network is made"
                )
            self._flat[start : start + array.size] = variable.data.get_data("r").reshape(-1)
            start += array.size
        return collect_state({name: int(s.t) for name, s in state_of.items()}, {}).t


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
