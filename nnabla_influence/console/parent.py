"""End this process when the application that started it is gone.

NNCD has no button to stop a plugin, and a plugin that it started goes on when the application is
closed: for hours, with nobody to look at its result.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

INTERVAL = 0.5
"""Seconds between two looks at the parent."""

PATIENCE = 4.0
"""Seconds that this process has to end in good order; after them it is ended."""


def end_with_parent(clean_up: Callable[[], None]) -> None:
    """Watch the parent from now on, in a thread.

    Once it is gone, this process gets SIGTERM, by which `tidy_process` unwinds it. Where it is
    within compiled code for too long for that, ``clean_up`` is called, and it is ended.

    Args:
        clean_up: Removes what is not to be left behind.
    """
    parent = os.getppid()

    def watch() -> None:
        if sys.platform == "win32":
            _wait_for_ancestors()
        else:
            while os.getppid() == parent:
                time.sleep(INTERVAL)
        _terminate()
        time.sleep(PATIENCE)
        try:
            clean_up()
        finally:
            os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def _terminate() -> None:
    main = threading.main_thread().ident
    if sys.platform != "win32" and main is not None:
        signal.pthread_kill(main, signal.SIGTERM)  # also out of what it waits for
    else:
        signal.raise_signal(signal.SIGTERM)


def _wait_for_ancestors() -> None:
    """Wait, on Windows, until the parent or its parent has ended.

    NNCD calls through a shell there, which outlives the application.
    """
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
    parent = os.getppid()
    pids = [parent, *_parents_of(parent, kernel)]
    opened = [kernel.OpenProcess(synchronize, False, pid) for pid in pids]
    handles = [handle for handle in opened if handle]
    if handles:
        array = (wintypes.HANDLE * len(handles))(*handles)
        kernel.WaitForMultipleObjects(len(handles), array, False, infinite)
    else:
        threading.Event().wait()  # nobody to watch


def _parents_of(pid: int, kernel: Any) -> list[int]:
    """Return the parent's number of a process on Windows, if it can be told."""
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
    try:
        more = kernel.Process32FirstW(snapshot, ctypes.byref(entry))
        while more:
            if entry.th32ProcessID == pid:
                return [entry.th32ParentProcessID]
            more = kernel.Process32NextW(snapshot, ctypes.byref(entry))
    finally:
        kernel.CloseHandle(snapshot)
    return []
