"""What the user gave, opened and checked before anything is computed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import nnabla as nn

from nnabla_influence import __version__
from nnabla_influence.curves.data import SeedData, csv_of_seed, open_seed
from nnabla_influence.curves.plan import Training
from nnabla_influence.curves.problem import Problem
from nnabla_influence.definition import Definition, load_definition
from nnabla_influence.definition.training_network import check_start
from nnabla_influence.device import choose_device
from nnabla_influence.errors import DatasetError, ModelError
from nnabla_influence.files import file_hash
from nnabla_influence.progress import Progress
from nnabla_influence.scoring.resuming import fingerprint
from nnabla_influence.solvers import check_solver

PathLike = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Given:
    """What is trained on what, as the user said it; ``{seed}`` in a CSV's path is a seed's number.

    Attributes:
        model: Network definition with its optimizer section.
        training: CSV to train on and to remove rows from.
        validation: CSV whose mean loss the rankings look at.
        test: CSV that the results are measured on.
        parameters: File of parameters that every seed starts from, if each does not draw its own.
        true_label: Header of the training CSV's column of true labels.
        running_statistics: See `Problem`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    model: PathLike
    training: PathLike
    validation: PathLike
    test: PathLike
    parameters: Optional[PathLike]
    true_label: Optional[str]
    running_statistics: bool
    device: str

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in values.items()}


def open_definition(given: Given, first_seed: int) -> Definition:
    """Read the definition, and see whether a seed can start.

    Raises:
        ModelError: It cannot be read, or there is nothing to start from.
        UnsupportedError: Its solver cannot be traced.
    """
    definition = load_definition(given.model, given.parameters)
    check_solver(definition.solver.name, definition.path)
    if given.parameters is None:
        check_start(definition, {})
    return definition


def defined_batch_size(definition: Definition) -> int:
    """Return the definition's batch size.

    Raises:
        ModelError: It has none.
    """
    size = definition.training.batch_size if definition.training is not None else 0
    if not size:
        raise ModelError(f"{definition.path}: names no batch size; give it with -bs")
    return size


def open_data(
    definition: Definition, given: Given, seeds: Sequence[int], progress: Progress
) -> dict[int, SeedData]:
    """Open the CSVs of every seed, the same ones once, and report what should not be.

    Raises:
        DatasetError: One cannot be used, or the training CSVs are of different lengths.
    """
    opened: dict[tuple[Path, ...], SeedData] = {}
    of_seed = {}
    for seed in seeds:
        paths = (given.training, given.validation, given.test)
        files = tuple(csv_of_seed(path, seed) for path in paths)
        if files not in opened:
            opened[files] = open_seed(definition, files, given.true_label, progress)
            for line in opened[files].shared:
                progress.say(f"Note: {line}")
        of_seed[seed] = opened[files]
    first = of_seed[seeds[0]]
    for data in of_seed.values():
        if data.n_rows != first.n_rows:
            raise DatasetError(
                f"{data.training}: has {data.n_rows} rows, and that of seed {seeds[0]} has"
                f" {first.n_rows}, so their curves cannot be averaged; give CSVs of one length"
            )
    return of_seed


def problems_of(
    given: Given, data: Mapping[int, SeedData], trainings: Sequence[Training]
) -> dict[Training, Problem]:
    """Return the problem of each training, with the hashes of its files."""
    hashes: dict[str, str] = {}
    problems = {}
    for one in trainings:
        problem = Problem(
            model=os.path.abspath(given.model),
            training=str(data[one.seed].training),
            validation=str(data[one.seed].validation),
            test=str(data[one.seed].test),
            parameters=None if given.parameters is None else os.path.abspath(given.parameters),
            batch_size=one.batch_size,
            running_statistics=given.running_statistics,
            device=given.device,
        )
        for path in problem.files:
            hashes[path] = hashes.get(path) or file_hash(path)
        known = tuple(hashes[path] for path in problem.files)
        problems[one] = dataclasses.replace(problem, hashes=known)
    return problems


def fingerprints_of(
    definition: Definition,
    given: Given,
    data: Mapping[int, SeedData],
    trainings: Sequence[Training],
    scheduler: str | None,
) -> dict[Training, str]:
    """Return a hash of all that each training's results depend on, but its seed and batch size."""
    proto = type(definition.proto)()
    proto.CopyFrom(definition.proto)
    for dataset in proto.dataset:
        dataset.ClearField("uri")
        dataset.ClearField("cache_dir")
    base = [
        *(__version__, nn.__version__, _kind(given.device, scheduler)),
        proto.SerializeToString(deterministic=True),
        None if given.parameters is None else file_hash(given.parameters),
        *(["running statistics"] if given.running_statistics else []),
    ]
    return {one: fingerprint(base, data[one.seed].fingerprint) for one in trainings}


def _kind(device: str, scheduler: str | None) -> str:
    """Return the kind of device that computes, as far as it is known here."""
    if scheduler is not None:
        return device.partition(":")[0]
    backends = choose_device(device).context.backend
    return "cuda" if any(backend.startswith("cudnn") for backend in backends) else "cpu"
