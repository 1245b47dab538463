"""A Dask cluster as a user starts it."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping

from tests.small_projects import REPOSITORY, environment


@contextlib.contextmanager
def dask_scheduler(
    variables: Mapping[str, str] | None = None, protocol: str = "tcp"
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Yield the address and the process of a scheduler without workers."""
    words = f"scheduler --host 127.0.0.1 --port 0 --protocol {protocol} --no-dashboard --no-show"
    with dask(words, **(variables or {})) as process:
        for line in process.stderr:
            if found := re.search(rf"Scheduler at:\s+({protocol}://\S+)", line):
                yield found.group(1), process
                break


@contextlib.contextmanager
def dask(words: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "dask", *words.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(PYTHONPATH=str(REPOSITORY), **variables),
    ) as process:
        try:
            yield process
        finally:
            process.kill()
