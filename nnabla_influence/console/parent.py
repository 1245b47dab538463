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

from nnabla_influence.console.ancestors import end_of_one

INTERVAL = 0.5
"""Seconds between two looks at the ancestors."""

PATIENCE = 4.0
"""Seconds that this process has to end in good order; after them it is ended."""


def end_with_parent(clean_up: Callable[[], object]) -> None:
    """Watch the processes that this one comes from, from now on, in a thread.

    Once one is gone, this process gets SIGTERM, by which `tidy_process` unwinds it. Where it is
    within compiled code for too long for that, ``clean_up`` is called, and it is ended.

    Args:
        clean_up: Removes what is not to be left behind.
    """
    # Looked at here, since the thread may begin when one of them is gone already.
    wait = end_of_one(INTERVAL)
    threading.Thread(
        target=_watch, args=(wait, clean_up), name="end with parent", daemon=True
    ).start()


def _watch(wait: Callable[[], None], clean_up: Callable[[], object]) -> None:
    wait()
    main = threading.main_thread().ident
    if sys.platform != "win32" and main is not None:
        signal.pthread_kill(main, signal.SIGTERM)  # also out of what it waits for
    else:
        signal.raise_signal(signal.SIGTERM)
    time.sleep(PATIENCE)
    try:
        clean_up()
    finally:
        os._exit(1)
