"""Shuffled trials: each one a trace of its own, which another process can do as well."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import nnabla as nn

from nnabla_influence import __version__
from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import (
    Definition,
    SolverSettings,
    load_definition,
    validation_definition,
)
from nnabla_influence.device import Device, choose_device
from nnabla_influence.errors import ScoreError
from nnabla_influence.execution import Executor, Task, open_executor
from nnabla_influence.files import file_hash
from nnabla_influence.influence.trace import Trace, trace_back, validation_gradient
from nnabla_influence.influence.trace_file import TraceFile
from nnabla_influence.nnabla_cli.order import shuffled_steps
from nnabla_influence.options import Options
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.runs.steps import Step
from nnabla_influence.scoring.methods import Method, final_method
from nnabla_influence.scoring.opening import (
    PathLike,
    chosen_rows,
    open_training,
    open_validation,
    solver_that_trained,
)
from nnabla_influence.scoring.resuming import resumed, trace_file
from nnabla_influence.solvers import build_adjoint


@dataclass(frozen=True)
class Question:
    """What is scored, as a worker can be told; paths are absolute.

    Attributes:
        model: The model file.
        parameters: An .h5 in place of its parameters.
        train: The training CSV.
        validation: The validation CSV.
        output: The ranking that will be written; traces that are killed stay beside it.
        options: The user's.
        device: Where to compute.
    """

    model: str
    parameters: Optional[str]
    train: str
    validation: str
    output: Optional[str]
    options: Options
    device: str


def question(
    model: PathLike,
    parameters: Optional[PathLike],
    trained: Dataset,
    validated: Dataset,
    output: Optional[PathLike],
    options: Options,
    device: str,
) -> Question:
    """Return what a worker is told."""
    given = (model, parameters, trained.path, validated.path, output)
    paths = [None if path is None else os.path.abspath(path) for path in given]
    return Question(
        str(paths[0]), paths[1], str(paths[2]), str(paths[3]), paths[4], options, device
    )


@contextlib.contextmanager
def workers_for(
    n_trials: int, jobs: int, scheduler: Optional[str], progress: Progress
) -> Iterator[Optional[Executor]]:
    """Yield what does the trials elsewhere; None where they are done in this process.

    Raises:
        InfluenceError: As `open_executor` does.
    """
    if jobs == 1 and scheduler is None:
        yield None
    elif n_trials == 1:
        progress.say(
            "One order of the mini-batches is traced, step after step, so there is nothing to share"
            " out: it is done in this process"
        )
        yield None
    else:
        with open_executor(jobs, scheduler) as executor:
            progress.say(f"The {n_trials} shuffled orders are traced {executor.description}")
            yield executor


@contextlib.contextmanager
def trace_trial(
    steps: Sequence[Step],
    method: Method,
    solver: SolverSettings,
    gradient: nn.NdArray,
    n_rows: int,
    device: Device,
    file: Optional[TraceFile],
    progress: Progress,
    *,
    file_stays: bool = False,
) -> Iterator[Trace]:
    """Yield the trace back through one sequence of steps; ``file`` is for `resumed`."""
    u, r = method.split(gradient)
    adjoint = build_adjoint(solver, u, device.context)
    method.check_state(adjoint, solver.name)
    with resumed(file, adjoint, r, progress, stays=file_stays) as (so_far, after_step):
        yield trace_back(
            *(steps, method.trajectory, method.of_steps, adjoint, method.inputs, n_rows, progress),
            r=r,
            so_far=so_far,
            after_step=after_step,
        )


def traced_by(executor: Executor, asked: Question, n: int, progress: Progress) -> list[Trace]:
    """Return the traces of the shuffled trials 0 to ``n`` - 1, done elsewhere.

    Raises:
        ScoreError: One of them failed.
    """
    done: dict[str, Trace] = {}

    def finished(task: Task, trace: Trace) -> None:
        done[task.name] = trace

    tasks = [Task(f"shuffled order {i + 1} of {n}", shuffled_trial, (asked, i)) for i in range(n)]
    failures = executor.run(tasks, finished, progress, "Trace back", "orders")
    if failures:
        raise ScoreError(f"{failures[0].task}: {failures[0].reason}")
    return [done[task.name] for task in tasks]


def shuffled_trial(asked: Question, trial: int) -> Trace:
    """Trace one shuffled trial, to the bytes that the whole `score` in one process traces.

    It runs in a worker, which opens everything by path and decodes the data once into the cache.

    Raises:
        InfluenceError: As `score` does.
    """
    options, progress = asked.options, SilentProgress()
    device = choose_device(asked.device)
    definition = load_definition(asked.model, asked.parameters)
    solver = solver_that_trained(definition, None)
    trained = open_training(definition, asked.train, progress)
    validated = open_validation(definition, asked.validation, progress)
    method = final_method(
        *(definition, None, options, device, trained.batch),
        model_state=asked.parameters is None,
    )
    steps = shuffled_steps(
        *(definition, len(trained)),
        seed=trial,
        epochs=options.epochs,
        batch_size=options.batch_size,
    )
    file = None
    if asked.output is not None and Path(asked.output).parent.is_dir():
        scored = scored_parts(
            definition, solver, method, options, trained, validated, device=asked.device
        )
        file = trace_file(asked.output, trial, *scored, list(steps))
    with without_futile_imports():
        rows = chosen_rows(options.validation_rows, validated)
        gradient = validation_gradient(method.at_end, validated.batch, rows, progress)
        how = (method, solver, gradient, len(trained), device, file, progress)
        with trace_trial(steps, *how, file_stays=True) as trace:
            pass  # The file goes when the ranking is written, by who writes it.
    return trace


def scored_parts(
    definition: Definition,
    solver: SolverSettings,
    method: Method,
    options: Options,
    trained: Dataset,
    validated: Dataset,
    *,
    device: str,
) -> list[object]:
    """Return all that the scores depend on, but the steps; a trace is resumed on the same only."""
    final = method.final
    return [
        *(__version__, nn.__version__, options, device, solver, method.explanation),
        *(definition.network.SerializeToString(deterministic=True), definition.trainable),
        validation_definition(definition).network.SerializeToString(deterministic=True),
        *(file_hash(trained.path), file_hash(validated.path)),
        *(dict(final.parameters), {k: dict(v) for k, v in final.solver.values.items()}),
    ]
