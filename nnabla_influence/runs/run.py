"""The run folder: what a recorded training leaves, and all that a trace back needs.

``final.h5``
    The parameters after the last step, as `nnabla.save_parameters` writes them.
``steps.csv``
    One line for each solver update of the window: ``step,epoch,learning_rate,rows``. Rows are the
    dataset's row numbers from 0, separated by spaces, in the order of training; where an update
    summed the gradients of several mini-batches, ``|`` stands between these.
``run.json``
    The settings (`RunSettings`), for the reader and to notice a dataset that does not fit.
``network.nntxt``
    The network definition, where a script's `Recorder` was given its inputs and loss.
``solver_states.h5``
    The solver's state after the last step, as ``solver.save_states`` writes it.
``contents.json``
    A hash of the files that each row of the dataset names (pictures, say).
``checkpoints``
    Checkpoints of the training, where it kept any (`nnabla_influence.runs.checkpoint`). One of
    them is at, or before, the first step of the window, and ``steps.csv`` reaches back to it.

The first two alone, written by hand or by a script of any framework, are a valid run. Other files
of a run are in the entries that `RUN_ENTRIES` names.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.dataset.file_hashes import Contents, read_contents, write_contents
from nnabla_influence.errors import RunError
from nnabla_influence.files import PathLike
from nnabla_influence.runs.checkpoint import Checkpoint, Layout, read_checkpoint, read_layout
from nnabla_influence.runs.run_files import (
    CHECKPOINTS,
    CONTENTS,
    NETWORK,
    PARAMETERS,
    SETTINGS,
    SOLVER_STATES,
    STEPS,
    read_parameters,
    read_solver_state,
    replacing_run,
    write_parameters,
    write_solver_state,
)
from nnabla_influence.runs.run_settings import (
    RunSettings,
    check_files,
    read_settings,
    write_settings,
)
from nnabla_influence.runs.steps import Step, line_of_step, read_steps, write_steps
from nnabla_influence.solvers.state import SolverState
from nnabla_influence.text import seconds_text, size_text


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: Its path.
        settings: From ``run.json``; None where the run was written by hand without one.
        steps: The recorded solver updates, in the order of training.
    """

    folder: Path
    settings: RunSettings | None
    steps: tuple[Step, ...]

    @property
    def window_steps(self) -> tuple[Step, ...]:
        """The steps of the window: `steps` without those before it, which only a replay needs."""
        start = None if self.settings is None else self.settings.window_start
        return tuple(step for step in self.steps if start is None or step.step >= start)

    def parameters(self) -> dict[str, np.ndarray]:
        """Read the parameters after the last step, float32, by nnabla's names (``affine/W``).

        Raises:
            RunError: ``final.h5`` cannot be read, holds no parameters, or not finite ones.
        """
        return read_parameters(self.folder / PARAMETERS)

    def solver_state(self) -> SolverState | None:
        """Read the solver's state after the last step; None where the run has none.

        Raises:
            RunError: ``solver_states.h5`` cannot be read, or holds no finite states.
        """
        path = self.folder / SOLVER_STATES
        return read_solver_state(path) if path.is_file() else None

    def final_checkpoint(self) -> Checkpoint:
        """Read the checkpoint after the last step.

        Raises:
            RunError: A file is missing or cannot be read.
        """
        solver = self.solver_state()
        if solver is None:
            raise RunError(
                f"{self.folder}: has no {SOLVER_STATES}; save it with solver.save_states, or record"
                " the training again"
            )
        return Checkpoint(self.steps[-1].step + 1, self.parameters(), solver)

    def contents(self) -> Contents:
        """Read the hashes of the data files that were trained on, where there are any.

        Raises:
            RunError: ``contents.json`` cannot be read.
        """
        path = self.folder / CONTENTS
        if not path.is_file():
            return {}
        try:
            return read_contents(path)
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: cannot be read ({error}); record again") from error

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The steps before which there is a checkpoint, ascending.

        Raises:
            RunError: The folder of checkpoints is damaged.
        """
        return () if self._layout is None else tuple(self._layout.t_of)

    def checkpoint(self, step: int) -> Checkpoint:
        """Read the checkpoint before ``step``, one of `checkpoints`.

        Raises:
            RunError: There is none, or its file is damaged.
        """
        if self._layout is None:
            raise RunError(f"{self.folder}: has no checkpoints; train with keep sqrt or all")
        return read_checkpoint(self.folder / CHECKPOINTS, self._layout, step)

    @property
    def seconds_keeping(self) -> float:
        """Seconds of the training that writing the checkpoints took."""
        return 0.0 if self._layout is None else self._layout.seconds

    @functools.cached_property
    def _layout(self) -> Layout | None:
        folder = self.folder / CHECKPOINTS
        return read_layout(folder) if folder.is_dir() else None


def read_run(folder: PathLike) -> Run:
    """Read a run folder, written by this project or by hand.

    Raises:
        RunError: The folder or one of its files is missing or wrong; the message names the file
            and, in ``steps.csv``, the line and the column.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; give the run folder that a training recorded")
    for name in (PARAMETERS, STEPS):
        if not (folder / name).is_file():
            raise RunError(f"{folder}: has no {name}; a run needs {PARAMETERS} and {STEPS}")
    settings = None
    if os.path.lexists(folder / SETTINGS):
        settings = read_settings(folder / SETTINGS)
        check_files(folder / SETTINGS)
    read_parameters(folder / PARAMETERS)
    run = Run(folder, settings, read_steps(folder / STEPS))
    first, last = run.steps[0].step, run.steps[-1].step
    outside = [step for step in run.checkpoints if not first <= step <= last]
    if outside:
        raise RunError(
            f"{folder / CHECKPOINTS}: step {outside[0]} of a checkpoint is not in {STEPS}; record"
            " the training again"
        )
    return run


def write_run(
    folder: PathLike,
    *,
    parameters: Mapping[str, np.ndarray],
    steps: Sequence[Step],
    settings: RunSettings | None,
    trainable: Collection[str] | None = None,
    solver_state: SolverState | None = None,
    checkpoints: Callable[[Path], object] | None = None,
    contents: Contents | None = None,
    network: str | None = None,
) -> Run:
    """Write a run folder, whole or not at all.

    Args:
        folder: The folder to write. Its parent must exist. An existing folder is replaced if it is
            empty or a run and holds nothing else.
        parameters: All parameters that the network reads, by nnabla's names.
        steps: The solver updates, in the order of training.
        settings: How the run was trained; None leaves ``run.json`` out.
        trainable: Names of the parameters that the solver updated (``need_grad`` in the file);
            all by default.
        solver_state: The solver's state after the last step.
        checkpoints: Makes the given folder of checkpoints, where there are any.
        contents: Hashes of the data files, where there are any.
        network: Text of the network definition, where there is one.

    Raises:
        OutputError: ``folder`` cannot be written, or is not a run.
        RunError: There are no steps.
    """
    if not steps:
        raise RunError("a run without steps cannot be written: no solver update was recorded")
    with replacing_run(folder) as staged:
        write_parameters(staged / PARAMETERS, parameters, trainable)
        write_steps(staged / STEPS, steps)
        if solver_state is not None:
            names = [name for name in parameters if trainable is None or name in trainable]
            write_solver_state(staged / SOLVER_STATES, solver_state, names)
        if contents:
            write_contents(staged / CONTENTS, contents)
        if settings is not None:
            write_settings(staged / SETTINGS, settings)
        if checkpoints is not None:
            checkpoints(staged / CHECKPOINTS)
        if network is not None:
            (staged / NETWORK).write_text(network, encoding="ascii")
    return Run(Path(folder), settings, tuple(steps))


def last_epochs(steps: Sequence[Step], n: int) -> tuple[Step, ...]:
    """Return the steps of the last ``n`` recorded epochs.

    A step belongs to the epoch in its line of ``steps.csv``.

    Raises:
        RunError: Fewer epochs were recorded.
    """
    epochs = sorted({step.epoch for step in steps})
    if n > len(epochs):
        raise RunError(
            f"a window of {n} epochs is longer than the {len(epochs)} that the run holds; use a"
            " shorter window, or record a longer one"
        )
    return tuple(step for step in steps if step.epoch >= epochs[-n])


def check_fits(run: Run, n_rows: int) -> None:
    """Check that a run fits a dataset of ``n_rows`` rows.

    Raises:
        RunError: It does not; the message names the line of ``steps.csv``.
    """
    if run.settings is not None and run.settings.n_rows not in (None, n_rows):
        raise RunError(
            f"{run.folder}: was recorded on {run.settings.n_rows} rows"
            f" ({run.settings.dataset or 'dataset not named'}), but the dataset has {n_rows};"
            " give the CSV that the run was trained on"
        )
    for step in run.steps:
        highest = int(step.rows.max())
        if highest >= n_rows:
            path = run.folder / STEPS
            raise RunError(
                f"{path}, line {line_of_step(path, step.step)}, column rows: row {highest} is not"
                f" in the dataset, whose {n_rows} rows are numbered from 0; give the CSV that the"
                " run was trained on"
            )


def describe_kept(run: Run) -> str:
    """Return a run's checkpoints in words, such as ``checkpoints: sqrt (7), 1.2 MB, ...``."""
    keep = "final" if run.settings is None else run.settings.keep
    paths = [run.folder / PARAMETERS, run.folder / SOLVER_STATES]
    count, seconds = "", ""
    if run.checkpoints:
        paths += (run.folder / CHECKPOINTS).iterdir()
        count = f" ({len(run.checkpoints):,})"
        seconds = f", written in {seconds_text(run.seconds_keeping)}"
    size = sum(path.stat().st_size for path in paths if path.is_file())
    return f"checkpoints: {keep}{count}, {size_text(size)}{seconds}"
