"""The file beside the output from which a long trace resumes after it was killed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nnabla as nn
import numpy as np

from nnabla_influence.errors import OutputError
from nnabla_influence.influence.trace import Trace
from nnabla_influence.runs.steps import Step

SAVE_SECONDS = 20.0
"""How often; at most so much is lost by a kill."""


class TraceFile:
    """A trace so far: the scores, and the vectors that are carried backward.

    Args:
        path: The file; its folder must exist.
        fingerprint: Of everything that the scores depend on. A file with another one is not
            resumed from, and is overwritten.
    """

    def __init__(self, path: Path, fingerprint: str):
        self.path = path
        # Always the same name, so that half a file that a kill left is found.
        self._half = path.with_name(f"{path.name}.half")
        self._fingerprint = fingerprint
        self._saved_at = time.monotonic()

    def load(self, vectors: Mapping[str, nn.NdArray]) -> Trace | None:
        """Return the trace so far and set ``vectors`` to its; None if there is none, or damaged."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                if str(file["fingerprint"]) != self._fingerprint:
                    return None
                values = {name: file[f"vector {name}"] for name in vectors}
                trace = Trace(
                    influence=file["influence"],
                    times_seen=file["times_seen"],
                    n_steps=file["n_steps"].item(),
                    first_length=file["first_length"].item(),
                    growth=file["growth"].item(),
                    moves=file.get("moves"),
                )
        except Exception:  # A damaged archive can raise many kinds.
            return None
        for name, vector in vectors.items():
            vector.copy_from(nn.NdArray.from_numpy_array(values[name]))
        return trace

    def save_now_and_then(self, trace: Trace, vectors: Mapping[str, nn.NdArray]) -> None:
        """Save if the last save is `SAVE_SECONDS` ago.

        Raises:
            OutputError: The file cannot be written.
        """
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self.save(trace, vectors)

    def save(self, trace: Trace, vectors: Mapping[str, nn.NdArray]) -> None:
        """Save, whole or not at all.

        Raises:
            OutputError: The file cannot be written.
        """
        so_far = {name: value for name, value in vars(trace).items() if value is not None}
        try:
            with self._half.open("wb") as file:
                np.savez(
                    file,
                    fingerprint=self._fingerprint,
                    **so_far,
                    **{f"vector {name}": vector.data for name, vector in vectors.items()},
                )
            self._half.replace(self.path)
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{self.path}: cannot be written ({reason})") from error
        finally:
            with contextlib.suppress(OSError):
                self._half.unlink()
        self._saved_at = time.monotonic()

    def remove(self) -> None:
        """Remove the file, if it can be removed; it would only be overwritten."""
        for path in (self.path, self._half):
            with contextlib.suppress(OSError):
                path.unlink()


def trace_path(output: str | os.PathLike[str], trial: int) -> Path:
    """Return the path of one trial's file, beside the ranking ``output``."""
    output = Path(os.path.realpath(output))
    return output.parent / f".{output.name}.trace{'' if trial == 0 else trial}.npz"


def fingerprint(*parts: Any) -> str:
    """Return a hash of parts: arrays, steps, dataclasses, and what has an exact ``repr``."""
    digest = hashlib.blake2b(digest_size=16)
    for part in _flattened(parts):
        digest.update(b"\0")
        digest.update(part)
    return digest.hexdigest()


def _flattened(parts: Sequence[Any]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, np.ndarray):
            yield f"{part.dtype} {part.shape}".encode()
            yield part.tobytes()
        elif isinstance(part, Step):
            yield from _flattened((part.step, part.learning_rate, *part.batches))
        elif dataclasses.is_dataclass(part):
            yield type(part).__name__.encode()
            fields = dataclasses.fields(part)
            yield from _flattened([x for f in fields for x in (f.name, getattr(part, f.name))])
        elif isinstance(part, dict):
            yield from _flattened([x for item in sorted(part.items()) for x in item])
        elif isinstance(part, (list, tuple)):
            yield from _flattened(part)
        else:
            yield repr(part).encode()
