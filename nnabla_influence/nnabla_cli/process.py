"""``nnabla_cli train`` in a process of its own, recorded by the callback module."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nnabla_influence import nnabla_cli_callback
from nnabla_influence.definition import Definition
from nnabla_influence.errors import RunError
from nnabla_influence.progress import Progress

_EPOCH = re.compile(r"epoch (\d+) of \d+ cost=")
_NOT_RECORDED = re.compile(r"This training is not recorded for nnabla-influence: (.*)")
# nnabla_cli's exit code does not tell a training that stopped from one that finished.
_FINISHED = "Training Completed."
_DIVERGED = "Cost is Nan"


def run_nnabla_cli(
    definition: Definition,
    arguments: list[str],
    recorded: Path,
    variables: Mapping[str, str],
    log: Path,
    progress: Progress,
) -> None:
    """Run ``nnabla_cli train`` until it is finished, and say why if it did not.

    Args:
        definition: What it trains.
        arguments: Of ``nnabla_cli train``.
        recorded: The run folder that the callback module writes.
        variables: The callback module's environment variables beside that for the folder.
        log: File for what it prints.
        progress: Where to tell how far it is.

    Raises:
        RunError: It did not finish, or recorded nothing.
    """
    lines: deque[str] = deque(maxlen=200)
    with (
        _nnabla_cli(arguments, recorded, variables) as process,
        log.open("w", encoding="utf-8") as file,
        progress.stage("Training", definition.max_epoch, "epoch") as stage,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            lines.append(line.rstrip())
            if _EPOCH.search(line):
                stage.update()
    output = "\n".join(lines)
    if _FINISHED not in output:
        raise RunError(f"{definition.path}: {_reason(list(lines))}")
    if not recorded.is_dir():
        said = _NOT_RECORDED.search(output)
        reason = said.group(1) if said else "nnabla_cli did not load the callback module"
        raise RunError(f"{definition.path}: trained, but the run was not recorded: {reason}")


@contextlib.contextmanager
def _nnabla_cli(
    arguments: list[str], recorded: Path, variables: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    with tempfile.TemporaryDirectory() as folder:
        configuration = os.path.join(folder, "nnabla.conf")
        nnabla_cli_callback.write_configuration(configuration)
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        with subprocess.Popen(
            [sys.executable, "-m", "nnabla.utils.cli.cli", "train", *arguments],
            env={
                **os.environ,
                "NNABLA_CONFIG_FILE_PATH": configuration,
                "PYTHONPATH": path,
                "PYTHONIOENCODING": "utf-8",
                # nnabla decodes the data into it, and leaves that behind where it is stopped.
                **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder),
                nnabla_cli_callback.RUN_VARIABLE: str(recorded),
                **variables,
                nnabla_cli_callback.PARENT_VARIABLE: json.dumps([folder, str(recorded.parent)]),
            },
            # This process's end of the pipe closes when it ends, however it ends.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                yield process
            except BaseException:
                process.kill()  # At once; without it the child would see the pipe close.
                raise


def _reason(lines: list[str]) -> str:
    """Return one line for what nnabla_cli says at its end."""
    if any(_DIVERGED in line for line in lines):
        epoch = 1 + max((int(m.group(1)) for m in map(_EPOCH.search, lines) if m), default=0)
        return (
            f"the training diverged in epoch {epoch} (the cost is not finite); lower the learning"
            " rate, or look for values that are not numbers in the dataset"
        )
    errors = [line for line in lines if re.match(r"[A-Za-z_.]+(Error|Exception|Interrupt)\b", line)]
    logged = [line.split("]: ", 1)[1] for line in lines if re.search(r"\[(CRITICAL|Fatal)", line)]
    said: Any = (logged[-1:] + errors[-1:]) or lines[-1:] or ["nothing"]
    return f"nnabla_cli did not finish the training; it said: {'; '.join(said)[:500]}"
