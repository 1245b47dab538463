"""A worker process on this machine."""

from __future__ import annotations

import asyncio
import os
import sys
import threading


def main() -> None:
    """Work for the scheduler whose address standard input tells, until that closes.

    The first argument is a folder for what Dask puts on disk.
    """
    from distributed import Worker

    address = sys.stdin.buffer.readline().decode().strip()
    if not address:
        return  # The host has ended meanwhile.

    def end_with_host() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    async def work() -> None:
        worker = Worker(
            address,
            nthreads=1,
            local_directory=sys.argv[1],
            memory_limit=0,
            dashboard=False,
            dashboard_address="127.0.0.1:0",
        )
        async with worker:
            await worker.finished()

    threading.Thread(target=end_with_host, daemon=True).start()
    asyncio.run(work())
