"""The finished retrainings, kept on disk so that an interrupted validation goes on."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from nnabla_influence.errors import OutputError

Key = tuple[tuple[int, ...], float]
"""The rows of a retraining, and the weight that was left of their gradients."""

_FORMAT = 1
_FILE = "retrainings.jsonl"


class Journal:
    """The losses of finished retrainings, by the rows that were left out and their weight.

    One line a retraining is written as soon as it is done, into ``FOLDER.partial`` beside the
    output. What is asked for (which rows, which subsets) may change from call to call; what the
    losses depend on may not, and is told by a fingerprint.

    Args:
        output: The folder that the validation writes at its end.

    Raises:
        OutputError: Nothing can be written beside ``output``.
    """

    def __init__(self, output: Path):
        self.folder = output.with_name(output.name + ".partial")
        self.done: dict[Key, float] = {}
        self._file = self.folder / _FILE
        self._is_own = False
        try:
            self.folder.mkdir(exist_ok=True)
            with self._file.open("ab"):
                pass
        except OSError as error:
            raise OutputError(
                f"{self.folder}: cannot be written ({error.strerror}); it keeps what is finished"
                " until the end, so choose another output folder"
            ) from error

    def open(self, fingerprint: str) -> None:
        """Read what is finished.

        Raises:
            OutputError: It was computed from other things, or is no such file.
        """
        # A line that a kill cut short is not there yet.
        whole = self._file.read_bytes().rpartition(b"\n")[0]
        lines = whole.split(b"\n") if whole else []
        header = {"format_version": _FORMAT, "fingerprint": fingerprint}
        try:
            entries = [json.loads(line) for line in lines]
            if entries and entries[0] != header:
                raise OutputError(
                    f"{self.folder}: holds a validation that was interrupted, of another run, other"
                    " data, another window or another machine; remove that folder, or choose"
                    " another output folder"
                )
            for entry in entries[1:]:
                self.done[tuple(entry["left_out"]), entry["weight"]] = float(entry["loss"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OutputError(
                f"{self._file}: is not what a validation wrote; remove that folder, or choose"
                " another output folder"
            ) from error
        self._is_own = True
        os.truncate(self._file, len(whole) + 1 if whole else 0)
        if not entries:
            self._append(header)

    def add(self, key: Key, loss: float) -> None:
        """Keep the loss of a retraining."""
        self.done[key] = loss
        self._append({"left_out": key[0], "weight": key[1], "loss": loss})

    def remove(self) -> None:
        """Remove it: the output is written."""
        with contextlib.suppress(OSError):
            self._file.unlink()
            self.folder.rmdir()

    def leave(self) -> None:
        """Remove it where nothing is finished, so that a failure leaves nothing behind."""
        if not self.done and (self._is_own or not self._file.stat().st_size):
            self.remove()

    def _append(self, entry: object) -> None:
        try:
            with self._file.open("ab") as file:
                # repr() of a float, as json writes it, reads back as the same float.
                file.write(json.dumps(entry).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                f"{self._file}: cannot be written ({error.strerror}); what is finished is kept, so"
                " make room and call again"
            ) from error
