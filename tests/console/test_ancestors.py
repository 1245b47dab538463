"""Which processes are watched, on each system as far as one machine can tell."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from nnabla_influence.console import ancestors
from tests.small_projects import REPOSITORY, environment

_PRINT = (
    "import os; from nnabla_influence.console.ancestors import _line_from_proc, _line_from_ps;"
    " print(_line_from_proc(), [os.getppid(), *_line_from_ps(os.getppid())])"
)
_BETWEEN = (
    "import os, subprocess, sys; print(os.getpid(), flush=True); subprocess.run(sys.argv[1:])"
)


@pytest.mark.skipif(
    not os.path.isdir("/proc/self") or not shutil.which("ps"), reason="no /proc, ps"
)
def test_the_line_is_parent_first():
    between = [sys.executable, "-c", _BETWEEN]
    said = subprocess.run(
        [*between, *between, sys.executable, "-c", _PRINT],
        env=environment(PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
        check=True,
        text=True,
    ).stdout.splitlines()
    outer, inner = map(int, said[:2])
    wanted = [inner, outer, os.getpid()]
    assert said[2] == f"{wanted} {wanted}"


class Kernel:
    """Windows' kernel32, with a few processes."""

    def __init__(self, parents: dict[int, int]):
        def open_process(access: int, _inherit: bool, pid: int) -> int | None:
            assert access == 0x00100000  # SYNCHRONIZE
            return None if pid == 13 else 1000 + pid

        def entry_at(number: int, entry: object) -> bool:
            if number >= len(parents):
                return False
            pid, parent = list(parents.items())[number]
            entry._obj.th32ProcessID = pid  # type: ignore[attr-defined]
            entry._obj.th32ParentProcessID = parent  # type: ignore[attr-defined]
            self.place = number
            return True

        def wait(count: int, handles: object, every: bool, milliseconds: int) -> int:
            self.waited = ([*handles], every, milliseconds)  # type: ignore[misc]
            assert count == len(self.waited[0])
            return 0

        def function(do):
            made = lambda *arguments: do(*arguments)  # noqa: E731 (takes attributes)
            return made

        self.closed: list[int] = []
        self.OpenProcess = function(open_process)
        self.WaitForMultipleObjects = function(wait)
        self.CreateToolhelp32Snapshot = function(lambda flags, _: 7 if flags == 2 else None)
        self.Process32FirstW = function(lambda _, entry: entry_at(0, entry))
        self.Process32NextW = function(lambda _, entry: entry_at(self.place + 1, entry))
        self.CloseHandle = function(self.closed.append)


@pytest.mark.parametrize(
    ("parents", "watched"),
    [
        # A shell, the one that waits for it, the connector, the application; not what started that.
        ({10: 20, 20: 30, 30: 40, 40: 50, 99: 10}, [1010, 1020, 1030, 1040]),
        ({10: 20}, [1010, 1020]),
        ({10: 13, 13: 20}, [1010, 1020]),  # one may not be watched
        ({}, [1010]),
    ],
)
def test_windows_is_asked_for_the_end_of_any(monkeypatch, parents, watched):
    kernel = Kernel(parents)
    monkeypatch.setattr(ctypes, "WinDLL", lambda *_, **__: kernel, raising=False)
    monkeypatch.setattr(ancestors, "os", SimpleNamespace(getppid=lambda: 10))
    ancestors._end_on_windows()()
    assert kernel.waited == (watched, False, 0xFFFFFFFF)
    assert kernel.closed == [7]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ancestors_are_looked_at_before_the_wait_begins(monkeypatch):
    """An application that ends before the watching thread runs is missed otherwise."""
    lines = iter([[3, 2], [1]])
    monkeypatch.setattr(ancestors, "_line_from_proc", lambda: next(lines))
    wait = ancestors.end_of_one(0.0)
    assert next(lines) == [1]  # it has ended meanwhile
    lines = iter([[1]])
    wait()  # at once: another look would raise StopIteration
    assert list(lines) == []
