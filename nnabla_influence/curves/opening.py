"""What a problem's tasks share in one process: definition, data, device, networks."""

from __future__ import annotations

import dataclasses
import functools
import os
from dataclasses import dataclass

from nnabla_influence.curves.problem import Problem
from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import Definition, check_differentiable, load_definition
from nnabla_influence.definition.unrolled import expand
from nnabla_influence.device import Device, choose_device
from nnabla_influence.errors import DatasetError, ModelError
from nnabla_influence.files import file_hash
from nnabla_influence.progress import SilentProgress
from nnabla_influence.scoring.opening import open_training, open_validation
from nnabla_influence.solvers import check_solver


@dataclass(frozen=True, eq=False)
class Opened:
    """A problem whose files have been read and checked.

    Attributes:
        problem: The problem.
        definition: As the file has it, with the parameters to start from, if such were given.
        training: The data that are trained on.
        validation: The data that the rankings look at.
        test: The data that the results are of.
        batch_size: Examples of a mini-batch.
        device: Where to compute.
    """

    problem: Problem
    definition: Definition
    training: Dataset
    validation: Dataset
    test: Dataset
    batch_size: int
    device: Device


def open_problem(problem: Problem) -> Opened:
    """Read and check a problem's files; once for tasks that follow each other in a process.

    Raises:
        InfluenceError: The problem cannot be trained, or what was trained not be judged.
    """
    return _opened(problem, tuple(map(_stamp, problem.files)))


def _stamp(path: str) -> tuple[int, int]:
    """Return what tells that a file was written anew."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0  # Whoever reads it says so.
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=2)
def _opened(problem: Problem, stamps: tuple[tuple[int, int], ...]) -> Opened:
    definition = load_definition(problem.model, problem.parameters)
    progress = SilentProgress()
    training = open_training(definition, problem.training, progress)
    validation = open_validation(definition, problem.validation, progress)
    test = open_validation(definition, problem.test, progress)
    for path, known in zip(problem.files, problem.hashes or ()):
        if file_hash(path) != known:
            raise DatasetError(
                f"{path}: has changed since the command started, and results of both would be"
                " mixed; start it again, with the file as it was or in a new folder"
            )
    if problem.parameters is None:
        # What a model file was trained to is no start; each seed has its own.
        definition = dataclasses.replace(definition, parameters={})
    else:
        names = list(expand(definition.path, definition.network).parameters)
        if not set(names) & set(definition.parameters):
            raise ModelError(
                f"{problem.parameters}: holds none of the network's parameters"
                f" ({', '.join(names[:3])}, ...); give a file that was saved from this network"
            )
    check_solver(definition.solver.name, definition.path)
    check_differentiable(definition)
    defined = definition.training.batch_size if definition.training else 0
    batch_size = problem.batch_size or defined
    if not batch_size:
        raise ModelError(f"{definition.path}: names no batch size; give one")
    return Opened(
        problem=problem,
        definition=definition,
        training=training,
        validation=validation,
        test=test,
        batch_size=batch_size,
        device=choose_device(problem.device),
    )
