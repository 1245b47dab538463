"""The entries of a run folder, and how one replaces another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from nnabla_influence.files import PathLike, check_output_folder, replacing_folder

PARAMETERS, STEPS, SETTINGS, NETWORK = "final.h5", "steps.csv", "run.json", "network.nntxt"
SOLVER_STATES, CHECKPOINTS = "solver_states.h5", "checkpoints"
CONTENTS = "contents.json"
RUN_ENTRIES = frozenset(
    {PARAMETERS, STEPS, SETTINGS, NETWORK, SOLVER_STATES, CHECKPOINTS, CONTENTS, "nnabla_cli"}
)
"""Every name that a run folder may hold; a folder with others is never replaced."""


@contextlib.contextmanager
def replacing_run(folder: PathLike) -> Iterator[Path]:
    """Yield a temporary folder that becomes the run folder when the block succeeds.

    Raises:
        OutputError: As for `check_replaceable`, before the block runs.
    """
    folder = Path(os.path.realpath(folder))
    check_replaceable(folder)
    with replacing_folder(folder) as temporary:
        yield temporary


def check_replaceable(folder: PathLike) -> None:
    """Check early that `write_run` may write here.

    Raises:
        OutputError: ``folder`` is a file or not a run, or its parent does not exist.
    """
    check_output_folder(folder, "a run", RUN_ENTRIES, STEPS)
