"""A worker process on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading


def main() -> None:
    """Work for the scheduler whose address standard input tells, until that closes.

    The first argument is a folder for what Dask puts on disk. What keeps the worker from its start
    is left there, in a file that is named after the process.
    """

    def end_with_host() -> None:
        # Not by sys.stdin, whose lock must be free where Python ends.
        while os.read(0, 4096):
            pass
        os._exit(1)

    async def work() -> None:
        worker = Worker(
            address,
            name=str(os.getpid()),
            nthreads=1,
            local_directory=sys.argv[1],
            memory_limit=0,
            dashboard=False,
            dashboard_address="127.0.0.1:0",
        )
        async with worker:
            await worker.finished()

    try:
        from distributed import Worker

        address = sys.stdin.buffer.readline().decode().strip()
        if not address:
            return  # The host has ended meanwhile.
        threading.Thread(target=end_with_host, daemon=True).start()
        asyncio.run(work())
    except Exception as error:
        with contextlib.suppress(OSError), open(reason_file(sys.argv[1], os.getpid()), "w") as file:
            file.write(" ".join(f"{type(error).__name__}: {error}".split())[:300])
    os._exit(1)


def reason_file(folder: str, process: int) -> str:
    """Return the file that says why a worker process could not start."""
    return os.path.join(folder, f"reason-{process}")
