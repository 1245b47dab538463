"""One try of a task, and the worker process of `--jobs` that makes such tries.

Worker processes import this module before their output is quiet, so it must not import nnabla,
which greets.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from nnabla_influence.errors import InfluenceError
from nnabla_influence.text import one_line, others_printable

READY = b"+"
"""What a worker process writes first."""

_alone = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """The result of a try.

    Attributes:
        value: What the function returned.
        reason: One line, if it failed.
        may_succeed_again: Whether another try may help.
    """

    value: Any = None
    reason: str | None = None
    may_succeed_again: bool = False


def attempt(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    """Call a function."""
    try:
        return Outcome(function(*arguments))
    except Exception as error:
        return Outcome(
            reason=one_line(error), may_succeed_again=not isinstance(error, InfluenceError)
        )


def attempt_pickled(request: bytes) -> bytes:
    """Call the function of a pickled ``(function, arguments)`` quietly; return a pickled `Outcome`.

    One at a time: nnabla's logger and a worker's modules are shared by all threads of a process.
    """
    with _alone, _quiet():
        try:
            # No new trust: whoever can send this can run code here in any case.
            return pickle.dumps(attempt(*pickle.loads(request)))
        except SystemExit as error:
            reason = f"it tried to end its process (exit code {error.code})"
        except Exception as error:
            reason = one_line(error)
        return pickle.dumps(Outcome(reason=reason))


def main(folder: str) -> None:
    """Answer requests on standard input with outcomes on standard output, until it closes.

    It closes when the parent process ends, however that ends.

    Args:
        folder: For temporary files; it is removed at the end.
    """
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # What tasks print must not be taken for a reply.
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, received, folder), daemon=True).start()
    replies.write(READY)
    while True:
        replies.flush()
        replies.write(attempt_pickled(received.get()))


def _receive(requests: IO[bytes], received: queue.SimpleQueue[bytes], folder: str) -> None:
    with contextlib.suppress(OSError, EOFError):
        while True:
            received.put(pickle.load(requests))
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)  # A task may be running.


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let nnabla and others log warnings and above only, and make them `printable`."""
    before = logging.root.manager.disable
    logging.disable(max(logging.INFO, before))
    try:
        with others_printable():
            yield
    finally:
        logging.disable(before)
