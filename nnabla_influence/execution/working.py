"""A worker process on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from typing import Any

from nnabla_influence.execution.contact import HOST, Contact


def main() -> None:
    """Work for the scheduler whose `Contact` is the first line of standard input.

    It ends when standard input closes.

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
            contact.address,
            name=str(os.getpid()),
            nthreads=1,
            local_directory=sys.argv[1],
            memory_limit=0,
            # Without a host, Dask listens on every interface.
            host=HOST,
            protocol="tls",
            security=contact.security(),
        )
        async with worker:
            await worker.finished()

    try:
        import distributed

        class Worker(distributed.Worker):
            def start_http_server(self, *_: Any, **__: Any) -> None:
                """Serve no pages: they would ask for no certificate."""

        line = sys.stdin.buffer.readline()
        if not line:
            return  # The host has ended meanwhile.
        contact = Contact.from_line(line)
        threading.Thread(target=end_with_host, daemon=True).start()
        asyncio.run(work())
    except Exception as error:
        with contextlib.suppress(OSError), open(reason_file(sys.argv[1], os.getpid()), "w") as file:
            file.write(" ".join(f"{type(error).__name__}: {error}".split())[:300])
    os._exit(1)


def reason_file(folder: str, process: int) -> str:
    """Return the file that says why a worker process could not start."""
    return os.path.join(folder, f"reason-{process}")
