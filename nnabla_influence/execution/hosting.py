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
from dataclasses import replace
from typing import Any

from nnabla_influence.execution.contact import HOST, Contact, new_contact
from nnabla_influence.execution.working import reason_file

_LOOK_SECONDS = 0.2

_STARTS = 3
"""How often a worker may die before it is there, until it is given up."""


def command(function: str, *arguments: object) -> list[str]:
    """Return the command line of a Python process that calls a function of this package.

    Without ``-m``, so that the current folder does not come before what is on the path.
    """
    module = f"{__package__}.{function}"
    start = f"import sys; del sys.path[0]; from {module} import main; main()"
    return [sys.executable, "-c", start, *map(str, arguments)]


def main() -> None:
    """Start workers (first argument: how many), print a `Contact`, end with the parent.

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
        # Until the parent closes the pipe, or has ended. Not by sys.stdin, whose lock must be free
        # where Python ends.
        while os.read(0, 4096):
            pass
        end()

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=end_with_parent, daemon=True).start()
    places = [_Place(folder) for _ in range(jobs)]  # Workers import what this imports below.
    try:
        asyncio.run(_host(places, reply, ending))
    except Exception as error:
        with contextlib.suppress(OSError):  # The parent has had its answer.
            os.write(reply, " ".join(f"{type(error).__name__}: {error}".split()).encode())
    end()


class _Place:
    """One of the worker processes, and those that replace it.

    Args:
        folder: For what they put on disk.
    """

    def __init__(self, folder: str):
        self._folder = folder
        self._deaths = 0
        self.is_given_up = False
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(command("working", self._folder), stdin=subprocess.PIPE)

    def look(self, contact: Contact, seen: set[str]) -> None:
        """Start another process if this one has died, unless that dies at each start.

        Args:
            contact: What it needs to take part.
            seen: The process ids of all workers that have ever come to the scheduler.
        """
        if self._process.poll() is None or self.is_given_up:
            return
        self._deaths = 0 if str(self._process.pid) in seen else self._deaths + 1
        if self._deaths == _STARTS:
            self.is_given_up = True
            return
        self._start()
        self.tell(contact)

    def tell(self, contact: Contact) -> None:
        """Tell the process where the scheduler is, and what to show there."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # It has died, and is started again.
            self._process.stdin.write(contact.to_line())
            self._process.stdin.flush()

    def is_there(self, seen: set[str]) -> bool:
        """Whether the process has come to the scheduler."""
        return str(self._process.pid) in seen

    def reason(self) -> str:
        """Why the last process has died."""
        try:
            with open(reason_file(self._folder, self._process.pid)) as file:
                return file.read()
        except OSError:
            code = self._process.returncode
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            return f"one ended with {how} at each of {_STARTS} starts"


async def _host(places: list[_Place], reply: int, ending: threading.Lock) -> None:
    import distributed
    from distributed.diagnostics.plugin import SchedulerPlugin

    seen: set[str] = set()

    class Notes(SchedulerPlugin):
        def add_worker(self, scheduler: distributed.Scheduler, worker: str) -> None:
            seen.add(str(scheduler.workers[worker].name))

    class Scheduler(distributed.Scheduler):
        def start_http_server(self, *_: Any, **__: Any) -> None:
            """Serve no pages: they would ask for no certificate."""

    new = new_contact()
    async with Scheduler(
        host=HOST, port=0, protocol="tls", security=new.security(), dashboard=False
    ) as scheduler:
        contact = replace(new, address=scheduler.address)
        scheduler.add_plugin(Notes())
        for place in places:
            place.tell(contact)
        while not all(place.is_there(seen) for place in places):
            _look(places, contact, seen, ending)
            if given_up := [place for place in places if place.is_given_up]:
                os.write(reply, f"{given_up[0].reason()}\n".encode())
                return
            await asyncio.sleep(_LOOK_SECONDS / 4)
        os.write(reply, contact.to_line())
        os.close(reply)
        while not all(place.is_given_up for place in places):
            await asyncio.sleep(_LOOK_SECONDS)
            _look(places, contact, seen, ending)


def _look(places: list[_Place], contact: Contact, seen: set[str], ending: threading.Lock) -> None:
    for place in places:
        if not ending.locked():
            place.look(contact, seen)
