"""Output, signals and exit codes of a command or Console plugin."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from nnabla_influence.text import others_printable, printable

INTERRUPTED = 130
_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def tidy_process() -> Iterator[None]:
    """Make printing any path safe, and clean up at every end but a hard kill.

    What the console's encoding cannot show (cp932 on Japanese Windows) is escaped. SIGTERM, from
    batch systems and ``timeout``, and SIGHUP, from a closed terminal, unwind the program as Ctrl-C
    does. If the reader of the output ends (``| head``), so does the program, silently. The lines
    of nnabla and Python are made `printable`.
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
            # Python flushes again at its end, which must not fail.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


class _Stop:
    """A signal handler that ends the program in code of this package.

    An exception in Python code called by nnabla's compiled code (its imports, its callbacks) is
    lost, or becomes a SystemError. So a signal that arrives there is sent again, until it arrives
    in this package or a second has passed.
    """

    def __init__(self) -> None:
        self.patience = 50
        self.is_over = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
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
        """Send the signal again, unless the work has ended."""
        if not self.is_over:
            signal.raise_signal(number)


def import_nnabla() -> None:
    """Import nnabla, and let Ctrl-C take effect after it.

    A process whose import of nnabla was interrupted crashes at its end and loses its exit code.
    """
    received: list[int] = []
    with _on_signals([signal.SIGINT, *_ENDS], lambda number, _: received.append(number)):
        importlib.import_module("nnabla")
    for number in received:
        signal.raise_signal(number)


@contextlib.contextmanager
def _on_signals(numbers: Sequence[int], handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Handle signals, except ignored ones (``nohup``), while the block runs."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # Only there handlers can be set.
        before = {number: signal.getsignal(number) for number in numbers}
        before = {k: v for k, v in before.items() if v not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def show(line: str) -> None:
    """Print one line of a result."""
    print(printable(line))
