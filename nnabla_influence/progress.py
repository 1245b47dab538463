"""One progress interface for a terminal, for the Console's log and for none at all."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from nnabla.logger import logger
from tqdm import tqdm

from nnabla_influence.text import printable

CONSOLE_LEVEL = 99
"""The log level that Neural Network Console always shows (``[Level 99]``)."""


class Stage(Protocol):
    """A part of the work whose progress is shown."""

    def update(self, n: int = 1) -> object:
        """Report that ``n`` more units are done."""


class Progress(Protocol):
    """Where a long computation reports its progress."""

    def say(self, message: str) -> None:
        """Show one line that stays."""

    @contextmanager
    def stage(self, description: str, total: int, unit: str = "it") -> Iterator[Stage]:
        """Begin a stage of ``total`` units; leaving the block ends it."""


class _SilentStage:
    def update(self, n: int = 1) -> None:
        pass


class SilentProgress:
    """Shows nothing; the default of the Python interface."""

    def say(self, message: str) -> None:
        """Show nothing."""

    @contextmanager
    def stage(self, description: str, total: int, unit: str = "it") -> Iterator[Stage]:
        """Show nothing."""
        yield _SilentStage()


class TerminalProgress:
    """Bars and lines on standard error, so that standard output holds results only."""

    def say(self, message: str) -> None:
        """Print one line."""
        tqdm.write(printable(message), file=sys.stderr)

    @contextmanager
    def stage(self, description: str, total: int, unit: str = "it") -> Iterator[Stage]:
        """Show a bar with rate and remaining time (none where there is no terminal)."""
        shown = printable(description)
        with tqdm(desc=shown, total=total, unit=unit, file=sys.stderr, disable=None) as bar:
            yield bar


class _ConsoleStage:
    """Logs a line whenever ten more percent are done, or half a minute has passed."""

    def __init__(self, description: str, total: int, unit: str):
        self._description, self._total, self._unit = printable(description), total, unit
        self._done = 0
        self._logged_tenth = 0
        self._started = self._logged_at = time.monotonic()

    def update(self, n: int = 1) -> None:
        self._done += n
        now = time.monotonic()
        tenth = 10 * self._done // max(self._total, 1)
        silent_for = now - self._logged_at
        if tenth <= self._logged_tenth and silent_for < 30:
            return
        if silent_for < 2 and self._done < self._total:
            return  # A quick stage gets its last line only.
        self._logged_tenth, self._logged_at = tenth, now
        remaining = (now - self._started) * (self._total - self._done) / max(self._done, 1)
        logger.log(
            CONSOLE_LEVEL,
            f"{self._description}: {self._done} of {self._total} {self._unit}"
            f", {remaining:.0f} s remaining",
        )


class ConsoleProgress:
    """Level-99 lines of nnabla's logger, which Neural Network Console shows to its user."""

    def say(self, message: str) -> None:
        """Log one line."""
        logger.log(CONSOLE_LEVEL, printable(message))

    @contextmanager
    def stage(self, description: str, total: int, unit: str = "it") -> Iterator[Stage]:
        """Log a line every ten percent, but none within two seconds of another."""
        yield _ConsoleStage(description, total, unit)
