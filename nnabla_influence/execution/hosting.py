"""The process that hosts a Dask scheduler and its worker processes on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from typing import Any

from nnabla_influence.execution.tasks import TRIES

SILENT = 60
"""A level above all that Dask logs."""


def host() -> None:
    """Start ``jobs`` workers (first argument), print the scheduler's address, end with the parent.

    The second argument is a folder for what they put on disk, which is removed.
    """
    jobs, folder = int(sys.argv[1]), sys.argv[2]
    reply = os.dup(1)
    os.dup2(2, 1)  # Standard output is for the parent's results.
    clusters: list[Any] = []
    ending = threading.Lock()

    def end(*_: Any) -> None:
        if not ending.acquire(blocking=False):
            return  # That is the signal to the whole group.
        for cluster in clusters:
            for nanny in cluster.workers.values():
                nanny.auto_restart = False
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGTERM)
            time.sleep(0.2)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)  # Workers that are left end when the pipe from this process closes.

    def end_with_parent() -> None:
        sys.stdin.buffer.read()  # Until the parent closes the pipe, or has ended.
        end()

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=end_with_parent, daemon=True).start()

    import dask
    from distributed import LocalCluster

    dask.config.set({"distributed.scheduler.allowed-failures": TRIES - 1})
    cluster = LocalCluster(
        n_workers=jobs,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        memory_limit=0,
        local_directory=folder,
        silence_logs=SILENT,
    )
    clusters.append(cluster)
    with os.fdopen(reply, "w") as parent:
        parent.write(f"{cluster.scheduler_address}\n")
    while True:
        time.sleep(3600)
