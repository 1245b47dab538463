"""Wait until a process that this one comes from has ended.

A plugin's parent is a process of NNCD that waits for it; that one's parent is NNCD's connector,
whose parent is the application. Whichever of them is killed, the others may go on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

_LEVELS = 3
# Windows has a shell between the plugin and its parent, which outlives the application too.
_LEVELS_ON_WINDOWS = 4


def end_of_one(interval: float) -> Callable[[], None]:
    """Look at the nearest ancestors now, and return what waits until one of them has ended.

    Args:
        interval: Seconds between two looks, where looking is the only way.
    """
    if sys.platform == "win32":
        return _end_on_windows()
    if sys.platform == "linux":
        # A process whose parent ends gets another one, at once.
        before = _line_from_proc()
        return lambda: _wait_while(lambda: _line_from_proc() == before, interval)
    parent = os.getppid()
    others = _line_from_ps(parent)
    return lambda: _wait_while(
        lambda: os.getppid() == parent and all(map(_is_there, others)), interval
    )


def _wait_while(is_so: Callable[[], bool], interval: float) -> None:
    while is_so():
        time.sleep(interval)


def _line_from_proc() -> list[int]:
    """Return the ancestors' numbers, the parent first, without the system's first process."""
    line = [os.getppid()]
    while len(line) < _LEVELS and line[-1] > 1:
        try:
            with open(f"/proc/{line[-1]}/stat", "rb") as file:
                # Behind the name in parentheses: the state, and the parent.
                line.append(int(file.read().rpartition(b")")[2].split()[1]))
        except (OSError, ValueError, IndexError):
            break
    return line


def _line_from_ps(pid: int) -> list[int]:
    """Return the ancestors' numbers of a process, without the system's first process."""
    line = [pid]
    while len(line) < _LEVELS:
        try:
            said = subprocess.run(
                ["ps", "-o", "ppid=", "-p", str(line[-1])],
                capture_output=True,
                check=True,
                timeout=10,
            )
            above = int(said.stdout)
        except (OSError, ValueError, subprocess.SubprocessError):
            break
        if above <= 1:
            break
        line.append(above)
    return line[1:]


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _end_on_windows() -> Callable[[], None]:
    import ctypes
    from ctypes import wintypes

    synchronize, infinite = 0x00100000, 0xFFFFFFFF
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    kernel.OpenProcess.restype = wintypes.HANDLE
    kernel.OpenProcess.argtypes = [wintypes.DWORD, wintypes.BOOL, wintypes.DWORD]
    kernel.WaitForMultipleObjects.restype = wintypes.DWORD
    kernel.WaitForMultipleObjects.argtypes = [
        wintypes.DWORD,
        ctypes.POINTER(wintypes.HANDLE),
        wintypes.BOOL,
        wintypes.DWORD,
    ]
    parents = _parents_on_windows(kernel)
    line = [os.getppid()]
    while len(line) < _LEVELS_ON_WINDOWS and parents.get(line[-1]):
        line.append(parents[line[-1]])
    opened = [kernel.OpenProcess(synchronize, False, pid) for pid in line]
    handles = [handle for handle in opened if handle]
    if not handles:
        return lambda: _wait_while(lambda: True, 3600.0)  # There is nobody to watch.
    array = (wintypes.HANDLE * len(handles))(*handles)
    return lambda: kernel.WaitForMultipleObjects(len(handles), array, False, infinite)


def _parents_on_windows(kernel: Any) -> dict[int, int]:
    """Return every process's parent, by their numbers."""
    import ctypes
    from ctypes import wintypes

    class Entry(ctypes.Structure):
        _fields_ = [
            ("dwSize", wintypes.DWORD),
            ("cntUsage", wintypes.DWORD),
            ("th32ProcessID", wintypes.DWORD),
            ("th32DefaultHeapID", ctypes.c_size_t),
            ("th32ModuleID", wintypes.DWORD),
            ("cntThreads", wintypes.DWORD),
            ("th32ParentProcessID", wintypes.DWORD),
            ("pcPriClassBase", wintypes.LONG),
            ("dwFlags", wintypes.DWORD),
            ("szExeFile", wintypes.WCHAR * 260),
        ]

    kernel.CreateToolhelp32Snapshot.restype = wintypes.HANDLE
    kernel.CreateToolhelp32Snapshot.argtypes = [wintypes.DWORD, wintypes.DWORD]
    for function in (kernel.Process32FirstW, kernel.Process32NextW):
        function.argtypes = [wintypes.HANDLE, ctypes.POINTER(Entry)]
    kernel.CloseHandle.argtypes = [wintypes.HANDLE]
    processes = 0x00000002
    snapshot = kernel.CreateToolhelp32Snapshot(processes, 0)
    entry = Entry(dwSize=ctypes.sizeof(Entry))
    parents = {}
    try:
        more = kernel.Process32FirstW(snapshot, ctypes.byref(entry))
        while more:
            parents[int(entry.th32ProcessID)] = int(entry.th32ParentProcessID)
            more = kernel.Process32NextW(snapshot, ctypes.byref(entry))
    finally:
        kernel.CloseHandle(snapshot)
    return parents
