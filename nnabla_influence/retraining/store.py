"""What is finished of a removal curve, on disk: one file for each unit of work.

A curve that was interrupted goes on where it stood, and one that is called again does nothing
twice. Each file says by a fingerprint what it was computed from; a folder that holds results of
other things is refused, not mixed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any, Optional, TypeVar

from nnabla_influence.errors import OutputError
from nnabla_influence.files import replacing_file, take_lock
from nnabla_influence.retraining.plan import Training

Record = TypeVar("Record")

FORMAT_VERSION = 1
CELLS, SCORES, RUNS = "cells", "scores", "runs"
RESULTS = ".results."
"""Begins the name of a folder in which results are made."""
_MARK, _LOCK = "curve.json", ".lock"


class Store:
    """The output folder of a removal curve.

    Args:
        folder: The folder; made if it is missing. Its parent must exist.

    Raises:
        OutputError: It cannot be written, or holds other things.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(os.path.abspath(folder))
        if not self.folder.parent.is_dir():
            raise OutputError(
                f"{folder}: the folder {self.folder.parent} does not exist; make it first"
            )
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{folder}: is a file; give the name of a folder")
        mark = self.folder / CELLS / _MARK
        foreign = [] if mark.is_file() else _others(self.folder)
        if foreign:
            raise OutputError(
                f"{folder}: holds {foreign[0]}, so it is not a removal curve that may go on; give a"
                " new folder"
            )
        self._is_new = not self.folder.exists()
        try:
            for name in (CELLS, SCORES, RUNS):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be made ({error.strerror}); choose another output folder"
            ) from error
        if not mark.is_file():
            _write_json(mark, {"format_version": FORMAT_VERSION})

    def __enter__(self) -> Store:
        """Keep other commands out of the folder.

        Raises:
            OutputError: One is at work there, or the folder cannot be written.
        """
        try:
            self._lock = (self.folder / _LOCK).open("w")
        except OSError as error:
            raise OutputError(
                f"{self.folder}: cannot be written ({error.strerror}); choose another output folder"
            ) from error
        try:
            take_lock(self._lock)
        except OSError as error:
            self._lock.close()
            raise OutputError(
                f"{self.folder}: another command is at work there; wait until it ends, or give"
                " another folder"
            ) from error
        for left in self.folder.glob(f"{RESULTS}*"):  # by a command that was killed
            shutil.rmtree(left, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind where nothing is finished."""
        self._lock.close()
        (self.folder / _LOCK).unlink(missing_ok=True)
        if any(path.name != _MARK for path in (self.folder / CELLS).glob("*.json")):
            return
        for name in (CELLS, SCORES, RUNS):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        if self._is_new:
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def run(self, training: Training) -> Path:
        """Return where the run of a training lies while it is needed."""
        return self.folder / RUNS / training.key

    def scores(self, training: Training, ranking: str) -> Path:
        """Return where the scores of a ranking lie."""
        return self.folder / SCORES / f"{training.key}-{ranking}.npy"

    def read(self, name: str, fingerprint: str, kind: type[Record]) -> Optional[Record]:
        """Return a record, None where there is none.

        Args:
            name: Of the record.
            fingerprint: Of all that it depends on.
            kind: The dataclass that was written.

        Raises:
            OutputError: It was computed from other things, or is damaged.
        """
        path = self._record(name)
        try:
            record = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise OutputError(
                f"{path}: cannot be read ({' '.join(str(error).split())}); remove it, and it is"
                " computed again"
            ) from error
        if not isinstance(record, dict) or record.pop("of", None) != fingerprint:
            raise OutputError(
                f"{path}: was computed from another definition, other data, on another kind of"
                " device or by another version of nnabla or nnabla-influence; give a new folder,"
                " or remove this one"
            )
        try:
            return kind(**record)
        except TypeError as error:
            raise OutputError(
                f"{path}: is damaged, or of another version; remove it, and it is computed again"
            ) from error

    def write(self, name: str, fingerprint: str, record: Any) -> None:
        """Keep a record, a dataclass."""
        _write_json(self._record(name), {"of": fingerprint, **dataclasses.asdict(record)})

    def drop_run(self, training: Training) -> None:
        """Remove the run of a training: nothing needs it any more."""
        shutil.rmtree(self.run(training), ignore_errors=True)

    def tidy(self) -> None:
        """Remove what only an unfinished curve needs."""
        shutil.rmtree(self.folder / RUNS, ignore_errors=True)

    def _record(self, name: str) -> Path:
        return self.folder / CELLS / f"{name}.json"


def _others(folder: Path) -> list[str]:
    """Return what a folder holds beside the empty folders that a killed command may leave."""
    if not folder.is_dir():
        return []
    ours = {folder / name for name in (CELLS, SCORES, RUNS)}
    return sorted(path.name for path in folder.iterdir() if path not in ours or any(path.iterdir()))


def _write_json(path: Path, value: Any) -> None:
    with replacing_file(path) as temporary:
        # repr() of a float, as json writes it, reads back as the same float.
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
