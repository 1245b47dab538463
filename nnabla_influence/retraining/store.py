"""Finished results on disk, so that an interrupted experiment resumes.

Each result has a file of its own, with the fingerprint of everything that it was computed from;
results of something else are refused, not mixed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nnabla_influence.errors import OutputError
from nnabla_influence.files import (
    check_output_folder,
    check_writable,
    locked_folder,
    replacing_file,
)
from nnabla_influence.retraining.plan import WorkUnit
from nnabla_influence.text import cause_text

Record = TypeVar("Record")

FORMAT_VERSION = 1
RECORDS, SCORES, RUNS = "cells", "scores", "runs"
_MARK = "curve.json"


class Records:
    """An existing folder of finished results, one JSON file each.

    ``root`` is what the user removes to start anew: the folder itself, or one around it.
    """

    def __init__(self, folder: Path, root: Path):
        self.folder, self._root = folder, root

    def names(self) -> list[str]:
        """Return the names of all records."""
        # Hidden ones are what a killed process left half-written.
        paths = self.folder.glob("[!.]*.json")
        return sorted(path.stem for path in paths if path.name != _MARK)

    def read(self, name: str, fingerprint: str, kind: type[Record]) -> Record | None:
        """Return a record of a dataclass ``kind``, None if it does not exist.

        Raises:
            OutputError: Its fingerprint is another one, or it is damaged.
        """
        path = self.folder / f"{name}.json"
        if not path.exists():
            return None
        try:
            record = json.loads(path.read_text("utf-8"))
            of = record.pop("of")
            found = kind(**record)
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise OutputError(
                f"{path}: cannot be read ({cause_text(error)}); remove it to compute it again"
            ) from error
        if of != fingerprint:
            raise OutputError(
                f"{path}: was computed from another definition, other data or settings, on another"
                " kind of device or by another version of nnabla or nnabla-influence; give a new"
                f" output folder, or remove {self._root}"
            )
        return found

    def write(self, name: str, fingerprint: str, record: Any) -> None:
        """Keep a record, a dataclass, whole or not at all."""
        self._write(name, {"of": fingerprint, **dataclasses.asdict(record)})

    def _write(self, name: str, value: Any) -> None:
        with replacing_file(self.folder / f"{name}.json") as temporary:
            # repr() of a float, as json writes it, reads back as the same float.
            temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")

    def remove(self) -> None:
        """Remove all records, and the folder if nothing else is in it."""
        with contextlib.suppress(OSError):
            for path in self.folder.glob("*.json"):
                path.unlink()
            self.folder.rmdir()


@dataclass(frozen=True)
class FinishedLoss:
    """The mean validation loss after a retraining."""

    loss: float


class PartialValidation(Records):
    """The finished retrainings of a validation, in ``OUTPUT.partial`` until its output is written.

    Which rows and subsets are left out may change from call to call; what the losses depend on may
    not.

    Attributes:
        losses: The mean validation loss after each of them, by name.

    Raises:
        OutputError: Nothing can be written beside ``output``.
    """

    def __init__(self, output: Path):
        folder = output.with_name(output.name + ".partial")
        super().__init__(folder, folder)
        self.losses: dict[str, float] = {}
        self._fingerprint = ""
        check_writable(folder.with_name(f"{folder.name}.any"))
        folder.mkdir(exist_ok=True)

    def open(self, fingerprint: str) -> None:
        """Read what is finished; refuse what was computed from something else."""
        self._fingerprint = fingerprint
        for name in self.names():
            record = self.read(name, fingerprint, FinishedLoss)
            if record is not None:
                self.losses[name] = record.loss

    def add(self, name: str, loss: float) -> None:
        """Keep the loss of a retraining."""
        self.losses[name] = loss
        self.write(name, self._fingerprint, FinishedLoss(loss))

    def __enter__(self) -> PartialValidation:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the folder if nothing is finished."""
        if not self.names():
            self.remove()


class CurveStore(Records):
    """The output folder of a removal curve, made if it is missing, and its records.

    Raises:
        OutputError: It cannot be written, or holds something else.
    """

    def __init__(self, output: str | os.PathLike[str]):
        self.output = Path(os.path.abspath(output))
        super().__init__(self.output / RECORDS, self.output)
        self._lock = contextlib.ExitStack()
        self._is_new = not self.output.exists()
        is_curve = (self.folder / _MARK).is_file()
        if not is_curve:
            check_output_folder(output, "a removal curve", (), _MARK)
        for name in (RECORDS, SCORES, RUNS):
            (self.output / name).mkdir(parents=True, exist_ok=True)
        if not is_curve:
            self._write(Path(_MARK).stem, {"format_version": FORMAT_VERSION})

    def __enter__(self) -> CurveStore:
        """Keep other commands out of the folder."""
        self._lock.enter_context(locked_folder(self.output))
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind where nothing is finished."""
        self._lock.close()
        if self.names():
            return
        for name in (RECORDS, SCORES, RUNS):
            shutil.rmtree(self.output / name, ignore_errors=True)
        if self._is_new:
            with contextlib.suppress(OSError):
                self.output.rmdir()

    def run(self, training: WorkUnit) -> Path:
        """Return where the run of a training lies while it is needed."""
        return self.output / RUNS / training.key

    def scores(self, unit: WorkUnit) -> Path:
        """Return where the scores of a unit's ranking lie."""
        return self.output / SCORES / f"{unit.training.key}-{unit.ranking}.npy"

    def drop_run(self, training: WorkUnit) -> None:
        """Remove the run of a training that nothing needs any more."""
        shutil.rmtree(self.run(training), ignore_errors=True)

    def tidy(self) -> None:
        """Remove what only an unfinished curve needs."""
        shutil.rmtree(self.output / RUNS, ignore_errors=True)
