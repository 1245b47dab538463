"""A checkpoint of a training, and the folder ``checkpoints`` of a run.

``layout.json``
    The names and shapes of the parameters and of the solver's states, in the order in which a
    checkpoint's file holds their values; of each checkpoint its step, the solver's t and its file's
    checksum; a checksum of all that.
``<step>.npy``
    The checkpoint before that step: one flat float32 array.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from nnabla_influence.errors import RunError
from nnabla_influence.files import check_regular
from nnabla_influence.solvers.state import SolverState
from nnabla_influence.text import cause_text

LAYOUT = "layout.json"
FORMAT_VERSION = 1
HEADER_BYTES = 128
"""Bytes of NumPy's header before the values."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training between two steps: all that its next step depends on, except data.

    It is the state after an update and before the next step's forward, which moves the running
    statistics of BatchNormalization.

    Attributes:
        step: Number of the next update, from 0.
        parameters: Every parameter that the network reads, running statistics too, float32, by
            nnabla's names (``affine/W``).
        solver: The solver's state.

    Raises:
        RunError: An array is not float32 or not finite, or a state is not of a parameter.
    """

    step: int
    parameters: Mapping[str, np.ndarray]
    solver: SolverState

    def __post_init__(self) -> None:
        for name, value in self.parameters.items():
            self._check(f"parameter {name}", value)
        for state, values in self.solver.values.items():
            for name, value in values.items():
                what = f"solver state {state} of {name}"
                if name not in self.parameters:
                    raise RunError(
                        f"the checkpoint before step {self.step}: {what} is not of a parameter"
                    )
                self._check(what, value)

    @property
    def n_bytes(self) -> int:
        """Its size in memory, in bytes."""
        states = (value for values in self.solver.values.values() for value in values.values())
        return sum(value.nbytes for value in (*self.parameters.values(), *states))

    def _check(self, what: str, value: np.ndarray) -> None:
        where = f"the checkpoint before step {self.step}: {what}"
        if value.dtype != np.float32:
            raise RunError(f"{where} is {value.dtype}, not float32")
        check_finite(where, value)


def check_finite(where: str, value: np.ndarray) -> None:
    """Refuse parameters or states that are not finite; ``where`` names them."""
    if not np.isfinite(value).all():
        raise RunError(
            f"{where} is not finite; the training diverged, train again with a lower learning rate"
        )


@dataclass(frozen=True)
class StoredArray:
    """The name and shape of an array in a checkpoint's file.

    Attributes:
        parameter: Name of the parameter.
        state: Name of the solver's state of it; "" for the parameter itself.
        shape: Its shape.
    """

    parameter: str
    state: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The contents of ``layout.json``.

    Attributes:
        arrays: In the order of the values.
        t_of: The solver's t by the step of each checkpoint, ascending.
        checksum_of: CRC-32 of each checkpoint's file by its step; empty in older runs.
        seconds: Seconds of the training that writing the checkpoints took.
    """

    arrays: tuple[StoredArray, ...]
    t_of: Mapping[int, int]
    checksum_of: Mapping[int, int] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    @functools.cached_property
    def size(self) -> int:
        """Values of one checkpoint."""
        return sum(array.size for array in self.arrays)

    @property
    def file_bytes(self) -> int:
        """Bytes of one checkpoint's file."""
        return HEADER_BYTES + 4 * self.size

    def split(self, flat: np.ndarray) -> Iterator[tuple[StoredArray, np.ndarray]]:
        """Yield each array with its view of a checkpoint's flat values."""
        start = 0
        for array in self.arrays:
            yield array, flat[start : start + array.size].reshape(array.shape)
            start += array.size


def write_values(path: Path, flat: np.ndarray) -> int:
    """Write a checkpoint's flat values, float32, as numpy.save does; return the file's checksum."""
    header = io.BytesIO()
    npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(flat))
    with path.open("wb") as file:
        file.write(header.getvalue())
        file.write(flat.data)
    return zlib.crc32(flat.data, zlib.crc32(header.getvalue()))


def write_layout(folder: Path, layout: Layout) -> None:
    """Write ``layout.json``, after all other files: it makes the folder complete."""
    values = {
        "format_version": FORMAT_VERSION,
        "arrays": [dataclasses.asdict(array) for array in layout.arrays],
        "moments": list(layout.t_of.items()),
        "seconds": layout.seconds,
        "checksums": list(layout.checksum_of.values()),
    }
    text = json.dumps({**values, "checksum": _checksum_of(values)})
    (folder / LAYOUT).write_text(text + "\n", encoding="utf-8")


def write_checkpoints(folder: Path, checkpoints: Sequence[Checkpoint]) -> dict[int, int]:
    """Write checkpoints of one training, in the order of their steps, into an existing folder.

    Returns:
        The checksums of their files, by step.
    """
    first = checkpoints[0]
    arrays = [StoredArray(name, "", value.shape) for name, value in first.parameters.items()]
    for state, values in first.solver.values.items():
        arrays += [StoredArray(name, state, value.shape) for name, value in values.items()]
    t_of = {checkpoint.step: checkpoint.solver.t for checkpoint in checkpoints}
    layout = Layout(tuple(arrays), t_of)
    flat = np.empty(layout.size, np.float32)
    checksum_of = {}
    for checkpoint in checkpoints:
        by_state = {"": checkpoint.parameters, **checkpoint.solver.values}
        for array, view in layout.split(flat):
            view[...] = by_state[array.state][array.parameter]
        checksum_of[checkpoint.step] = write_values(folder / f"{checkpoint.step}.npy", flat)
    write_layout(folder, dataclasses.replace(layout, checksum_of=checksum_of))
    return checksum_of


def read_layout(folder: Path) -> Layout:
    """Read ``layout.json`` and check that the files of all checkpoints exist and are complete.

    Raises:
        RunError: They are not; the message names the file.
    """
    path = folder / LAYOUT
    try:
        check_regular(path)
        values = json.loads(path.read_text(encoding="utf-8"))
        checksum = values.pop("checksum", None)
        if checksum not in (None, _checksum_of(values)):
            raise ValueError("its content has changed since it was written")
        layout = _layout_of(values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(path, error) from error
    with os.scandir(folder) as entries:
        sizes = {entry.name: entry.stat().st_size for entry in entries}
    for step in layout.t_of:
        name = f"{step}.npy"
        if sizes.get(name) != layout.file_bytes:
            found = f"has {sizes[name]} bytes, not {layout.file_bytes}" if name in sizes else ""
            raise RunError(f"{folder / name}: {found or 'is missing'}; record the training again")
    return layout


def read_checkpoint(folder: Path, layout: Layout, step: int) -> Checkpoint:
    """Read the checkpoint before ``step``.

    Raises:
        RunError: There is none, or its file is damaged; the message names it.
    """
    path = folder / f"{step}.npy"
    if step not in layout.t_of:
        raise RunError(f"{path}: there is no checkpoint before step {step}")
    try:
        content = np.fromfile(path, np.uint8)
        if layout.checksum_of.get(step) not in (None, zlib.crc32(content.data)):
            raise ValueError("its content has changed since it was written")
        header = io.BytesIO(content[:HEADER_BYTES].tobytes())
        npy.read_magic(header)
        shape, _, dtype = npy.read_array_header_1_0(header)
        if dtype != np.float32 or shape != (layout.size,):
            raise ValueError(f"{dtype} of shape {shape}, not float32 of shape ({layout.size},)")
    except Exception as error:  # NumPy raises whatever a damaged header leads to
        raise _unreadable(path, error) from error
    by_state: dict[str, dict[str, np.ndarray]] = {"": {}}
    for array, view in layout.split(content[HEADER_BYTES:].view(np.float32)):
        by_state.setdefault(array.state, {})[array.parameter] = view
    try:
        return Checkpoint(step, by_state.pop(""), SolverState(layout.t_of[step], by_state))
    except RunError as error:
        raise RunError(f"{path}: {error}") from error


def _unreadable(path: Path, error: Exception) -> RunError:
    return RunError(f"{path}: cannot be read ({cause_text(error)}); record the training again")


def _layout_of(values: Any) -> Layout:
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(f"format version {version!r} is unknown (expected {FORMAT_VERSION})")
    arrays = (StoredArray(a["parameter"], a["state"], tuple(a["shape"])) for a in values["arrays"])
    t_of = {int(step): int(t) for step, t in values["moments"]}
    checksum_of = dict(zip(t_of, values.get("checksums", ())))
    return Layout(tuple(arrays), t_of, checksum_of, float(values["seconds"]))


def _checksum_of(values: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(values).encode("utf-8"))
