"""The settings of a run, and ``run.json``, the file that holds them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nnabla as nn

from nnabla_influence.errors import RunError
from nnabla_influence.files import check_regular, file_checksum
from nnabla_influence.runs.checkpoint_plan import check_keep
from nnabla_influence.runs.fed_batch import FedBatch, fed_batch_of
from nnabla_influence.runs.run_folder import CONTENTS, PARAMETERS, SOLVER_STATES, STEPS

FORMAT_VERSION = 1
CHECKED = (PARAMETERS, STEPS, SOLVER_STATES, CONTENTS)
"""The files whose checksums ``run.json`` holds; checkpoints have theirs in their own folder."""


@dataclass(frozen=True)
class RunSettings:
    """How a run was trained and recorded (``run.json``).

    Attributes:
        n_rows: Rows of the training dataset; None if unknown.
        total_steps: Solver updates of the whole training, of which ``steps.csv`` may hold the last.
        solver: nnabla's name of the solver, such as ``Sgd``.
        hyperparameters: The solver's initial ones, by name; the learning rate of each step is in
            ``steps.csv``. ``lr``, and ``wd`` of AdamW and SgdW, scale the decay that these solvers
            fuse into their update.
        weight_decay: The weight decay of every recorded step; 0 for none. AdamW and SgdW then use
            ``wd``.
        network: Name of the trained network in the definition file.
        definition: Path of the network definition file.
        dataset: Path of the training dataset's CSV.
        dataset_hash: `file_hash` of that CSV when it was trained on; None if unknown.
        window: What was recorded, in words: ``last 2 epochs`` or ``all``.
        window_start: The window's first step, where ``steps.csv`` starts before it, at a
            checkpoint from which it can be replayed; None where it does not.
        keep: Which checkpoints are in ``checkpoints``: ``final`` (none), ``sqrt``, ``all``.
        network_functions: What the training network computes (`network_fingerprint`); empty where
            unknown.
        fed: Statistics of the first mini-batch of a script's training; None where unknown.
        random_seeds: Seeds given to random layers for this training, by layer.
        context: The nnabla context of the training.
        recorded_by: ``nnabla_cli`` or ``Recorder``.
        nnabla_version: The nnabla of the training.
        format_version: Of the run folder.
    """

    n_rows: int | None = None
    total_steps: int | None = None
    solver: str | None = None
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 0.0
    network: str | None = None
    definition: str | None = None
    dataset: str | None = None
    dataset_hash: str | None = None
    window: str = "all"
    window_start: int | None = None
    keep: str = "final"
    network_functions: Sequence[str] = ()
    fed: FedBatch | None = None
    random_seeds: Mapping[str, int] = field(default_factory=dict)
    context: str = ""
    recorded_by: str = ""
    nnabla_version: str = nn.__version__
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        for name in ("n_rows", "total_steps", "window_start"):
            value = getattr(self, name)
            self._check(
                name, value is None or (_is_int(value) and value >= 0), "whole number from 0"
            )
        for name in ("solver", "network", "definition", "dataset", "dataset_hash"):
            self._check(name, isinstance(getattr(self, name), (str, type(None))), "text")
        check_keep(self.keep)
        self._check("weight_decay", _is_finite(self.weight_decay), "finite number")
        for name in ("hyperparameters", "random_seeds"):
            self._check(name, isinstance(getattr(self, name), Mapping), "JSON object")
            object.__setattr__(self, name, dict(getattr(self, name)))
        for name, value in self.hyperparameters.items():
            if not _is_finite(value):
                raise RunError(f"hyperparameters: {name} {value!r} is not a finite number")
        are_seeds = all(map(_is_int, self.random_seeds.values()))
        self._check("random_seeds", are_seeds, "seed for each layer")
        functions = self.network_functions
        are_texts = isinstance(functions, (list, tuple)) and all(
            isinstance(function, str) for function in functions
        )
        self._check("network_functions", are_texts, "list of texts")
        object.__setattr__(self, "network_functions", tuple(functions))
        if self.fed is not None and not isinstance(self.fed, FedBatch):
            object.__setattr__(self, "fed", fed_batch_of(self.fed))

    def _check(self, name: str, is_valid: bool, kind: str) -> None:
        if not is_valid:
            raise RunError(f"{name}: {getattr(self, name)!r} is not a {kind}")


def write_settings(path: Path, settings: RunSettings) -> None:
    """Write ``run.json``, after the files beside it, whose checksums it holds."""
    checksums = {
        name: file_checksum(path.parent / name)
        for name in CHECKED
        if (path.parent / name).is_file()
    }
    values = {**dataclasses.asdict(settings), "checksums": checksums}
    text = json.dumps(values, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_settings(path: Path) -> RunSettings:
    """Read ``run.json``; unknown entries are ignored.

    Raises:
        RunError: It is not such a file, of an unknown version, or an entry is wrong.
    """
    values = _read(path)
    known = {item.name for item in dataclasses.fields(RunSettings)}
    try:
        return RunSettings(**{name: value for name, value in values.items() if name in known})
    except RunError as error:
        raise RunError(f"{path}: {error}") from error


def check_files(path: Path) -> None:
    """Check the files beside ``run.json`` against the checksums in it; older runs have none.

    Raises:
        RunError: One has changed; the message names it.
    """
    checksums = _read(path).get("checksums", {})
    if not isinstance(checksums, dict):
        raise RunError(f"{path}: checksums: {checksums!r} is not an object")
    for name in CHECKED:
        file = path.parent / name
        # Whoever needs a file reports that it is missing, but for the contents.
        if name not in checksums or (not file.is_file() and name != CONTENTS):
            continue
        if not file.is_file() or file_checksum(file) != checksums[name]:
            raise RunError(
                f"{file}: has changed since it was recorded: it is damaged or belongs to another"
                " run; restore it, or record again"
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        check_regular(path)
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RunError(
            f"{path}: is not readable JSON ({reason}); remove it, or record again"
        ) from error
    if not isinstance(values, dict):
        raise RunError(f"{path}: is not a JSON object; remove it, or record again")
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise RunError(
            f"{path}: format version {version!r} is unknown (expected {FORMAT_VERSION}); use the"
            " nnabla-influence that wrote the run"
        )
    return values


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return (_is_int(value) or isinstance(value, float)) and math.isfinite(value)
