"""Worker processes on this machine, which end with this process, however it ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution.hosting import SILENT

_START = (
    "import sys; sys.path.pop(0)\nfrom nnabla_influence.execution import hosting; hosting.host()"
)
"""Without -m: the current folder shall not come before what this process finds modules in."""

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def local_cluster(jobs: int) -> Iterator[str]:
    """Yield the address of a Dask scheduler on this machine with ``jobs`` worker processes.

    They live below a process of their own session (`hosting`), which no Ctrl-C in the terminal
    reaches: when the pipe to it closes, be it by this function or by the system after a hard
    kill, it ends them all. So no script needs ``if __name__ == "__main__"`` either.

    Raises:
        InfluenceError: They cannot be started.
    """
    folder = tempfile.mkdtemp(prefix="nnabla-influence-")
    try:
        with subprocess.Popen(
            [sys.executable, "-c", _START, str(jobs), folder],
            env={**os.environ, **_environment(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                assert process.stdout is not None
                address = process.stdout.readline().decode().strip()
                if not address:
                    raise InfluenceError(
                        f"{jobs} worker processes could not be started (see above for what Python"
                        " said of it); try fewer, or one"
                    )
                yield address
            finally:
                _end(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(10)
    except BaseException as error:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def _environment(folder: str) -> dict[str, str]:
    warnings = os.environ.get("PYTHONWARNINGS", "")
    return {
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        # Processes that are killed leave semaphores, which Python removes, but with a warning.
        "PYTHONWARNINGS": ",".join(filter(None, [warnings, "ignore:resource_tracker"])),
        # What a task that is killed leaves in a temporary folder goes with all of it.
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder),
        **dict.fromkeys(_ONE_THREAD, "1"),
        **dict.fromkeys(
            [f"DASK_LOGGING__{name}" for name in ("DISTRIBUTED", "TORNADO", "ASYNCIO")],
            str(SILENT),
        ),
    }
