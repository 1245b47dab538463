"""Threads for NumPy's work, which lets go of Python's lock.

The matrix library has threads of its own. Here each product uses one, so that no sum depends on how
many there are, and the parts of a large function are shared by as many threads as there are cores.
Without the package threadpoolctl (of the extra curves), the library's own threads are used.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
R = TypeVar("R")


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let each matrix product use one thread while the block runs."""
    blas = _blas()
    # Not its own `limit`, which takes longer than a product of a small network.
    before = [] if blas is None else [(each, each.num_threads) for each in blas.lib_controllers]
    many = [(each, n) for each, n in before if n != 1]
    for each, _ in many:
        each.set_num_threads(1)
    try:
        yield
    finally:
        for each, n in many:
            each.set_num_threads(n)


_ADDED = 100_000
"""Values at a time."""

WORTH_SHARING = 10_000_000
"""Products of numbers; fewer are done sooner than shared."""


def for_each(
    function: Callable[[T], None], items: Sequence[T], products: int = WORTH_SHARING
) -> None:
    """Call a function for each item, in threads where it is worth it; within `one_blas_thread`."""
    shared = len(items) > 1 and products >= WORTH_SHARING and not getattr(_own, "alone", False)
    pool = _pool() if shared else None
    if pool is None:
        for item in items:
            function(item)
    else:
        list(pool.map(function, items))  # which raises what a call raises


def add_to(out: np.ndarray, other: np.ndarray) -> None:
    """Add another array, which may have to be broadcast, in place; in threads as `for_each`."""
    if out.size < 2 * _ADDED:
        out += other
        return
    other, n = np.broadcast_to(other, out.shape), max(1, _ADDED * len(out) // out.size)

    def block(start: int) -> None:
        out[start : start + n] += other[start : start + n]

    for_each(block, range(0, len(out), n))


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield what a function returns for each item, in order, as many at a time as threads.

    What it calls uses no further threads, and does not warn of numbers that are not finite.
    """
    pool, remaining = _pool(), iter(items)

    def alone(item: T) -> R:
        _own.alone = True
        try:
            with np.errstate(all="ignore"):  # each thread has its own
                return function(item)
        finally:
            _own.alone = False

    while some := list(itertools.islice(remaining, n_threads() if pool else 1)):
        if pool is None or len(some) == 1:
            yield from map(function, some)
        else:
            yield from pool.map(alone, some)


def scratch(use: str, shape: Sequence[int], dtype: np.dtype[Any]) -> np.ndarray:
    """Return an array of this thread's own, of any values, until the next one for the same use.

    New memory would cost as much as the work on it.
    """
    size = math.prod(shape) * dtype.itemsize
    kept = getattr(_own, use, None)
    if kept is None or kept.nbytes < size:
        kept = np.empty(size, np.uint8)
        setattr(_own, use, kept)
    return kept[:size].view(dtype).reshape(shape)


_own = threading.local()


@functools.cache
def _blas() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController().select(user_api="blas")


@functools.cache
def _pool() -> ThreadPoolExecutor | None:
    n = n_threads()
    return ThreadPoolExecutor(n) if n > 1 and _blas() is not None else None


def n_threads() -> int:
    """Return how many threads to use: OMP_NUM_THREADS, else one for each core."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
