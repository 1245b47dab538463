"""End this process when another one has ended: its parent, or the application above that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

INTERVAL = 0.5
"""Seconds between two looks at the ancestors, where only looking helps."""

PATIENCE = 4.0
"""Seconds that this process has to unwind; after them it is ended."""

_LEVELS = 3
# Windows has a shell between the plugin and its parent, which outlives the application too.
_LEVELS_ON_WINDOWS = 4

_REMOVE = "import shutil, sys; sys.stdin.read(); [shutil.rmtree(f, True) for f in sys.argv[1:]]"


def end_with_pipe(remove: Sequence[str] = ()) -> None:
    """End this process when its standard input, a pipe from its parent, closes.

    The system closes the pipe when the parent ends, however it ends.

    Args:
        remove: Folders to remove then, since the parent no longer can.
    """
    threading.Thread(target=_end_with_pipe, args=(remove,), daemon=True).start()


def _end_with_pipe(remove: Sequence[str]) -> None:
    while os.read(0, 4096):  # not by sys.stdin, whose lock must be free where Python ends
        pass
    if remove:
        # This process writes into the folders until it ends, so another one removes them after
        # that: its standard input closes then.
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _REMOVE, *remove],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    os._exit(1)


def end_with_application(clean_up: Callable[[], object]) -> None:
    """End this process when an application that started it, through others, has ended.

    NNCD has no button to stop a plugin, and a plugin continues for hours when NNCD is closed. Its
    parent is a process of NNCD that waits for it; the parent of that one is NNCD's connector, whose
    parent is the application. Whichever of them is killed, the others may continue.

    Once one has ended, this process gets SIGTERM, which `tidy_process` turns into an exception.
    If compiled code keeps it from unwinding, ``clean_up`` is called and the process is ended.

    Args:
        clean_up: Removes unfinished files.
    """
    # The ancestors are read here, since one may have ended before the thread starts.
    wait = _end_of_an_ancestor()
    threading.Thread(target=_end_after, args=(wait, clean_up), daemon=True).start()


def _end_after(wait: Callable[[], None], clean_up: Callable[[], object]) -> None:
    wait()
    main = threading.main_thread().ident
    if sys.platform != "win32" and main is not None:
        signal.pthread_kill(main, signal.SIGTERM)  # interrupts what it waits for
    else:
        signal.raise_signal(signal.SIGTERM)
    time.sleep(PATIENCE)
    try:
        clean_up()
    finally:
        os._exit(1)


def _end_of_an_ancestor() -> Callable[[], None]:
    """Read the nearest ancestors now, and return a function that waits until one has ended."""
    if sys.platform == "win32":
        return _end_on_windows()
    before = _ancestors()

    def wait() -> None:
        while _ancestors() == before:  # a process whose parent ends gets another one at once
            time.sleep(INTERVAL)

    return wait


def _ancestors() -> list[int]:
    """Return the ancestors' process ids, the parent first; without /proc the parent's only."""
    line = [os.getppid()]
    while len(line) < _LEVELS and line[-1] > 1:
        try:
            with open(f"/proc/{line[-1]}/stat", "rb") as file:
                # After the name in parentheses: the state, and the parent.
                line.append(int(file.read().rpartition(b")")[2].split()[1]))
        except (OSError, ValueError, IndexError):
            break
    return line


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
        return lambda: time.sleep(threading.TIMEOUT_MAX)  # there is no ancestor to watch
    array = (wintypes.HANDLE * len(handles))(*handles)
    return lambda: kernel.WaitForMultipleObjects(len(handles), array, False, infinite)


def _parents_on_windows(kernel: Any) -> dict[int, int]:
    """Return the parent of each process, by process id."""
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
