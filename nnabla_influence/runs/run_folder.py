"""The entries of a run folder, and how one replaces another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from nnabla_influence.errors import OutputError
from nnabla_influence.files import replacing_folder

PARAMETERS, STEPS, SETTINGS, NETWORK = "final.h5", "steps.csv", "run.json", "network.nntxt"
SOLVER_STATES, CHECKPOINTS = "solver_states.h5", "checkpoints"
CONTENTS = "contents.json"
RUN_ENTRIES = frozenset(
    {PARAMETERS, STEPS, SETTINGS, NETWORK, SOLVER_STATES, CHECKPOINTS, CONTENTS, "nnabla_cli"}
)
"""Every name that a run folder may hold; a folder with others is never replaced."""


@contextlib.contextmanager
def replacing_run(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder that becomes the run folder when the block succeeds.

    Raises:
        OutputError: As for `check_replaceable`, before the block runs.
    """
    folder = Path(os.path.realpath(folder))
    check_replaceable(folder)
    with replacing_folder(folder) as temporary:
        yield temporary


def check_replaceable(folder: str | os.PathLike[str]) -> None:
    """Check early that `write_run` may write here.

    Raises:
        OutputError: ``folder`` is a file or not a run, or its parent does not exist.
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
            f"{folder}: holds {(foreign or sorted(entries))[0]}, so it is not a run and will not be"
            " replaced; give a new folder"
        )
    if folder == Path.cwd():
        raise OutputError(f"{folder}: is the current folder; give the name of a new folder")
