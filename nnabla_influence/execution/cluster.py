"""A Dask cluster that somebody started, on this machine or on many."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import distributed

import nnabla_influence
from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution.executor import Executor, Task
from nnabla_influence.execution.processes import DIED
from nnabla_influence.execution.worker import Outcome, attempt_pickled

if TYPE_CHECKING:  # It imports nnabla, which greets in the worker's terminal.
    from nnabla_influence.progress import Progress

CONNECT_SECONDS = 10.0
"""How long a scheduler may take to answer."""

WAIT_SECONDS = 60.0
"""How long a cluster may be without a worker."""

_LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application", "asyncio")


@contextlib.contextmanager
def dask_cluster(address: str) -> Iterator[Executor]:
    """Yield an executor with the workers of a Dask scheduler."""
    with _silent():
        client = _connected(address)
        try:
            yield _DaskCluster(client, address)
        finally:
            with contextlib.suppress(Exception):  # The scheduler may have ended.
                client.close(timeout=2)


class _DaskCluster(Executor):
    """One task at a time for each worker; Dask gives the task of one that dies to another."""

    places = 1

    def __init__(self, client: distributed.Client, address: str):
        self._client = client
        self._address = address
        self._without_worker_since: float | None = None
        n = len(client.nthreads())
        self.description = f"on the Dask cluster {address} ({n} worker{'' if n == 1 else 's'})"

    def _submit(self, task: Task) -> Any:
        request = pickle.dumps((task.function, task.arguments))
        return self._client.submit(attempt_with, _versions(), request, pure=False)

    def _outcome(self, future: Any) -> Outcome:
        if future.status == "cancelled":
            raise self._lost()
        try:
            outcome: Outcome = pickle.loads(future.result())
            return outcome
        except distributed.KilledWorker:
            # Dask has tried it four times, but another task may have ended those workers.
            return Outcome(reason=DIED, may_succeed_again=True)
        except InfluenceError:
            raise
        except Exception as error:  # of Dask's protocol, or of a worker without this package
            text = " ".join(f"{type(error).__name__}: {error}".split())
            raise InfluenceError(
                f"the Dask cluster {self._address} cannot run a task ({text}); install the same"
                " packages for its scheduler and its workers as here"
            ) from error

    def _check_workers(self, progress: Progress) -> None:
        try:
            n = len(self._client.nthreads()) if self._client.status == "running" else None
        except Exception as error:  # of sockets, of its protocol
            raise self._lost() from error
        if n is None:
            raise self._lost()
        self.places = max(n, 1)
        if n:
            self._without_worker_since = None
        elif self._without_worker_since is None:
            self._without_worker_since = time.monotonic()
            progress.say(
                f"The Dask scheduler {self._address} has no worker; waiting for one"
                f" (`dask worker {self._address} --nthreads 1`)"
            )
        elif time.monotonic() - self._without_worker_since > WAIT_SECONDS:
            raise InfluenceError(
                f"the Dask scheduler {self._address} has had no worker for {WAIT_SECONDS:.0f}"
                " seconds; start some, then start the command again"
            )

    def _lost(self) -> InfluenceError:
        return InfluenceError(
            f"the connection to the Dask scheduler {self._address} is lost; check that it runs, and"
            " start the command again"
        )


def attempt_with(versions: dict[str, str], request: bytes) -> bytes:
    """Run `attempt_pickled` on a worker, unless other versions would compute other numbers."""
    here = _versions()
    for package, version in versions.items():
        if here[package] != version:
            raise InfluenceError(
                f"worker {distributed.get_worker().address}: has {package} {here[package]}, the"
                f" command has {version}; install the same version for both"
            )
    return attempt_pickled(request)


def _versions() -> dict[str, str]:
    return {
        "nnabla-influence": nnabla_influence.__version__,
        "nnabla": importlib.metadata.version("nnabla"),
    }


def _connected(address: str) -> distributed.Client:
    """Return a client of what says that it is a scheduler; a client would wait for a silent one."""
    answer: Future[str] = Future()

    def ask() -> None:
        try:
            answer.set_result(asyncio.run(asyncio.wait_for(_kind(address), CONNECT_SECONDS + 1)))
        except BaseException as error:
            answer.set_exception(error)

    # In a thread, since a notebook has an event loop in this one, and so that Ctrl-C ends it.
    threading.Thread(target=ask, daemon=True).start()
    try:
        kind = answer.result()
        if kind != "Scheduler":
            raise ValueError(f"a Dask {kind.lower()} answers")
        return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except Exception as error:  # of sockets, of its protocol, of TLS
        cause: BaseException = error
        while following := cause.__cause__ or cause.__context__:
            cause = following
        text = " ".join(str(cause).split()) or f"no answer within {CONNECT_SECONDS:g} seconds"
        raise InfluenceError(
            f"no Dask scheduler can be reached at {address} ({text}); give the address that"
            " `dask scheduler` prints, such as tcp://host:8786"
        ) from error


async def _kind(address: str) -> str:
    arguments = distributed.Security().get_connection_args("client")
    async with distributed.rpc(
        address, timeout=CONNECT_SECONDS, connection_args=arguments
    ) as there:
        return str((await there.identity())["type"])


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep Dask's log lines from the user, who gets what matters in one line."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
