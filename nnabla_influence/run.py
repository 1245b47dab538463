"""The run folder: what a recorded training leaves, and all that a trace back needs.

``final.h5``
    The parameters after the last step, as `nnabla.save_parameters` writes them.
``steps.csv``
    One line for each solver update of the window: ``step,epoch,learning_rate,rows``. Rows are the
    data set's row numbers from 0, separated by spaces, in the order of training; where an update
    summed the gradients of several mini-batches, ``|`` stands between these.
``run.json``
    The settings (`RunSettings`), for the reader and to notice a data set that does not fit.

The first two alone, written by hand or by a script of any framework, are a valid run. What else
belongs to a run lies beside them, in the entries that `RUN_ENTRIES` names.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import h5py
import numpy as np

from nnabla_influence.errors import OutputError, RunError
from nnabla_influence.files import replacing_folder
from nnabla_influence.run_settings import (
    FORMAT_VERSION,
    RunSettings,
    read_settings,
    write_settings,
)
from nnabla_influence.steps import Step, line_of_step, read_steps, write_steps

__all__ = [
    "FORMAT_VERSION",
    "Run",
    "RunSettings",
    "Step",
    "check_fits",
    "check_replaceable",
    "last_epochs",
    "read_run",
    "read_settings",
    "replacing_run",
    "write_run",
    "write_run_files",
    "write_settings",
]

PARAMETERS, STEPS, SETTINGS = "final.h5", "steps.csv", "run.json"
RUN_ENTRIES = frozenset(
    {PARAMETERS, STEPS, SETTINGS, "solver_states.h5", "checkpoints", "nnabla_cli"}
)
"""Every name that a run folder may hold; a folder with others is never replaced."""

_Path = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Run:
    """A run folder that was read.

    Attributes:
        folder: Where it lies.
        settings: From ``run.json``; None where the run was written by hand without one.
        steps: The recorded solver updates, in the order of training.
    """

    folder: Path
    settings: Optional[RunSettings]
    steps: tuple[Step, ...]

    def parameters(self) -> dict[str, np.ndarray]:
        """Read the parameters after the last step, float32, by nnabla's names (``affine/W``).

        Raises:
            RunError: ``final.h5`` cannot be read, holds no parameters, or not finite ones.
        """
        return _read_parameters(self.folder / PARAMETERS)


def read_run(folder: _Path) -> Run:
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
            raise RunError(
                f"{folder}: has no {name}; a run folder holds at least {PARAMETERS} and {STEPS}"
            )
    settings = None
    if (folder / SETTINGS).is_file():
        settings = read_settings(folder / SETTINGS)
    _read_parameters(folder / PARAMETERS)
    return Run(folder, settings, read_steps(folder / STEPS))


def write_run(
    folder: _Path,
    *,
    parameters: Mapping[str, np.ndarray],
    steps: Sequence[Step],
    settings: Optional[RunSettings],
    trainable: Optional[Collection[str]] = None,
) -> Run:
    """Write a run folder, whole or not at all.

    Args:
        folder: Where to. Its parent must exist. An existing folder is replaced if it is empty or
            a run and holds nothing else.
        parameters: Everything that the network reads, by nnabla's names.
        steps: The window's solver updates, in the order of training.
        settings: How the run was trained; None leaves ``run.json`` out.
        trainable: Names of the parameters that the solver updated (``need_grad`` in the file);
            all by default.

    Raises:
        OutputError: ``folder`` cannot be written, or holds other things than a run.
        RunError: There are no parameters or no steps.
    """
    with replacing_run(folder) as temporary:
        write_run_files(
            temporary, parameters=parameters, steps=steps, settings=settings, trainable=trainable
        )
    return Run(Path(folder), settings, tuple(steps))


@contextlib.contextmanager
def replacing_run(folder: _Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes the run folder when the block succeeds.

    Raises:
        OutputError: As for `write_run`; raised before the block runs where it can be known.
    """
    folder = Path(folder).resolve()
    check_replaceable(folder)
    with replacing_folder(folder) as temporary:
        yield temporary


def check_replaceable(folder: _Path) -> None:
    """Check early that `write_run` may write here.

    Raises:
        OutputError: ``folder`` is a file, holds other things than a run, or lies nowhere.
    """
    folder = Path(folder).resolve()
    if not folder.parent.is_dir():
        raise OutputError(f"{folder}: the folder {folder.parent} does not exist; make it first")
    if folder.is_file():
        raise OutputError(f"{folder}: is a file; give the name of a folder")
    if not folder.is_dir():
        return
    entries = {entry.name for entry in folder.iterdir()}
    foreign = sorted(entries - RUN_ENTRIES)
    if foreign or (entries and STEPS not in entries):
        raise OutputError(
            f"{folder}: holds {(foreign or sorted(entries))[0]}, so it is not a run that may"
            " be replaced; give a new folder"
        )
    if folder == Path.cwd():
        raise OutputError(f"{folder}: is the current folder; give the name of a new folder")


def write_run_files(
    folder: Path,
    *,
    parameters: Mapping[str, np.ndarray],
    steps: Sequence[Step],
    settings: Optional[RunSettings],
    trainable: Optional[Collection[str]] = None,
) -> None:
    """Write a run's files into an existing folder, such as `replacing_run` yields."""
    if not parameters:
        raise RunError("a run without parameters cannot be written")
    if not steps:
        raise RunError("a run without steps cannot be written: no solver update was recorded")
    # The layout of nnabla.save_parameters, without its variables: no context, no global scope.
    with h5py.File(folder / PARAMETERS, "w") as file:
        for index, (name, value) in enumerate(parameters.items()):
            file[name] = np.asarray(value, np.float32)
            file[name].attrs["need_grad"] = trainable is None or name in trainable
            file[name].attrs["index"] = index
    write_steps(folder / STEPS, steps)
    if settings is not None:
        write_settings(folder / SETTINGS, settings)


def last_epochs(steps: Sequence[Step], n: int) -> tuple[Step, ...]:
    """Return the steps of the last ``n`` recorded epochs.

    A step belongs to the epoch that its line in ``steps.csv`` says.

    Raises:
        RunError: Fewer epochs were recorded.
    """
    epochs = sorted({step.epoch for step in steps})
    if n > len(epochs):
        raise RunError(
            f"a window of {n} epochs was asked for, but the run holds the steps of"
            f" {len(epochs)} only; ask for a shorter window, or record a longer one"
        )
    return tuple(step for step in steps if step.epoch >= epochs[-n])


def check_fits(run: Run, n_rows: int) -> None:
    """Check that a run can have been trained on a data set of ``n_rows`` rows.

    Raises:
        RunError: It cannot; the message names the line of ``steps.csv``.
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


def _read_parameters(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item[()], np.float32)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(collect)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise RunError(
            f"{path}: is not a readable parameter file ({reason}); write it with"
            " nnabla.save_parameters"
        ) from error
    if not found:
        raise RunError(f"{path}: holds no parameters; write it with nnabla.save_parameters")
    for name, value in found.items():
        if not np.isfinite(value).all():
            raise RunError(
                f"{path}: parameter {name} is not finite; the training diverged, train again with"
                " a lower learning rate"
            )
    return found
