"""What a run folder holds, and how one takes the place of another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from nnabla_influence.files import PathLike, check_output_folder, replacing_folder

PARAMETERS, STEPS, SETTINGS = "final.h5", "steps.csv", "run.json"
SOLVER_STATES, CHECKPOINTS = "solver_states.h5", "checkpoints"
CONTENTS = "contents.json"
RUN_ENTRIES = frozenset(
    {PARAMETERS, STEPS, SETTINGS, SOLVER_STATES, CHECKPOINTS, CONTENTS, "nnabla_cli"}
)
"""Every name that a run folder may hold; a folder with others is never replaced."""


@contextlib.contextmanager
def replacing_run(folder: PathLike) -> Iterator[Path]:
    """Yield a temporary folder that becomes the run folder when the block succeeds.

    Raises:
        OutputError: As for `write_run`; raised before the block runs where it can be known.
    """
    folder = Path(os.path.realpath(folder))
    check_replaceable(folder)
    with replacing_folder(folder) as temporary:
        yield temporary


def check_replaceable(folder: PathLike) -> None:
    """Check early that `write_run` may write here.

    Raises:
        OutputError: ``folder`` is a file, holds other things than a run, or lies nowhere.
    """
    check_output_folder(folder, "a run", RUN_ENTRIES, STEPS)
