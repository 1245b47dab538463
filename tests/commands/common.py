"""Run commands: in this process, or in one of their own."""

from __future__ import annotations

import subprocess
import sys

from nnabla_influence.commands.main import main
from tests.small_projects import REPOSITORY, environment

PROGRESS = (
    *("Computing on ", "Method ", "Traced in ", "Note: ", "No exact scores: ", "The ranking is "),
    *("Replaying ", "The training is replayed", "Checkpoints: ", "Training ", "The replayed "),
)


def run(capsys, *arguments: object) -> tuple[int, str, list[str]]:
    """Run a command in this process; return exit code, output, and the lines besides progress."""
    code: object = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        code = exit_.code
    out, err = capsys.readouterr()
    if isinstance(code, str):  # Python itself prints it, and exits with 1
        code, err = 1, err + code + "\n"
    return int(code or 0), out, [line for line in err.splitlines() if not line.startswith(PROGRESS)]


def process(*arguments: object, **more) -> subprocess.Popen:
    """Start Python with arguments; standard output and error are pipes."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=environment(PYTHONPATH=str(REPOSITORY)),
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
    )
