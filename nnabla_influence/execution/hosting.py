"""The process that hosts a Dask scheduler and keeps worker processes alive on this machine.

Dask's own keeper of workers (the nanny) does not start one again that dies within moments of its
start, as a task that brings its worker down makes it do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

_LOOK_SECONDS = 0.2


def command(function: str, *arguments: object) -> list[str]:
    """Return the command line of a Python process that calls a function of this package.

    Without ``-m``, so that the current folder does not come before what is on the path.
    """
    module = f"{__package__}.{function}"
    start = f"import sys; del sys.path[0]; from {module} import main; main()"
    return [sys.executable, "-c", start, *map(str, arguments)]


def main() -> None:
    """Start workers (first argument: how many), print the scheduler's address, end with the parent.

    The second argument is a folder for what they put on disk; it is removed.
    """
    jobs, folder = int(sys.argv[1]), sys.argv[2]
    reply = os.dup(1)
    os.dup2(2, 1)  # Standard output is for the parent's results.
    ending = threading.Lock()

    def end(*_: Any) -> None:
        if not ending.acquire(blocking=False):
            return  # That is the signal to the whole group.
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGTERM)
            time.sleep(0.1)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)  # Workers end, if not by the signal, when their pipe from here closes.

    def end_with_parent() -> None:
        sys.stdin.buffer.read()  # Until the parent closes the pipe, or has ended.
        end()

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=end_with_parent, daemon=True).start()
    workers = [_start_worker(folder) for _ in range(jobs)]  # They import what this imports below.
    asyncio.run(_host(workers, folder, reply, ending))


async def _host(
    workers: list[subprocess.Popen[bytes]], folder: str, reply: int, ending: threading.Lock
) -> None:
    from distributed import Scheduler

    async with Scheduler(
        host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0"
    ) as scheduler:
        for worker in workers:
            _tell(worker, scheduler.address)
        while len(scheduler.workers) < len(workers):
            if any(worker.poll() is not None for worker in workers):
                sys.exit(1)
            await asyncio.sleep(_LOOK_SECONDS / 4)
        with os.fdopen(reply, "w") as parent:
            parent.write(f"{scheduler.address}\n")
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for place, worker in enumerate(workers):
                if worker.poll() is not None and not ending.locked():
                    workers[place] = _start_worker(folder)
                    _tell(workers[place], scheduler.address)


def _start_worker(folder: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command("working", folder), stdin=subprocess.PIPE)


def _tell(worker: subprocess.Popen[bytes], address: str) -> None:
    assert worker.stdin is not None
    with contextlib.suppress(OSError):  # It has died, and is started again.
        worker.stdin.write(f"{address}\n".encode())
        worker.stdin.flush()
