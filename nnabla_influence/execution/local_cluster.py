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
from dataclasses import dataclass

from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution import hosting
from nnabla_influence.execution.contact import Contact

SILENT = 60
"""A level above all that Dask logs."""

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Starting:
    """Worker processes that are about to start.

    Attributes:
        jobs: How many.
        process: Hosts them.
    """

    jobs: int
    process: subprocess.Popen[bytes]

    def contact(self) -> Contact:
        """Wait for the workers; return how to reach their Dask scheduler.

        Raises:
            InfluenceError: They cannot be started.
        """
        assert self.process.stdout is not None
        reply = self.process.stdout.readline()
        try:
            return Contact.from_line(reply)
        except ValueError:
            said = reply.decode(errors="replace").strip()
            why = said or "the process that starts them has ended"
            raise InfluenceError(
                f"{self.jobs} worker processes could not be started ({why}); try fewer, or one"
            ) from None


@contextlib.contextmanager
def local_cluster(jobs: int) -> Iterator[Starting]:
    """Start a Dask scheduler on this machine with ``jobs`` worker processes; end them at the end.

    They live below a process of their own session (`hosting`), which no Ctrl-C in the terminal
    reaches: when the pipe to it closes, be it by this function or by the system after a hard
    kill, it ends them all. So no script needs ``if __name__ == "__main__"`` either.

    Raises:
        InfluenceError: There is no room for a temporary folder, or for one more process.
    """
    try:
        folder = tempfile.mkdtemp(prefix="nnabla-influence-")
    except OSError as error:
        raise InfluenceError(
            f"{error.filename or tempfile.gettempdir()}: no folder can be made for the worker"
            f" processes ({error.strerror}); make room, or name another place in TMPDIR"
        ) from error
    try:
        with subprocess.Popen(
            hosting.command("hosting", jobs, folder),
            env={**os.environ, **_environment(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                yield Starting(jobs, process)
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
    return {
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        # What a task that is killed leaves in a temporary folder goes with all of it.
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder),
        **dict.fromkeys(_ONE_THREAD, "1"),
        **dict.fromkeys(
            [f"DASK_LOGGING__{name}" for name in ("DISTRIBUTED", "TORNADO", "ASYNCIO")],
            str(SILENT),
        ),
    }
