"""The settings of a run, and ``run.json``, the file that holds them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import nnabla as nn

from nnabla_influence.counts import is_count
from nnabla_influence.errors import RunError
from nnabla_influence.files import check_regular, file_checksum
from nnabla_influence.runs.fed_batch import FedBatch, fed_batch_of
from nnabla_influence.runs.keep import check_keep
from nnabla_influence.runs.run_folder import CONTENTS, PARAMETERS, SOLVER_STATES, STEPS

FORMAT_VERSION = 1
CHECKED = (PARAMETERS, STEPS, SOLVER_STATES, CONTENTS)
"""The files whose checksums ``run.json`` holds; checkpoints have theirs in their own folder."""


@dataclass(frozen=True)
class RunSettings:
    """How a run was trained and recorded (``run.json``).

    Attributes:
        n_rows: Rows of the training data set; None if the recorder was not told.
        total_steps: Solver updates of the whole training, of which ``steps.csv`` may hold the last.
        solver: nnabla's name of the solver, such as ``Sgd``.
        hyperparameters: The solver's own, by name, as it was made with them; the learning rate of
            each step is in ``steps.csv``. ``lr``, and ``wd`` of AdamW and SgdW, scale the decay
            that these solvers fuse into their update.
        weight_decay: The rate that every recorded step was told; 0 for none. AdamW and SgdW then
            use ``wd``.
        network: Name of the trained network in the definition file.
        definition: Path of the network definition file.
        dataset: Path of the training data set's CSV.
        dataset_hash: `file_hash` of that CSV when it was trained on; None if it is not known.
        window: What was recorded, in words: ``last 2 epochs`` or ``all``.
        window_start: The window's first step, where ``steps.csv`` reaches further back, to a
            checkpoint from which it can be replayed; None where it does not.
        keep: Which checkpoints of the training lie in ``checkpoints``: ``final`` (none), ``sqrt``,
            ``all``.
        network_functions: What the training network computes (`network_fingerprint`); empty where
            it is not known.
        fed: What a mini-batch of a script's training held; None where it is not known.
        random_seeds: Seeds that random layers were given for this training, by layer.
        context: The nnabla context that trained.
        recorded_by: Who recorded: ``nnabla_cli``, ``Recorder``.
        nnabla_version: The nnabla that trained.
        format_version: Of the run folder.
    """

    n_rows: Optional[int] = None
    total_steps: Optional[int] = None
    solver: Optional[str] = None
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 0.0
    network: Optional[str] = None
    definition: Optional[str] = None
    dataset: Optional[str] = None
    dataset_hash: Optional[str] = None
    window: str = "all"
    window_start: Optional[int] = None
    keep: str = "final"
    network_functions: Sequence[str] = ()
    fed: Optional[FedBatch] = None
    random_seeds: Mapping[str, int] = field(default_factory=dict)
    context: str = ""
    recorded_by: str = ""
    nnabla_version: str = nn.__version__
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        for name in ("n_rows", "total_steps", "window_start"):
            value = getattr(self, name)
            if value is not None and not is_count(value, 0):
                raise RunError(f"{name}: {value!r} is not a whole number from 0")
        for name in ("solver", "network", "definition", "dataset", "dataset_hash"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise RunError(f"{name}: {value!r} is not a text")
        check_keep(self.keep)
        if not _is_finite(self.weight_decay):
            raise RunError(f"weight_decay: {self.weight_decay!r} is not a finite number")
        if not isinstance(self.hyperparameters, Mapping):
            raise RunError(f"hyperparameters: {self.hyperparameters!r} is not an object")
        for name, value in self.hyperparameters.items():
            if not _is_finite(value):
                raise RunError(f"hyperparameters: {name} {value!r} is not a finite number")
        object.__setattr__(self, "hyperparameters", dict(self.hyperparameters))
        if not isinstance(self.random_seeds, Mapping) or not all(
            _is_int(seed) for seed in self.random_seeds.values()
        ):
            raise RunError(f"random_seeds: {self.random_seeds!r} does not give layers seeds")
        object.__setattr__(self, "random_seeds", dict(self.random_seeds))
        functions = self.network_functions
        if not isinstance(functions, (list, tuple)) or not all(
            isinstance(function, str) for function in functions
        ):
            raise RunError(f"network_functions: {functions!r} is not a list of texts")
        object.__setattr__(self, "network_functions", tuple(functions))
        if self.fed is not None and not isinstance(self.fed, FedBatch):
            object.__setattr__(self, "fed", fed_batch_of(self.fed))


def write_settings(path: Path, settings: RunSettings) -> None:
    """Write ``run.json``, with the checksums of the files beside it, so it comes last."""
    checksums = {
        name: file_checksum(path.parent / name)
        for name in CHECKED
        if (path.parent / name).is_file()
    }
    values = {**dataclasses.asdict(settings), "checksums": checksums}
    text = json.dumps(values, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_settings(path: Path) -> RunSettings:
    """Read ``run.json``; entries that are not known are passed over.

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
        if name not in checksums:
            continue
        if not file.is_file() and name != CONTENTS:
            continue  # Who needs it says so.
        if not file.is_file() or file_checksum(file) != checksums[name]:
            raise RunError(
                f"{file}: has changed since it was recorded, so it is damaged or belongs to another"
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
            f"{path}: format version {version!r} is unknown, this program reads {FORMAT_VERSION};"
            " use the nnabla-influence that wrote the run"
        )
    return values


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return (_is_int(value) or isinstance(value, float)) and math.isfinite(value)
