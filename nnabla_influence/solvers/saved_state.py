"""The solver's state that a model file holds."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from nnabla.utils import nnabla_pb2

from nnabla_influence.archive import open_archive, read_member
from nnabla_influence.errors import InfluenceError, ModelError
from nnabla_influence.files import check_regular
from nnabla_influence.hdf5 import read_arrays
from nnabla_influence.solvers.state import SolverState, collect_state

_TEXTS = (".nntxt", ".prototxt")
_OPTIMIZERS = (".h5.optimizer", ".protobuf.optimizer")
_SUFFIXES = (*_OPTIMIZERS, *_TEXTS)


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
    try:
        if path.suffix.lower() == ".nnp":
            with open_archive(path) as archive:
                states = [
                    state
                    for name in archive.namelist()
                    if name.lower().endswith(_SUFFIXES)
                    for state in _read_member(f"{path}, {name}", name, read_member(archive, name))
                ]
        elif path.suffix.lower() in _TEXTS:
            check_regular(path)
            states = list(_read_member(str(path), path.name, path.read_bytes()))
        else:
            return None
    except FileNotFoundError as error:
        raise ModelError(f"{path}: does not exist; check the path") from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error, RuntimeError) as error:
        raise ModelError(
            f"{path}: is not a valid .nnp archive ({error}); export or copy it again"
        ) from error
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror or error}); check the file"
        ) from error
    if len(states) > 1:
        raise ModelError(
            f"{path}: holds the states of {len(states)} optimizers; give the file of a training"
            " with one"
        )
    return states[0] if states else None


def _read_member(where: str, name: str, content: bytes) -> Iterator[SolverState]:
    name = name.lower()
    try:
        if name.endswith(".h5.optimizer"):
            yield _from_h5(content)
        elif name.endswith(".protobuf.optimizer"):
            yield from _from_proto(nnabla_pb2.NNablaProtoBuf.FromString(content))
        else:
            proto = nnabla_pb2.NNablaProtoBuf()
            text_format.Merge(content.decode("utf-8-sig"), proto)
            yield from _from_proto(proto)
    except (
        OSError,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        DecodeError,
        text_format.ParseError,
        InfluenceError,
    ) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{where}: is not a valid solver state ({reason}); export or copy the file again"
        ) from error


def _from_h5(content: bytes) -> SolverState:
    """Read nnabla's layout: ``/{parameter}/{state}`` and ``/{parameter}/t``."""
    updates: dict[str, int] = {}
    states: dict[str, dict[str, np.ndarray]] = {}

    for name, value in read_arrays(io.BytesIO(content), len(content)).items():
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
