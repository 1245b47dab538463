"""The file that a long trace back leaves beside its output, to be taken up from after a kill."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import nnabla as nn
import numpy as np

from nnabla_influence.errors import OutputError
from nnabla_influence.influence.trace import Trace

SAVE_SECONDS = 20.0
"""How often; what is lost at a kill."""


class TraceFile:
    """Where a trace stands: scores so far, and the vectors that go on backward.

    Args:
        path: The file; its folder must exist.
        fingerprint: Of everything that the scores depend on. A file that was written with another
            one is not taken up, and is overwritten.
    """

    def __init__(self, path: Path, fingerprint: str):
        self.path = path
        # Always the same name, so that what a kill in the midst of writing left is found again.
        self._half = path.with_name(f"{path.name}.half")
        self._fingerprint = fingerprint
        self._saved_at = time.monotonic()

    def load(self, vectors: Mapping[str, nn.NdArray]) -> Optional[Trace]:
        """Return the trace so far and set ``vectors`` to where it stands; None where there is none.

        A damaged file counts as none.
        """
        try:
            with np.load(self.path, allow_pickle=False) as file:
                if str(file["fingerprint"]) != self._fingerprint:
                    return None
                values = {name: file[f"vector {name}"] for name in vectors}
                trace = Trace(
                    influence=file["influence"],
                    times_seen=file["times_seen"],
                    n_steps=int(file["n_steps"]),
                    first_length=float(file["first_length"]),
                    growth=float(file["growth"]),
                )
        except Exception:  # What a damaged archive raises is no short list.
            return None
        for name, vector in vectors.items():
            vector.copy_from(nn.NdArray.from_numpy_array(values[name]))
        return trace

    def save_now_and_then(self, trace: Trace, vectors: Mapping[str, nn.NdArray]) -> None:
        """Save if the last time is `SAVE_SECONDS` ago.

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
        try:
            with self._half.open("wb") as file:
                np.savez(
                    file,
                    fingerprint=np.array(self._fingerprint),
                    influence=trace.influence,
                    times_seen=trace.times_seen,
                    n_steps=np.array(trace.n_steps),
                    first_length=np.array(trace.first_length),
                    growth=np.array(trace.growth),
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
        """Remove the file, the trace being done.

        Raises:
            OutputError: It cannot be removed.
        """
        for path in filter(os.path.lexists, (self.path, self._half)):
            try:
                os.unlink(path)
            except OSError as error:
                raise OutputError(f"{path}: cannot be removed ({error.strerror})") from error
