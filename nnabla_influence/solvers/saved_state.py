"""The solver's state that a model file holds."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nnabla_influence.definition.model_file import (
    MODEL_SUFFIXES,
    TEXT_SUFFIXES,
    Part,
    naming_damage,
    read_parts,
    read_proto,
)
from nnabla_influence.errors import ModelError, RunError
from nnabla_influence.hdf5 import read_arrays
from nnabla_influence.solvers.state import SolverState, collect_state

_OPTIMIZERS = (".h5.optimizer", ".protobuf.optimizer")


def has_solver_state(path: Path, proto: Any) -> bool:
    """Return whether a model file holds a solver's state, from an archive's listing alone.

    Args:
        path: The model file.
        proto: Its definition, which holds the states that `nnabla.utils.save` writes.
    """
    if any(optimizer.solver.states for optimizer in proto.optimizer):
        return True
    if path.suffix.lower() != ".nnp":
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.lower().endswith(_OPTIMIZERS) for name in archive.namelist())


def read_solver_state(path: Path) -> SolverState | None:
    """Return the solver's state that belongs to the parameters of a file, if it has one.

    nnabla_cli puts the states into the .nnp of every fifth epoch (``optimizer_interval`` of the
    section ``CHECKPOINT`` of nnabla's configuration); `nnabla.utils.save` does so if
    ``include_solver_state`` is set, into an .nntxt too.

    Args:
        path: An .nnp, .nntxt or .prototxt. Any other file has no state.

    Returns:
        The state by nnabla's names of the parameters, None where the file has none.

    Raises:
        ModelError: The file is missing or damaged, or holds the states of several optimizers.
    """
    if path.suffix.lower() not in MODEL_SUFFIXES:
        return None
    states = [state for part in read_parts(path, _is_read) for state in _states(part)]
    if len(states) > 1:
        raise ModelError(
            f"{path}: holds the states of {len(states)} optimizers; give the file of a training"
            " with one"
        )
    return states[0] if states else None


def _is_read(name: str) -> bool:
    return name.endswith((*_OPTIMIZERS, *TEXT_SUFFIXES))


def _states(part: Part) -> list[SolverState]:
    try:
        if part.name.endswith(".h5.optimizer"):
            with naming_damage(part.where, "a valid state of a solver"):
                return [_from_h5(part.content)]
        proto = read_proto(part)
        with naming_damage(part.where, "a valid state of a solver"):
            return list(_from_proto(proto))
    except RunError as error:
        raise ModelError(f"{part.where}: {error}; export or copy the file again") from error


def _from_h5(content: bytes) -> SolverState:
    """Read nnabla's layout: ``/{parameter}/{state}`` and ``/{parameter}/t``."""
    updates: dict[str, int] = {}
    states: dict[str, dict[str, np.ndarray]] = {}

    for name, value in read_arrays(content).items():
        parameter, _, state = name.rpartition("/")
        if state == "t":
            updates[parameter] = int(value)
        else:
            states.setdefault(parameter, {})[state] = np.asarray(value, np.float32)
    return collect_state(updates, states)


def _from_proto(proto: Any) -> Iterator[SolverState]:
    for optimizer in proto.optimizer:
        found = optimizer.solver.states
        if found:
            yield collect_state(
                {parameter: int(state.t) for parameter, state in found.items()},
                {
                    parameter: {
                        name: np.array(values.data, np.float32).reshape(tuple(values.shape.dim))
                        for name, values in state.state_parameter.items()
                    }
                    for parameter, state in found.items()
                },
            )
