"""What a command and a Console plugin have in common as processes: output, signals, exit codes."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Optional

from nnabla_influence.errors import InfluenceError
from nnabla_influence.text import others_printable, printable

INTERRUPTED = 130
_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def tidy_process() -> Iterator[None]:
    """Let printing a path never fail, and let every end but a hard kill clean up.

    What the console's encoding cannot show (cp932 on Japanese Windows) is escaped. SIGTERM, as
    batch systems and ``timeout`` send it, and SIGHUP, when a terminal is closed, unwind the program
    as Ctrl-C does. A reader of the output that has seen enough (``| head``) ends it without a word.
    What nnabla and Python say of their own is made `printable`.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    stop = _Stop()
    with _on_signals([signal.SIGINT, *_ENDS], stop), others_printable():
        try:
            try:
                yield
            finally:
                stop.is_over = True
                if sys.stdout is not None:
                    sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes once more at its end, which must not fail again.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


class _Stop:
    """A signal handler that ends the program in code of ours.

    An exception that comes up in Python code below nnabla's compiled code (its imports, its
    callbacks) is lost there, or becomes a SystemError. So a signal that arrives there is sent
    again, until it meets our code or a second is over.
    """

    def __init__(self) -> None:
        self.patience = 50
        self.is_over = False

    def __call__(self, number: int, frame: Optional[FrameType]) -> None:
        name = "" if frame is None else frame.f_globals.get("__name__", "")
        if name.split(".")[0] != __name__.split(".")[0] and self.patience > 0:
            self.patience -= 1
            again = threading.Timer(0.02, self.send, [number])
            again.daemon = True
            again.start()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            sys.exit(128 + number)

    def send(self, number: int) -> None:
        """Send the signal again, unless the work is over meanwhile."""
        if not self.is_over:
            signal.raise_signal(number)


def import_nnabla() -> None:
    """Import nnabla in one go: Ctrl-C takes effect behind it.

    A process in which the import was interrupted crashes when it ends, in place of its exit code.
    """
    received: list[int] = []
    with _on_signals([signal.SIGINT, *_ENDS], lambda number, _: received.append(number)):
        importlib.import_module("nnabla")
    for number in received:
        signal.raise_signal(number)


@contextlib.contextmanager
def _on_signals(numbers: Sequence[int], handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Handle signals, but those that are ignored (``nohup``), while the block runs."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # only there it can be asked for
        before = {number: signal.getsignal(number) for number in numbers}
        before = {k: v for k, v in before.items() if v not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def one_line(error: Exception) -> str:
    """Return an error's message, `printable`; an unforeseen error's with its kind and place."""
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        text = f"the package {error.name} is missing; install it for {sys.executable}"
    elif not isinstance(error, InfluenceError):
        place = traceback.extract_tb(error.__traceback__)[-1]
        file_name = os.path.basename(place.filename)
        text = f"unexpected {type(error).__name__}: {text} ({file_name}, line {place.lineno})"
    return printable(text)


def show(line: str) -> None:
    """Print one line of a result."""
    print(printable(line))
