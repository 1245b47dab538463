"""The files of a run folder, how one replaces another, and the state after the last step.

``final.h5`` and ``solver_states.h5`` are files of ``nnabla.save_parameters`` and
``solver.save_states``: nnabla loads them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import h5py
import numpy as np

from nnabla_influence.definition.model_file import naming_damage
from nnabla_influence.errors import RunError
from nnabla_influence.files import PathLike, check_output_folder, replacing_folder
from nnabla_influence.hdf5 import read_arrays
from nnabla_influence.runs.checkpoint import check_finite
from nnabla_influence.solvers.state import SolverState, collect_state

PARAMETERS, STEPS, SETTINGS, NETWORK = "final.h5", "steps.csv", "run.json", "network.nntxt"
SOLVER_STATES, CHECKPOINTS = "solver_states.h5", "checkpoints"
CONTENTS = "contents.json"
RUN_ENTRIES = frozenset(
    {PARAMETERS, STEPS, SETTINGS, NETWORK, SOLVER_STATES, CHECKPOINTS, CONTENTS, "nnabla_cli"}
)
"""Every name that a run folder may hold; a folder with others is never replaced."""


def replacing_run(folder: PathLike) -> AbstractContextManager[Path]:
    """Yield a temporary folder that becomes the run folder when the block succeeds.

    Raises:
        OutputError: As for `check_replaceable`, before the block runs.
    """
    return replacing_folder(check_replaceable(folder))


def check_replaceable(folder: PathLike) -> Path:
    """Check early that `write_run` may write here; return the path, without links.

    Raises:
        OutputError: ``folder`` is a file or not a run, or its parent does not exist.
    """
    return check_output_folder(folder, "a run", RUN_ENTRIES, STEPS)


def write_parameters(
    path: Path, parameters: Mapping[str, np.ndarray], trainable: Collection[str] | None
) -> None:
    """Write parameters; those that are not ``trainable`` (None: all are) have no ``need_grad``."""
    # The layout of nnabla.save_parameters, without its variables: no context, no global scope.
    with h5py.File(path, "w") as file:
        for index, (name, value) in enumerate(parameters.items()):
            file[name] = np.asarray(value, np.float32)
            file[name].attrs["need_grad"] = trainable is None or name in trainable
            file[name].attrs["index"] = index


def read_parameters(path: Path) -> dict[str, np.ndarray]:
    """Read parameters, float32, by nnabla's names.

    Raises:
        RunError: The file cannot be read, holds no parameters, or not finite ones.
    """
    with naming_damage(path, "a file of parameters", "use nnabla.save_parameters", RunError):
        arrays = read_arrays(path)
        found = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
        if not found:
            raise ValueError("it holds no parameters")
    for name, value in found.items():
        check_finite(f"{path}: parameter {name}", value)
    return found


def write_solver_state(path: Path, state: SolverState, trainable: list[str]) -> None:
    """Write the state of the solver of the parameters ``trainable``."""
    with h5py.File(path, "w") as file:
        for index, name in enumerate(trainable):
            group = file.create_group(name)
            group.attrs["index"] = index
            group["t"] = state.t
            for position, (kind, values) in enumerate(state.values.items()):
                if name in values:
                    group[kind] = np.asarray(values[name], np.float32)
                    group[kind].attrs["index"] = position


def read_solver_state(path: Path) -> SolverState:
    """Read a solver's state.

    Raises:
        RunError: The file is damaged, or does not hold a solver's states.
    """
    counts: dict[str, int] = {}
    values: dict[str, dict[str, np.ndarray]] = {}
    with naming_damage(path, "a file of solver states", "use solver.save_states", RunError):
        for key, value in read_arrays(path).items():
            name, _, kind = key.rpartition("/")
            if kind == "t":
                counts[name] = int(value)
            else:
                array = values.setdefault(name, {})[kind] = np.asarray(value, np.float32)
                check_finite(f"{path}: state {kind} of {name}", array)
        if not counts:
            raise ValueError("it holds no solver states")
    try:
        return collect_state(counts, values)
    except RunError as error:
        raise RunError(f"{path}: {error}") from error
