"""What an experiment is made of: files and settings, and the same opened in a process."""

from __future__ import annotations

import dataclasses
import functools
import os
from dataclasses import dataclass

import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import (
    Definition,
    check_differentiable,
    check_independence,
    load_definition,
)
from nnabla_influence.definition.expansion import expand
from nnabla_influence.definition.initial import initial_parameters
from nnabla_influence.device import Device, choose_device
from nnabla_influence.errors import DatasetError, ModelError
from nnabla_influence.files import file_hash
from nnabla_influence.progress import SilentProgress
from nnabla_influence.retraining.evaluation import BLOCK, Evaluator
from nnabla_influence.scoring.chunk import default_chunk_size
from nnabla_influence.scoring.opening import open_training, open_validation
from nnabla_influence.solvers import check_solver


@dataclass(frozen=True)
class Config:
    """What is trained on what, all but the seed; plain values for workers in other processes.

    Attributes:
        model: Network definition with its optimizer section.
        training: CSV to train on and to remove rows from.
        validation: CSV whose mean loss the rankings use.
        test: CSV that the results are measured on.
        parameters: File of parameters that every seed starts from; those that it lacks, or all of
            them where it is None, are drawn for each seed by the definition's initialisers.
        batch_size: Examples of a mini-batch; None for the definition's.
        running_statistics: Whether the ranking ``final`` uses the running statistics of batch
            normalisations instead of those of each mini-batch.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        hashes: `file_hash` of each of `files`, so that a worker notices a changed file; None to
            skip that check.
    """

    model: str
    training: str
    validation: str
    test: str
    parameters: str | None = None
    batch_size: int | None = None
    running_statistics: bool = False
    device: str = "auto"
    hashes: tuple[str, ...] | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is read, apart from those that the CSVs name."""
        files = (self.model, self.training, self.validation, self.test)
        return files if self.parameters is None else (*files, self.parameters)


@dataclass(frozen=True, eq=False)
class Inputs:
    """A config whose files have been read and checked.

    Attributes:
        config: The config.
        definition: As the file has it, with the parameters to start from, if such were given.
        training: The data that are trained on.
        validation: The data that the rankings use.
        test: The data that the results are measured on.
        batch_size: Examples of a mini-batch.
        device: Where to compute.
    """

    config: Config
    definition: Definition
    training: Dataset
    validation: Dataset
    test: Dataset
    batch_size: int
    device: Device

    @functools.cached_property
    def evaluator(self) -> Evaluator:
        """The network in test mode.

        Raises:
            UnsupportedError: It mixes the examples of a mini-batch.
        """
        definition, context = self.definition, self.device.context
        block = default_chunk_size(definition, BLOCK)
        evaluator = Evaluator(definition, context, initial_parameters(definition, 0), block)
        some = self.test.batch(np.arange(min(len(self.test), block)))
        check_independence(evaluator.objective, some, context)
        return evaluator


def open_inputs(config: Config) -> Inputs:
    """Read and check a config's files; once for tasks that follow each other in a process.

    Raises:
        InfluenceError: The config cannot be trained, ranked or tested.
    """
    return _opened(config, tuple(map(_stamp, config.files)))


def _stamp(path: str) -> tuple[int, int]:
    """Return what changes when a file is rewritten."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0  # Reading it will say what is wrong.
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=2)
def _opened(config: Config, stamps: tuple[tuple[int, int], ...]) -> Inputs:
    definition = load_definition(config.model, config.parameters)
    progress = SilentProgress()
    training = open_training(definition, config.training, progress)
    validation = open_validation(definition, config.validation, progress)
    test = open_validation(definition, config.test, progress)
    for path, known in zip(config.files, config.hashes or ()):
        if file_hash(path) != known:
            raise DatasetError(
                f"{path}: has changed since the command started, which would mix results of two"
                " versions; restore the file, or start again in a new folder"
            )
    if config.parameters is None:
        # Trained parameters in a model file are not a start; each seed has its own.
        definition = dataclasses.replace(definition, parameters={})
    else:
        names = list(expand(definition.path, definition.network).parameters)
        if not set(names) & set(definition.parameters):
            raise ModelError(
                f"{config.parameters}: holds none of the network's parameters"
                f" ({', '.join(names[:3])}, ...); give a file that was saved from this network"
            )
    check_solver(definition.solver.name, definition.path)
    check_differentiable(definition)
    defined = definition.training.batch_size if definition.training else 0
    batch_size = config.batch_size or defined
    if not batch_size:
        raise ModelError(f"{definition.path}: names no batch size; give one")
    return Inputs(
        config=config,
        definition=definition,
        training=training,
        validation=validation,
        test=test,
        batch_size=batch_size,
        device=choose_device(config.device),
    )
