"""What a command works on: the datasets, given or named by the model file; the solver."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnabla_influence.dataset import ColumnSpec, Dataset, open_dataset
from nnabla_influence.definition import (
    DatasetSettings,
    Definition,
    SolverSettings,
    validation_definition,
)
from nnabla_influence.definition.datasets import refuse_missing_csv
from nnabla_influence.errors import DatasetError
from nnabla_influence.files import PathLike
from nnabla_influence.nnabla_cli.caches import reads_cached_pixels
from nnabla_influence.progress import Progress
from nnabla_influence.runs.run import Run
from nnabla_influence.wording import with_option


def open_training(definition: Definition, given: PathLike | None, progress: Progress) -> Dataset:
    """Open the training CSV.

    Raises:
        DatasetError: There is none, or it cannot be used; the message names row and column.
    """
    how = with_option("-t", "input-train")
    return _open(definition, definition.training, given, "training", how, progress)


def open_validation(definition: Definition, given: PathLike | None, progress: Progress) -> Dataset:
    """Open the validation CSV; see `open_training`."""
    how = with_option("-v", "input-val")
    validating = validation_definition(definition)
    return _open(validating, definition.validation, given, "validation", how, progress)


def chosen_rows(chosen: Sequence[int] | None, dataset: Dataset) -> np.ndarray:
    """Return the row numbers that the user chose, all by default, shape ``(n,)``.

    Raises:
        DatasetError: One of them is not in the dataset, or named twice.
    """
    if chosen is None:
        return np.arange(len(dataset))
    rows, counts = np.unique(np.asarray(chosen), return_counts=True)
    if counts.max() > 1:
        row = rows[counts.argmax()]
        raise DatasetError(f"row {row} is named twice; name each row of {dataset.path} once")
    for row in chosen:
        if not 0 <= row < len(dataset):
            raise DatasetError(
                f"{dataset.path}: has no row {row}; its {len(dataset)} rows are numbered from 0"
            )
    return np.asarray(chosen, np.int64)


def solver_that_trained(definition: Definition, run: Run | None) -> SolverSettings:
    """Return the solver and its settings: the run's word before the model file's."""
    if run is None or run.settings is None or run.settings.solver is None:
        return definition.solver
    return SolverSettings(
        name=run.settings.solver,
        hyperparameters=run.settings.hyperparameters,
        weight_decay=run.settings.weight_decay,
        update_interval=definition.solver.update_interval,
    )


def _open(
    definition: Definition,
    settings: DatasetSettings | None,
    given: PathLike | None,
    what: str,
    how: str,
    progress: Progress,
) -> Dataset:
    if given is None and settings is None:
        raise DatasetError(f"{definition.path}: names no {what} dataset; give the CSV {how}")
    path = given if settings is None or given is not None else settings.path
    if given is None and settings is not None:
        refuse_missing_csv(definition.path, settings, what, f"give the CSV {how}")
    columns = [
        ColumnSpec(i.column, i.shape, i.n_classes, i.ignores_negative) for i in definition.inputs
    ]
    assert path is not None
    if settings is None:
        return open_dataset(path, columns, progress=progress)
    return open_dataset(
        path,
        columns,
        normalize=settings.normalize,
        by_cache=reads_cached_pixels(definition, settings, Path(path)),
        progress=progress,
    )
