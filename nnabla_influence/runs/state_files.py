"""The state after the last step of a run: ``final.h5`` and ``solver_states.h5``.

They are files of ``nnabla.save_parameters`` and ``solver.save_states``: nnabla loads them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import h5py
import numpy as np

from nnabla_influence.definition.model_file import naming_damage
from nnabla_influence.errors import RunError
from nnabla_influence.hdf5 import read_arrays
from nnabla_influence.solvers.state import SolverState, collect_state


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
    arrays = _read(path, "nnabla.save_parameters")
    found = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
    if not found:
        raise RunError(f"{path}: holds no parameters; write it with nnabla.save_parameters")
    for name, value in found.items():
        _check_finite(path, f"parameter {name}", value)
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
    for key, value in _read(path, "solver.save_states").items():
        name, _, kind = key.rpartition("/")
        try:
            if kind == "t":
                counts[name] = int(value)
                continue
            array = values.setdefault(name, {})[kind] = np.asarray(value, np.float32)
        except (ValueError, TypeError) as error:
            raise RunError(f"{path}: {key} is not a number ({error})") from error
        _check_finite(path, f"state {kind} of {name}", array)
    if not counts:
        raise RunError(f"{path}: holds no solver states; write it with solver.save_states")
    try:
        return collect_state(counts, values)
    except RunError as error:
        raise RunError(f"{path}: {error}") from error


def _read(path: Path, writer: str) -> dict[str, np.ndarray]:
    with naming_damage(path, "a readable file", f"write it with {writer}", RunError):
        arrays = read_arrays(path)
        for value in arrays.values():
            np.asarray(value, np.float32)  # refuses texts
        return arrays


def _check_finite(path: Path, what: str, value: np.ndarray) -> None:
    if not np.isfinite(value).all():
        raise RunError(
            f"{path}: {what} is not finite; the training diverged, train again with a lower"
            " learning rate"
        )
