"""What is scored: the definition, the run and the datasets, read and checked."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence import files
from nnabla_influence.dataset import Dataset, note_on_equal_data, open_dataset
from nnabla_influence.definition import (
    DatasetSettings,
    Definition,
    SolverSettings,
    ignoring_columns,
    load_definition,
    validation_definition,
    with_seeds,
)
from nnabla_influence.definition.datasets import refuse_missing_csv
from nnabla_influence.device import Device, choose_device
from nnabla_influence.errors import DatasetError, InfluenceError
from nnabla_influence.files import PathLike, check_writable
from nnabla_influence.nnabla_cli.caches import reads_cached_pixels
from nnabla_influence.nnabla_cli.training import column_specs
from nnabla_influence.options import Options
from nnabla_influence.progress import Progress
from nnabla_influence.ranking import check_columns, is_ranking
from nnabla_influence.runs.run import Run, read_run
from nnabla_influence.scoring.run_checks import check_belongs, check_shapes, check_solver_state
from nnabla_influence.solvers import check_solver
from nnabla_influence.text import with_option

_BLOCK = 4096


@dataclass(frozen=True)
class Request:
    """The arguments of `nnabla_influence.score` that say what to compute."""

    model: PathLike
    run: PathLike | None
    train: PathLike | None
    validation: PathLike | None
    output: PathLike | None
    parameters: PathLike | None
    options: Options
    device: str


@dataclass(frozen=True, eq=False)
class Inputs:
    """What is scored.

    Attributes:
        request: What the user asked for.
        device: Where to compute.
        definition: Of the training, with the run's seeds.
        run: The recorded run, if one is given.
        solver: The one that trained.
        train: The training data, whose rows are scored.
        validation: The validation data, whose loss is the target.
    """

    request: Request
    device: Device
    definition: Definition
    run: Run | None
    solver: SolverSettings
    train: Dataset
    validation: Dataset

    @property
    def options(self) -> Options:
        """The user's options."""
        return self.request.options

    @property
    def output(self) -> PathLike | None:
        """The ranking to write, if any."""
        return self.request.output

    @property
    def own_parameters(self) -> bool:
        """Whether the parameters are the model file's own, to which its solver state belongs."""
        return self.request.parameters is None

    @property
    def validation_rows(self) -> np.ndarray:
        """The rows whose mean loss is the target, shape ``(n,)``."""
        return chosen_rows(self.options.validation_rows, self.validation)

    def with_paths(self) -> Request:
        """Return the request with absolute paths of all that was found, for another process."""
        request = self.request
        return dataclasses.replace(
            request,
            model=os.path.abspath(request.model),
            train=self.train.path,
            validation=self.validation.path,
            output=request.output and os.path.abspath(request.output),
            parameters=request.parameters and os.path.abspath(request.parameters),
        )


def check_request(request: Request) -> None:
    """Refuse what can be known before anything is read.

    Raises:
        InfluenceError: A run and parameters are given.
        OutputError: The output cannot be written.
    """
    if request.run is not None and request.parameters is not None:
        raise InfluenceError(
            f"both the run {request.run} and the parameters {request.parameters} are given; leave"
            " one out, since a run has its own parameters"
        )
    if request.output is not None:
        check_writable(request.output)


def read_inputs(request: Request, progress: Progress) -> Inputs:
    """Read the definition and the run, open the datasets, and check that they fit together.

    Raises:
        InfluenceError: They do not, or one of them cannot be used.
    """
    device = choose_device(request.device)
    progress.say(f"Computing on {device.description}")
    definition, run, solver = read_training(request)
    train = open_training(definition, request.train, progress)
    check_columns(train)
    if run is not None:
        check_belongs(definition, run, train, progress)
    validation = open_validation(definition, request.validation, progress)
    note = note_on_equal_data(train, validation)
    if note:
        progress.say(note)
    return Inputs(request, device, definition, run, solver, train, validation)


def read_training(request: Request) -> tuple[Definition, Run | None, SolverSettings]:
    """Return the definition, with the run's seeds, the run if there is one, and the solver.

    Raises:
        InfluenceError: One of them cannot be used, or they do not fit together.
    """
    definition = load_definition(request.model, request.parameters)
    run = None if request.run is None else read_run(request.run)
    if run is not None:
        check_shapes(definition, run)
        if run.settings is not None:
            definition = with_seeds(definition, run.settings.random_seeds)
    solver = solver_that_trained(definition, run)
    check_solver(solver.name, definition.path if run is None else run.folder)
    if request.options.method == "final":
        check_solver_state(definition, solver, run, own_parameters=request.parameters is None)
    return definition, run, solver


def check_output(inputs: Inputs) -> None:
    """Refuse to write the ranking over a file that is read, or over one that is not a ranking.

    Raises:
        OutputError: The output is such a file.
    """
    request, run = inputs.request, inputs.run
    if request.output is None:
        return
    read = [request.model, request.parameters, inputs.train.path, inputs.validation.path]
    of_run = [] if run is None else run.folder.iterdir()
    files.check_output(request.output, [*read, *of_run], is_ranking, "a ranking")


def solver_that_trained(definition: Definition, run: Run | None) -> SolverSettings:
    """Return the solver and its settings: the run's, else the model file's."""
    if run is None or run.settings is None or run.settings.solver is None:
        return definition.solver
    return SolverSettings(
        name=run.settings.solver,
        hyperparameters=run.settings.hyperparameters,
        weight_decay=run.settings.weight_decay,
        update_interval=definition.solver.update_interval,
    )


def training_csv(definition: Definition, given: PathLike | None) -> Path:
    """Return the training CSV: the given one, or else the model file's.

    Raises:
        DatasetError: No CSV is known, or the model file's does not exist.
    """
    how = with_option("-t", "input-train")
    return _csv(definition, definition.training, given, "training", how)


def validation_csv(definition: Definition, given: PathLike | None) -> Path:
    """Return the validation CSV; see `training_csv`."""
    how = with_option("-v", "input-val")
    return _csv(definition, definition.validation, given, "validation", how)


def open_training(definition: Definition, given: PathLike | None, progress: Progress) -> Dataset:
    """Open the training CSV.

    Raises:
        DatasetError: No CSV is known, or it cannot be used; the message names row and column.
    """
    return _open(definition, definition.training, training_csv(definition, given), progress)


def open_validation(definition: Definition, given: PathLike | None, progress: Progress) -> Dataset:
    """Open the validation CSV; see `open_training`."""
    path = validation_csv(definition, given)
    return _open(validation_definition(definition), definition.validation, path, progress)


def _csv(
    definition: Definition,
    settings: DatasetSettings | None,
    given: PathLike | None,
    what: str,
    how: str,
) -> Path:
    if given is not None:
        return Path(given)
    if settings is None:
        raise DatasetError(f"{definition.path}: names no {what} dataset; give the CSV {how}")
    refuse_missing_csv(definition.path, settings, what, f"give the CSV {how}")
    return settings.path


def _open(
    definition: Definition, settings: DatasetSettings | None, path: Path, progress: Progress
) -> Dataset:
    return open_dataset(
        path,
        column_specs(definition),
        normalize=settings is None or settings.normalize,
        by_cache=settings is not None and reads_cached_pixels(definition, settings, path),
        progress=progress,
    )


def chosen_rows(chosen: Sequence[int] | None, dataset: Dataset) -> np.ndarray:
    """Return the row numbers that the user chose, all by default, shape ``(n,)``.

    Raises:
        DatasetError: One of them is not in the dataset, or given twice.
    """
    if chosen is None:
        return np.arange(len(dataset))
    rows, counts = np.unique(np.asarray(chosen), return_counts=True)
    if counts.max() > 1:
        row = rows[counts.argmax()]
        raise DatasetError(f"row {row} is given twice; give each row of {dataset.path} once")
    for row in chosen:
        if not 0 <= row < len(dataset):
            raise DatasetError(
                f"{dataset.path}: has no row {row}; its {len(dataset)} rows are numbered from 0"
            )
    return np.asarray(chosen, np.int64)


def ignored_rows(definition: Definition, dataset: Dataset) -> np.ndarray:
    """Return which rows the loss ignores (a label below 0), booleans, shape ``(N,)``."""
    columns = ignoring_columns(definition)
    ignored = np.full(len(dataset), bool(columns))
    for column in columns:
        for start in range(0, len(dataset), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(dataset)))
            labels = dataset.values(column, rows).reshape(len(rows), -1)
            ignored[rows] &= (labels < 0).all(axis=1)
    return ignored
