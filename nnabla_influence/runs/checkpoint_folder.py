"""The folder ``checkpoints`` of a run.

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
import tokenize
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from nnabla_influence.errors import RunError
from nnabla_influence.files import check_regular
from nnabla_influence.options import is_count
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.solvers.state import SolverState

LAYOUT = "layout.json"
FORMAT_VERSION = 1
HEADER_BYTES = 128
"""Bytes of NumPy's header before the values."""


@dataclass(frozen=True)
class Array:
    """The name and shape of an array in a checkpoint.

    Attributes:
        parameter: Name of the parameter.
        state: Name of the solver's state of it; "" for the parameter itself.
        shape: Its shape.
    """

    parameter: str
    state: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not (isinstance(self.parameter, str) and isinstance(self.state, str)):
            raise RunError(f"{self.parameter!r}, {self.state!r} are not names")
        if not all(is_count(extent, 0) for extent in self.shape):
            raise RunError(f"{list(self.shape)} is not the shape of {self.parameter}")

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The contents of ``layout.json``.

    Attributes:
        arrays: In the order of the values.
        seconds: Seconds of the training that writing the checkpoints took.
        checkpoints: Step and the solver's t of each checkpoint, ascending.
        checksums: CRC-32 of each checkpoint's file, in the same order; none in older runs.
    """

    arrays: tuple[Array, ...]
    checkpoints: tuple[tuple[int, int], ...] = ()
    seconds: float = 0.0
    checksums: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        steps = [step for step, _ in self.checkpoints]
        numbers = [number for checkpoint in self.checkpoints for number in checkpoint]
        if not all(is_count(number, 0) for number in numbers) or steps != sorted(set(steps)):
            raise RunError("the checkpoints are not in the order of their steps")
        if self.checksums and len(self.checksums) != len(steps):
            raise RunError("there are not as many checksums as checkpoints")

    @functools.cached_property
    def t_of(self) -> Mapping[int, int]:
        """The solver's t by the step of each checkpoint."""
        return dict(self.checkpoints)

    @functools.cached_property
    def checksum_of(self) -> Mapping[int, int]:
        """The checksum by the step of each checkpoint, where there are any."""
        return {step: checksum for (step, _), checksum in zip(self.checkpoints, self.checksums)}

    @functools.cached_property
    def size(self) -> int:
        """Values of one checkpoint."""
        return sum(array.size for array in self.arrays)

    @property
    def file_bytes(self) -> int:
        """Bytes of one checkpoint's file."""
        return HEADER_BYTES + 4 * self.size

    def split(self, flat: np.ndarray) -> Iterator[tuple[Array, np.ndarray]]:
        """Yield each array with its view of a checkpoint's flat values."""
        start = 0
        for array in self.arrays:
            yield array, flat[start : start + array.size].reshape(array.shape)
            start += array.size


def write_values(path: Path, flat: np.ndarray) -> int:
    """Write a checkpoint's flat values, float32, in the format of numpy.save, in half its time.

    Returns:
        The file's checksum.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(flat))
    with path.open("wb", buffering=0) as file:
        file.write(header.getvalue())
        _write_all(file, flat.data.cast("B"))
    return zlib.crc32(flat.data.cast("B"), zlib.crc32(header.getvalue()))


def _write_all(file: io.RawIOBase, content: memoryview) -> None:
    while content:  # the system may write only a part
        content = content[file.write(content) or 0 :]


def write_layout(folder: Path, layout: Layout) -> None:
    """Write ``layout.json``, after all other files: it makes the folder complete."""
    values = {"format_version": FORMAT_VERSION, **_written(layout)}
    text = json.dumps({**values, "checksum": _checksum_of(values)})
    (folder / LAYOUT).write_text(text + "\n", encoding="utf-8")


def _written(layout: Layout) -> dict[str, object]:
    """Return the entries of the file, whose format calls checkpoints moments."""
    values = asdict(layout)
    return {"moments" if key == "checkpoints" else key: value for key, value in values.items()}


def write_checkpoints(folder: Path, checkpoints: Sequence[Checkpoint]) -> tuple[int, ...]:
    """Write checkpoints of one training, in the order of their steps, into an existing folder.

    Returns:
        The checksums of their files.
    """
    arrays = [Array(name, "", value.shape) for name, value in checkpoints[0].parameters.items()]
    for state, values in checkpoints[0].solver.values.items():
        arrays += [Array(name, state, value.shape) for name, value in values.items()]
    layout = Layout(
        tuple(arrays), tuple((checkpoint.step, checkpoint.solver.t) for checkpoint in checkpoints)
    )
    flat = np.empty(layout.size, np.float32)
    checksums = []
    for checkpoint in checkpoints:
        for array, view in layout.split(flat):
            states = checkpoint.solver.values
            view[...] = (states[array.state] if array.state else checkpoint.parameters)[
                array.parameter
            ]
        checksums.append(write_values(folder / f"{checkpoint.step}.npy", flat))
    write_layout(folder, dataclasses.replace(layout, checksums=tuple(checksums)))
    return tuple(checksums)


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
            raise RunError("is damaged: it has changed since it was written")
        layout = _layout_of(values)
    except RunError as error:
        raise RunError(f"{path}: {error}; record the training again") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"{path}: is not a readable layout of checkpoints ({reason}); record the training again"
        ) from error
    with os.scandir(folder) as entries:
        sizes = {entry.name: entry.stat().st_size for entry in entries}
    for step, _ in layout.checkpoints:
        name = f"{step}.npy"
        if name not in sizes:
            raise RunError(f"{folder / name}: is missing; record the training again")
        if sizes[name] != layout.file_bytes:
            raise RunError(
                f"{folder / name}: has {sizes[name]} bytes, not the {layout.file_bytes} of"
                f" {LAYOUT}; record the training again"
            )
    return layout


def read_checkpoint(folder: Path, layout: Layout, step: int) -> Checkpoint:
    """Read the checkpoint before ``step``.

    Raises:
        RunError: There is none, or its file is damaged; the message names it.
    """
    path = folder / f"{step}.npy"
    t = layout.t_of.get(step)
    if t is None:
        raise RunError(f"{path}: there is no checkpoint before step {step}")
    try:
        content = np.fromfile(path, np.uint8)
        if layout.checksum_of.get(step) not in (None, zlib.crc32(content.data)):
            raise ValueError("its content has changed since it was written")
        header = io.BytesIO(content[:HEADER_BYTES].tobytes())
        npy.read_magic(header)
        shape, _, dtype = npy.read_array_header_1_0(header)
    except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:
        reason = " ".join(str(error).split())[:120]
        raise RunError(f"{path}: cannot be read ({reason}); record the training again") from error
    if dtype != np.float32 or shape != (layout.size,):
        raise RunError(
            f"{path}: holds {dtype} of shape {shape}, not the float32 of shape"
            f" ({layout.size},) of {LAYOUT}; record the training again"
        )
    flat = content[HEADER_BYTES:].view(np.float32)
    parameters: dict[str, np.ndarray] = {}
    states: dict[str, dict[str, np.ndarray]] = {}
    for array, view in layout.split(flat):
        (states.setdefault(array.state, {}) if array.state else parameters)[array.parameter] = view
    try:
        return Checkpoint(step, parameters, SolverState(t, states))
    except RunError as error:
        raise RunError(f"{path}: {error}") from error


def _layout_of(values: Any) -> Layout:
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise RunError(f"format version {version!r} is unknown (expected {FORMAT_VERSION})")
    arrays = (Array(a["parameter"], a["state"], tuple(a["shape"])) for a in values["arrays"])
    return Layout(
        tuple(arrays),
        tuple((step, t) for step, t in values["moments"]),
        float(values["seconds"]),
        tuple(values.get("checksums", ())),
    )


def _checksum_of(values: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(values).encode("utf-8"))
