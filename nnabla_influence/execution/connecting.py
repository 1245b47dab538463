"""The way to a Dask scheduler, and what its workers must have."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Optional, TypeVar

from nnabla_influence import __version__
from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution.reasons import reason_of

if TYPE_CHECKING:
    from distributed import Client, Security

T = TypeVar("T")

CONNECT_SECONDS = 10.0
"""How long a scheduler may take to answer."""

# Of packages whose versions must be the same everywhere, since others would compute other numbers.
_VERSIONS = """(lambda get: {
    'nnabla-influence': __import__('nnabla_influence').__version__,
    'nnabla': get('nnabla'),
})(__import__('importlib.metadata').metadata.version)"""


def needs_packages(*names: str) -> None:
    """Look for the packages that several processes need, without importing them.

    Raises:
        InfluenceError: One is not installed.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InfluenceError(
                f"several processes need the package {name}, which is missing; install it"
                f" (`{sys.executable} -m pip install {name}`), or work with one job and no"
                " scheduler"
            )


def import_distributed() -> Any:
    """Return the package, whose import takes a second or more."""
    return importlib.import_module("distributed")


def check_address(address: str) -> None:
    """Refuse what cannot be a scheduler's address.

    Raises:
        InfluenceError: It cannot.
    """
    match = re.fullmatch(r"(\w+://)?([^\s/:\[\]]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})", address)
    if match is None or not 0 < int(match.group(3)) < 2**16:
        raise InfluenceError(
            f"scheduler {address!r} is not an address such as tcp://host:8786, which"
            " `dask scheduler` prints when it starts"
        )
    protocols = ("tcp://", "tls://", "ucx://", "ws://", "wss://", None)
    if match.group(1) not in protocols:
        raise InfluenceError(
            f"scheduler {address!r}: the protocol {match.group(1)} is unknown; use tcp:// or tls://"
        )


@contextlib.contextmanager
def connected(address: str, security: Optional[Security] = None) -> Iterator[Client]:
    """Yield a connection to the scheduler; what it prints of its own is not heard meanwhile.

    Args:
        address: The scheduler's.
        security: What it knows this process by; by default what Dask's settings say.

    Raises:
        InfluenceError: Nobody answers there.
    """
    import_distributed()  # It sets the levels of its loggers.
    with _silent():
        client = _connect(address, security)
        try:
            yield client
        finally:
            # A scheduler that has gone need not be told.
            with contextlib.suppress(Exception):
                client.close(timeout=2)


def answer_of(ask: Callable[[], T]) -> T:
    """Return what ``ask`` returns, which waits for another process.

    It waits in another thread, and this one in code of ours, so that Ctrl-C takes effect at once:
    Dask waits for ten seconds at a time.
    """
    answer: Future[T] = Future()

    def wait() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()
    while not answer.done():
        time.sleep(0.002)
    return answer.result()


def _connect(address: str, security: Optional[Security]) -> Client:
    distributed = import_distributed()
    try:
        kind = answer_of(lambda: asyncio.run(_kind(address, security)))
        if kind != "Scheduler":
            raise InfluenceError(
                f"at {address} is no Dask scheduler, but a Dask {kind.lower()}; give the address"
                " that `dask scheduler` prints"
            )
        return answer_of(
            lambda: distributed.Client(
                address, timeout=CONNECT_SECONDS, set_as_default=False, security=security
            )
        )
    except InfluenceError:
        raise
    except Exception as failure:  # Of sockets, of its protocol, of TLS: no short list.
        error = failure
        reason = answer_of(lambda: reason_of(error, address, CONNECT_SECONDS))
        raise InfluenceError(
            f"no Dask scheduler can be reached at {address} ({reason}); start one"
            " (`dask scheduler`), and give the address that it prints"
        ) from error


async def _kind(address: str, security: Optional[Security]) -> str:
    """Ask what is at the address.

    A client of Dask waits without end for one that takes connections and says nothing.
    """
    distributed = import_distributed()
    arguments = (security or distributed.Security()).get_connection_args("client")

    async def ask() -> str:
        async with distributed.rpc(
            address, timeout=CONNECT_SECONDS, connection_args=arguments
        ) as there:
            return str((await there.identity())["type"])

    return await asyncio.wait_for(ask(), CONNECT_SECONDS + 1)  # Dask's own end tells more.


def worker_versions(client: Client, workers: Iterable[str]) -> dict[str, Any]:
    """Return what each worker answers: the packages' versions, or an exception."""
    # Nothing of this package is pickled, since a worker may lack it.
    return answer_of(lambda: client.run(eval, _VERSIONS, workers=list(workers), on_error="return"))


def check_versions(answers: dict[str, Any]) -> None:
    """Compare what `worker_versions` returned with this process.

    Raises:
        InfluenceError: A worker lacks this package, or has another version of what must be the
            same; it is named.
    """
    here = eval(_VERSIONS)
    here["nnabla-influence"] = __version__
    for worker, versions in answers.items():
        if isinstance(versions, ImportError):
            raise InfluenceError(
                f"worker {worker}: nnabla-influence is not installed there ({versions}); install"
                f" version {__version__} for the Python that runs `dask worker`"
            )
        if isinstance(versions, Exception):
            continue  # It has gone meanwhile.
        for package, version in here.items():
            if versions[package] != version:
                raise InfluenceError(
                    f"worker {worker}: has {package} {versions[package]}, here it is {version};"
                    " install the same version in both places"
                )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep Dask's log lines to ourselves; what matters of them is said in our words."""
    names = ("distributed", "tornado", "asyncio")
    loggers = [
        logging.getLogger(name)
        for name in [*names, *logging.root.manager.loggerDict]
        if name.split(".")[0] in names
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
