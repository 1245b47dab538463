"""What a command and a Console plugin have in common as processes: output, signals, exit codes."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

from nnabla_influence.errors import InfluenceError

INTERRUPTED, TERMINATED = 130, 143


@contextlib.contextmanager
def tidy_process() -> Iterator[None]:
    """Let printing a path never fail, and let every end but a hard kill clean up.

    What the console's encoding cannot show (cp932 on Japanese Windows) is escaped. SIGTERM, as
    batch systems and ``timeout`` send it, unwinds the program as Ctrl-C does. A reader of the
    output that has seen enough (``| head``) ends it without a word.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    with _unwinding_sigterm():
        try:
            try:
                yield
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes once more at its end, which must not fail again.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


@contextlib.contextmanager
def _unwinding_sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only there can it be asked for
        return
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(*_: Any) -> NoReturn:
    sys.exit(TERMINATED)


def import_nnabla() -> None:
    """Import nnabla in one go: Ctrl-C takes effect behind it.

    A process in which the import was interrupted crashes when it ends, in place of its exit code.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        importlib.import_module("nnabla")
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda number, _: received.append(number)) for kind in kinds]
    try:
        importlib.import_module("nnabla")
    finally:
        for kind, handler in zip(kinds, before):
            signal.signal(kind, handler)
    for number in received:
        signal.raise_signal(number)


def one_line(error: Exception) -> str:
    """Return an error's message as one line; an unforeseen error's with its kind and place."""
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        text = f"the package {error.name} is missing; install it for {sys.executable}"
    elif not isinstance(error, InfluenceError):
        place = traceback.extract_tb(error.__traceback__)[-1]
        file_name = os.path.basename(place.filename)
        text = f"unexpected {type(error).__name__}: {text} ({file_name}, line {place.lineno})"
    return " ".join(text.splitlines())
