"""``nnabla_cli train`` in a child process, recorded by the callback module."""

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

from nnabla_influence import nnabla_cli_callback
from nnabla_influence.definition import Definition
from nnabla_influence.errors import RunError
from nnabla_influence.progress import Progress

_EPOCH = re.compile(r"epoch (\d+) of \d+ cost=")
_NOT_RECORDED = re.compile(r"This training is not recorded for nnabla-influence: (.*)")
# nnabla_cli's exit code is the same for a training that stopped and one that finished.
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
    """Run ``nnabla_cli train`` until it has finished.

    Args:
        definition: The definition that it trains.
        arguments: The arguments of ``nnabla_cli train``.
        recorded: The run folder that the callback module writes.
        variables: Further environment variables of the callback module.
        log: File for its output.
        progress: Where to report progress.

    Raises:
        RunError: It did not finish, or recorded nothing; the message gives its reason.
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
        logged = _NOT_RECORDED.search(output)
        reason = logged.group(1) if logged else "nnabla_cli did not load the callback module"
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
                # nnabla decodes the data there, and does not remove them where it is stopped.
                **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder),
                nnabla_cli_callback.RUN_VARIABLE: str(recorded),
                **variables,
                nnabla_cli_callback.PARENT_VARIABLE: json.dumps([folder, str(recorded.parent)]),
            },
            # `end_with_pipe` watches it.
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
                process.kill()  # at once, rather than when the pipe closes
                raise


def _reason(lines: list[str]) -> str:
    """Return the reason why nnabla_cli stopped, from its last lines."""
    if any(_DIVERGED in line for line in lines):
        epoch = 1 + max((int(m.group(1)) for m in map(_EPOCH.search, lines) if m), default=0)
        return (
            f"the training diverged in epoch {epoch} (the cost is not finite); lower the learning"
            " rate, or check the dataset for values that are not numbers"
        )
    errors = [line for line in lines if re.match(r"[A-Za-z_.]+(Error|Exception|Interrupt)\b", line)]
    logged = [line.split("]: ", 1)[1] for line in lines if re.search(r"\[(CRITICAL|Fatal)", line)]
    reasons = (logged[-1:] + errors[-1:]) or lines[-1:] or ["no output"]
    return f"nnabla_cli did not finish the training: {'; '.join(reasons)[:500]}"
