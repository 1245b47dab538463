"""Take up a trace back that was killed, if nothing that its scores depend on has changed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import nnabla as nn
import numpy as np

from nnabla_influence.errors import OutputError, ScoreError
from nnabla_influence.influence.trace import Trace
from nnabla_influence.influence.trace_file import TraceFile
from nnabla_influence.progress import Progress
from nnabla_influence.runs.steps import Step
from nnabla_influence.solvers import Adjoint


@contextlib.contextmanager
def resumed(
    file: Optional[TraceFile],
    adjoint: Adjoint,
    r: Optional[nn.NdArray],
    progress: Progress,
    *,
    stays: bool = False,
) -> Iterator[tuple[Optional[Trace], Optional[Callable[[Trace], None]]]]:
    """Yield the trace so far, or None, and what to call after each step.

    ``adjoint`` and ``r`` are set to where that trace stands. The file goes when the block succeeds
    (unless it ``stays``, then with the whole trace), or fails in a way that it would again. Where
    the file cannot be written, the trace goes on.
    """
    if file is None:
        yield None, None
        return
    vectors = dict(adjoint.vectors())
    if r is not None:
        vectors["r"] = r
    so_far = file.load(vectors)
    if so_far is not None:
        progress.say(f"Taken up after {so_far.n_steps} steps, where {file.path.name} was left")
    refused, last = False, so_far

    def save(trace: Trace) -> None:
        nonlocal refused, last
        last = trace
        try:
            if not refused:
                file.save_now_and_then(trace, vectors)
        except OutputError as error:
            refused = True
            progress.say(f"{error}, so this trace cannot be taken up if it is killed")

    try:
        yield so_far, save
    except ScoreError:
        _remove(file, progress)
        raise
    except KeyboardInterrupt:
        if file.path.exists():
            progress.say(f"The same command goes on from {file.path.name}; remove it to begin anew")
        raise
    if not stays:
        _remove(file, progress)
    elif last is not None and last is not so_far:
        with contextlib.suppress(OutputError):
            file.save(last, vectors)


@contextlib.contextmanager
def trace_files_of(
    output: Union[str, os.PathLike[str], None], n_trials: int, progress: Progress
) -> Iterator[None]:
    """Remove the files of trials that are done elsewhere once the block succeeds; see `resumed`."""
    files = [] if output is None else [TraceFile(_path(output, n), "") for n in range(n_trials)]
    try:
        yield
    except ScoreError:
        for file in files:
            _remove(file, progress)
        raise
    except KeyboardInterrupt:
        if any(file.path.exists() for file in files):
            progress.say("The same command goes on from where the orders' traces were left")
        raise
    for file in files:
        _remove(file, progress)


def _remove(file: TraceFile, progress: Progress) -> None:
    try:
        file.remove()
    except OutputError as error:
        progress.say(f"{error}; it is of no use any more")


def trace_file(output: Union[str, os.PathLike[str]], trial: int, *settings: Any) -> TraceFile:
    """Return the file of one trial's trace, beside the ranking that is to be written.

    Args:
        output: The ranking.
        trial: Its number.
        settings: All that the scores depend on; see `fingerprint`.
    """
    return TraceFile(_path(output, trial), fingerprint(*settings))


def _path(output: Union[str, os.PathLike[str]], trial: int) -> Path:
    output = Path(os.path.realpath(output))
    return output.parent / f".{output.name}.trace{'' if trial == 0 else trial}.npz"


def fingerprint(*parts: Any) -> str:
    """Return a hash of parts: arrays, steps, texts, and what has a telling ``repr``."""
    digest = hashlib.blake2b(digest_size=16)
    for part in _flattened(parts):
        digest.update(b"\0")
        digest.update(part)
    return digest.hexdigest()


def _flattened(parts: Sequence[Any]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, np.ndarray):
            yield f"{part.dtype} {part.shape}".encode()
            yield part.tobytes()
        elif isinstance(part, Step):
            yield from _flattened((part.step, part.learning_rate, *part.batches))
        elif dataclasses.is_dataclass(part):
            yield type(part).__name__.encode()
            fields = dataclasses.fields(part)
            yield from _flattened([x for f in fields for x in (f.name, getattr(part, f.name))])
        elif isinstance(part, dict):
            yield from _flattened([x for item in sorted(part.items()) for x in item])
        elif isinstance(part, (list, tuple)):
            yield from _flattened(part)
        else:
            yield repr(part).encode()
