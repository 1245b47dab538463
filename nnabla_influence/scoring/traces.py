"""The traces of a score, one for each order of the mini-batches, here or in other processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import nnabla as nn

from nnabla_influence import __version__
from nnabla_influence.definition import validation_definition
from nnabla_influence.errors import OutputError, ScoreError
from nnabla_influence.execution import Executor, Task, open_executor
from nnabla_influence.files import file_hash
from nnabla_influence.influence.relabelling import has_relabel_gains
from nnabla_influence.influence.trace import Trace, TraceInputs, trace_back
from nnabla_influence.influence.trace_file import TraceFile, fingerprint, trace_path
from nnabla_influence.nnabla_cli.order import shuffled_steps
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.runs.steps import Step
from nnabla_influence.scoring.inputs import Inputs, PathLike, Request, read_inputs
from nnabla_influence.scoring.methods import Method, final_method
from nnabla_influence.scoring.target import choose_target
from nnabla_influence.solvers import STATE_NAMES, Adjoint, build_adjoint
from nnabla_influence.text import seconds_text


@contextlib.contextmanager
def workers_for(n_trials: int, jobs: int | str, progress: Progress) -> Iterator[Executor | None]:
    """Yield what traces shuffled orders in other processes; None where this process does.

    Raises:
        InfluenceError: As `open_executor` does.
    """
    if jobs == 1:
        yield None
    elif n_trials == 1:
        progress.say(
            "Only one mini-batch order is traced, which cannot be parallelised, so it is traced in"
            " this process"
        )
        yield None
    else:
        with open_executor(jobs) as executor:
            progress.say(f"The {n_trials} shuffled orders are traced {executor.description}")
            yield executor


def trace_all(
    inputs: Inputs,
    method: Method,
    trials: Sequence[Sequence[Step]],
    gradient: nn.NdArray,
    progress: Progress,
) -> list[Trace]:
    """Trace each trial in this process.

    Raises:
        ScoreError: A trace diverged, or the solver's state is incomplete.
    """
    started = time.monotonic()
    traces = [
        _trace(inputs, method, steps, number, gradient, progress, save_end=len(trials) > 1)
        for number, steps in enumerate(trials)
    ]
    if method.trajectory.exact:
        progress.say(f"Traced in {seconds_text(time.monotonic() - started)}")
    return traces


def trace_in_workers(
    executor: Executor, inputs: Inputs, n_trials: int, progress: Progress
) -> list[Trace]:
    """Trace each shuffled trial in a worker.

    Raises:
        ScoreError: One of them failed.
    """
    request, done = inputs.with_paths(), dict[str, Trace]()

    def finished(task: Task, trace: Trace) -> None:
        done[task.name] = trace

    tasks = [
        Task(f"shuffled order {i + 1} of {n_trials}", trace_shuffled, (request, i))
        for i in range(n_trials)
    ]
    failures = executor.run(tasks, finished, progress, "Trace back", "orders")
    if failures:
        raise ScoreError(f"{failures[0].task}: {failures[0].reason}")
    return [done[task.name] for task in tasks]


def trace_shuffled(request: Request, trial: int) -> Trace:
    """Trace one shuffled trial, to the same bytes as `trace_all` does; it runs in a worker.

    The worker opens everything by path and decodes the data once into the cache.

    Raises:
        InfluenceError: As `score` does.
    """
    progress = SilentProgress()
    inputs = read_inputs(request, progress)
    method, options = final_method(inputs), inputs.options
    steps = shuffled_steps(
        inputs.definition,
        len(inputs.train),
        seed=trial,
        epochs=options.epochs,
        batch_size=options.batch_size,
    )
    with without_futile_imports():
        gradient = choose_target(inputs, method.at_end, progress).gradient
        return _trace(inputs, method, steps, trial, gradient, progress, save_end=True)


@contextlib.contextmanager
def trace_files(output: PathLike | None, n_trials: int, progress: Progress) -> Iterator[None]:
    """Remove the trials' files when the block succeeds, or fails in a way that it would again."""
    files = [TraceFile(trace_path(output, i), "") for i in range(n_trials) if output is not None]
    try:
        yield
    except KeyboardInterrupt:
        left = [file.path.name for file in files if file.path.exists()]
        if left:
            progress.say(
                f"The same command resumes from {' and '.join(left)}; remove it to start over"
            )
        raise
    except ScoreError:
        _remove(files)
        raise
    _remove(files)


def _remove(files: Sequence[TraceFile]) -> None:
    for file in files:
        file.remove()


def _trace(
    inputs: Inputs,
    method: Method,
    steps: Sequence[Step],
    trial: int,
    gradient: nn.NdArray,
    progress: Progress,
    *,
    save_end: bool,
) -> Trace:
    """Trace one trial, from where its file is, if it was killed; see `trace_files`.

    Where the file cannot be written, the trace goes on without. With ``save_end`` it holds the
    whole trace in the end, for the time that other trials take.
    """
    u, r = method.split(gradient)
    adjoint = build_adjoint(inputs.solver, u, inputs.device.context)
    _check_complete_state(method, adjoint, inputs.solver.name)
    vectors = {**adjoint.vectors(), **({} if r is None else {"r": r})}
    file = _trace_file(inputs, method, steps, trial)
    outputs = method.of_rows.objective.outputs
    shape = None
    if outputs is not None and gives_relabel_gains(inputs, steps):
        shape = outputs.shape[1:]
    trace = Trace.start(len(inputs.train), u, shape)
    saved = None if file is None else file.load(vectors)
    if file is not None and saved is not None:
        trace = saved
        progress.say(f"Resumed after {trace.n_steps} steps from {file.path.name}")
    whole = TraceInputs(
        steps,
        method.trajectory,
        method.of_steps,
        adjoint,
        method.step_inputs,
        r,
        inputs.options.gauss_newton,
    )
    with progress.stage("Trace back", len(steps) - trace.n_steps, "steps") as stage:
        for so_far in trace_back(whole, trace):
            trace = so_far
            try:
                if file is not None:
                    file.save_now_and_then(trace, vectors)
            except OutputError as error:
                file = None
                progress.say(f"{error}, so this trace cannot be resumed if it is killed")
            stage.update()
    if file is not None and save_end:
        with contextlib.suppress(OutputError):
            file.save(trace, vectors)
    return trace


def gives_relabel_gains(inputs: Inputs, steps: Sequence[Step]) -> bool:
    """Whether the traces give them: those of a whole training. A last epoch's mislead."""
    return steps[0].step == 0 and has_relabel_gains(inputs.definition)


def _check_complete_state(method: Method, adjoint: Adjoint, solver: str) -> None:
    known = method.final.solver.values
    trained = set(method.at_end.objective.definition.trainable)
    if adjoint.needs_before and not all(
        trained <= set(known.get(state, ())) for state in STATE_NAMES[solver]
    ):
        raise ScoreError(
            f"the state of the solver {solver} lacks parameters that were trained; give the file"
            " of the training's last epoch, or train and record again"
        )


def _trace_file(
    inputs: Inputs, method: Method, steps: Sequence[Step], trial: int
) -> TraceFile | None:
    """Return the trial's file, whose fingerprint is of all that its scores depend on."""
    if inputs.output is None or callable(inputs.options.target):
        return None  # what a function computes has no fingerprint
    path = trace_path(inputs.output, trial)
    if not path.parent.is_dir():
        return None  # in a worker of another machine
    definition, final = inputs.definition, method.final
    parts = [
        [__version__, nn.__version__, inputs.options, inputs.request.device, inputs.solver],
        method.explanation,
        definition.network.SerializeToString(deterministic=True),
        definition.trainable,
        validation_definition(definition).network.SerializeToString(deterministic=True),
        [file_hash(inputs.train.path), file_hash(inputs.validation.path)],
        dict(final.parameters),
        {kind: dict(values) for kind, values in final.solver.values.items()},
        list(steps),
    ]
    return TraceFile(path, fingerprint(parts))
