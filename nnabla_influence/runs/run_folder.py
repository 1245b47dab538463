"""What a run folder holds, and how one takes the place of another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Union

from nnabla_influence.errors import OutputError
from nnabla_influence.files import replacing_folder

PARAMETERS, STEPS, SETTINGS = "final.h5", "steps.csv", "run.json"
SOLVER_STATES, CHECKPOINTS = "solver_states.h5", "checkpoints"
CONTENTS = "contents.json"
RUN_ENTRIES = frozenset(
    {PARAMETERS, STEPS, SETTINGS, SOLVER_STATES, CHECKPOINTS, CONTENTS, "nnabla_cli"}
)
"""Every name that a run folder may hold; a folder with others is never replaced."""

_Path = Union[str, "os.PathLike[str]"]


@contextlib.contextmanager
def replacing_run(folder: _Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes the run folder when the block succeeds.

    Raises:
        OutputError: As for `write_run`; raised before the block runs where it can be known.
    """
    folder = Path(os.path.realpath(folder))
    check_replaceable(folder)
    with replacing_folder(folder) as temporary:
        yield temporary


def check_replaceable(folder: _Path) -> None:
    """Check early that `write_run` may write here.

    Raises:
        OutputError: ``folder`` is a file, holds other things than a run, or lies nowhere.
    """
    folder = Path(os.path.realpath(folder))
    if not folder.parent.is_dir():
        raise OutputError(f"{folder}: the folder {folder.parent} does not exist; make it first")
    if os.path.lexists(folder) and not folder.is_dir():  # a pipe or an endless link as well
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
