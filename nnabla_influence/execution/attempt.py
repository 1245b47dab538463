"""One try of a task, wherever it is done.

Workers import this module before anything is quiet, so it imports nothing that greets.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Optional

from nnabla_influence.errors import InfluenceError
from nnabla_influence.text import others_printable

_alone = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """What came of a try.

    Attributes:
        value: The result, if it succeeded; pickled where it comes from a worker.
        reason: One line, if it failed.
        may_succeed_again: Whether another try may help.
    """

    value: Any = None
    reason: Optional[str] = None
    may_succeed_again: bool = False


def attempt(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    """Do a task in this process."""
    try:
        return Outcome(function(*arguments))
    except Exception as error:
        return _failed(error)


def attempt_in_worker(pickled: bytes) -> Outcome:
    """Do the task ``(function, arguments)`` in a worker, quietly, and return its result pickled.

    Tasks in one process are done one after the other: nnabla's logger and a worker's modules are
    there once for all of its threads.
    """
    with _alone, _quiet():
        try:
            # No new trust: whoever reaches a Dask scheduler can run code here in any case.
            function, arguments = pickle.loads(pickled)
            value = function(*arguments)
        except SystemExit as error:
            return Outcome(reason=f"it wanted to end its process (exit code {error.code})")
        except Exception as error:
            return _failed(error)
        try:
            return Outcome(pickle.dumps(value))
        except Exception as error:
            return Outcome(reason=f"its result cannot be sent back ({_one_line(error)})")


def _failed(error: Exception) -> Outcome:
    known = isinstance(error, InfluenceError)
    return Outcome(reason=_one_line(error), may_succeed_again=not known)


def _one_line(error: Exception) -> str:
    text = str(error)
    if not isinstance(error, InfluenceError):
        places = traceback.extract_tb(error.__traceback__)
        place = places[-1] if places else None
        where = f" ({os.path.basename(place.filename)}, line {place.lineno})" if place else ""
        text = f"unexpected {type(error).__name__}: {text}{where}"
    return " ".join(text.split())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let through what nnabla and others log as a warning or above only, and `printable`."""
    before = logging.root.manager.disable
    logging.disable(max(logging.INFO, before))
    try:
        with others_printable():
            yield
    finally:
        logging.disable(before)
