"""The settings of a run, and ``run.json``, the file that holds them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nnabla as nn

from nnabla_influence.errors import RunError
from nnabla_influence.files import check_regular, file_checksum
from nnabla_influence.runs.checkpoint_plan import check_keep
from nnabla_influence.runs.fed_batch import FedBatch, fed_batch_of
from nnabla_influence.runs.run_files import CONTENTS, PARAMETERS, SOLVER_STATES, STEPS
from nnabla_influence.text import cause_text

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
        for kinds, names in _ENTRIES.items():
            for name in names:
                value = getattr(self, name)
                if isinstance(value, bool) or not isinstance(value, kinds):
                    raise RunError(f"{name}: {value!r} is not valid")
        for name, rate in self.hyperparameters.items():
            if not isinstance(rate, (int, float)):
                raise RunError(f"hyperparameters: {name} {rate!r} is not a number")
        check_keep(self.keep)
        object.__setattr__(self, "hyperparameters", dict(self.hyperparameters))
        object.__setattr__(self, "network_functions", tuple(self.network_functions))
        if isinstance(self.fed, Mapping):
            object.__setattr__(self, "fed", fed_batch_of(self.fed))


_ENTRIES: Mapping[tuple[type, ...], tuple[str, ...]] = {
    (int, type(None)): ("n_rows", "total_steps", "window_start"),
    (str, type(None)): ("solver", "network", "definition", "dataset", "dataset_hash"),
    (int, float): ("weight_decay",),
    (Mapping,): ("hyperparameters", "random_seeds"),
    (list, tuple): ("network_functions",),
    (Mapping, FedBatch, type(None)): ("fed",),
}
"""The entries of ``run.json`` by their types."""


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
    for name in CHECKED:
        file = path.parent / name
        # Whoever needs a file reports that it is missing, but for the contents.
        if name not in checksums or (not file.is_file() and name != CONTENTS):
            continue
        if not file.is_file() or file_checksum(file) != checksums[name]:
            raise RunError(
                f"{file}: has changed since it was recorded; restore it, or record again"
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        check_regular(path)
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        version = values.get("format_version")
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(
            f"{path}: is not a JSON object ({cause_text(error)}); remove it, or record again"
        ) from error
    if version != FORMAT_VERSION:
        raise RunError(
            f"{path}: format version {version!r} is unknown (expected {FORMAT_VERSION}); use the"
            " nnabla-influence that wrote the run"
        )
    return dict(values)
