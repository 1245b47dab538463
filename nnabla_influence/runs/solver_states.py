"""``solver_states.h5`` of a run: the solver's state after the last step.

The file is one of ``solver.save_states``: ``solver.load_states`` reads it.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from nnabla_influence.definition.model_file import naming_damage
from nnabla_influence.errors import RunError
from nnabla_influence.hdf5 import read_arrays
from nnabla_influence.solvers.state import SolverState, collect_state


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
    """Read it.

    Raises:
        RunError: The file is damaged, or not one of a solver's states.
    """
    counts: dict[str, int] = {}
    values: dict[str, dict[str, np.ndarray]] = {}

    with naming_damage(
        path,
        "a readable file of a solver's states",
        "write it with solver.save_states, or remove it",
        RunError,
    ):
        for key, value in read_arrays(path).items():
            name, _, kind = key.rpartition("/")
            if kind == "t":
                counts[name] = int(value)
            else:
                values.setdefault(name, {})[kind] = np.asarray(value, np.float32)
    if not counts:
        raise RunError(
            f"{path}: holds no solver's states; write it with solver.save_states, or remove it"
        )
    for name, arrays in values.items():
        for kind, value in arrays.items():
            if not np.isfinite(value).all():
                raise RunError(
                    f"{path}: state {kind} of {name} is not finite; the training diverged, train"
                    " again with a lower learning rate"
                )
    try:
        return collect_state(counts, values)
    except RunError as error:
        raise RunError(f"{path}: {error}") from error
