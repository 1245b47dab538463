"""The row numbers of each mini-batch that an nnabla data iterator returns.

An nnabla ``DataIterator`` draws from a chain of data sources (a memory cache over a file cache over
a CSV, say), each with an order of its own, redrawn at the end of an epoch; the next mini-batch is
drawn ahead of time in a thread. Nothing in its public interface gives the rows of a mini-batch, so
this module, and no other, reads nnabla 1.39's private fields, for exactly the classes that it
names. Of a script's own data sources it reads ``_indexes``, by which those of nnabla's examples
order their rows; everything else is refused. Drawing, shuffling and caching are the same as without
it.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnabla.utils.data_iterator import DataIterator
from nnabla.utils.data_source import (
    DataSource,
    DataSourceWithFileCache,
    DataSourceWithMemoryCache,
    SlicedDataSource,
)
from nnabla.utils.data_source_implements import CacheDataSource, CsvDataSource, SimpleDataSource

from nnabla_influence.errors import UnsupportedError

_INSTEAD = "give the row numbers of each update with recorder.step(rows)"
_ENDED = (
    "the iterator ended an epoch before it was recorded; make the Recorder right after the"
    f" iterator, or {_INSTEAD}"
)


class WatchedIterator:
    """A data iterator that reports the rows of each mini-batch, and otherwise behaves as before.

    Args:
        iterator: An nnabla ``DataIterator``, best as soon as it is made.
        on_batch: Called with the row numbers (int64) before ``next`` returns a mini-batch; with
            the exception if they are no longer known.
        on_data: Called with the row numbers, the names of the data and the data, where the rows
            are known.

    Raises:
        UnsupportedError: The rows of this kind of iterator are unknown, or no longer known.
    """

    def __init__(
        self,
        iterator: Any,
        on_batch: Callable[[np.ndarray | Exception], None],
        on_data: Callable[[np.ndarray, Sequence[str], Any], None] | None = None,
    ):
        if not isinstance(iterator, DataIterator):
            raise UnsupportedError(
                f"the iterator is a {type(iterator).__name__}, not an nnabla DataIterator;"
                f" {_INSTEAD}"
            )
        self._iterator = iterator
        self._on_batch = on_batch
        self._on_data = on_data
        self._batches: deque[np.ndarray] = deque()
        self._failure: Exception | None = None
        if iterator._use_thread:
            iterator._next_thread.join()
        source = iterator._data_source
        row_at = _row_lookup(source)
        if iterator._queue.qsize() and iterator._queue.queue[0][0] is not None:
            self._batches.append(_rows_drawn_last(iterator, row_at))
        self._watch(source, row_at)

    def _watch(self, source: Any, row_at: Callable[[int], int]) -> None:
        draw = source.next
        rows: list[int] = []

        def draw_and_note() -> Any:
            position = source.position
            try:
                rows.append(row_at(position))
            except Exception as error:  # raised in this thread, it would block nnabla
                self._failure = error
            data = draw()
            if data is None:  # nnabla drops the mini-batch and draws another
                rows.clear()
            elif len(rows) == self._iterator.batch_size:
                self._batches.append(np.array(rows, np.int64))
                rows.clear()
            return data

        source.next = draw_and_note

    def next(self) -> Any:
        """Return the next mini-batch, as nnabla's iterator does."""
        data = self._iterator.next()
        rows = self._failure or self._batches.popleft()
        self._on_batch(rows)
        if self._on_data is not None and isinstance(rows, np.ndarray):
            self._on_data(rows, self._iterator.variables, data)
        return data

    __next__ = next

    def __iter__(self) -> WatchedIterator:
        return self

    def __enter__(self) -> WatchedIterator:
        self._iterator.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._iterator.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iterator, name)


def _rows_drawn_last(iterator: Any, row_at: Callable[[int], int]) -> np.ndarray:
    """Return the rows of the mini-batch that was drawn ahead, before it was watched."""
    size, batch_size = iterator.size, iterator.batch_size
    end = iterator._data_source.position
    if end >= batch_size or not _is_shuffled(iterator._data_source):
        positions = [position % size for position in range(end - batch_size, end)]
    elif batch_size == size and end == 0:
        positions = list(range(size))  # The order was redrawn, but the batch is the whole set.
    else:
        raise UnsupportedError(
            "the iterator drew a mini-batch across the end of an epoch before it was recorded; make"
            f" the Recorder right after the iterator, or {_INSTEAD}"
        )
    return np.array([row_at(position) for position in positions], np.int64)


def _is_shuffled(source: Any) -> bool:
    if source.shuffle:
        return True
    if _has_indexes(source) and not np.array_equal(source._indexes, np.arange(source.size)):
        return True
    return hasattr(source, "_data_source") and _is_shuffled(source._data_source)


def _row_lookup(source: Any) -> Callable[[int], int]:
    """Return the function from a position to its row, valid at the time of the call."""
    kind = type(source)
    if kind is CsvDataSource:
        return lambda position: source.order[position]
    if kind is SimpleDataSource:
        return lambda position: _order_of_simple(source, source._generation)[position]
    if kind is SlicedDataSource and type(source._data_source) is SimpleDataSource:
        return lambda position: _order_of_simple(source._data_source, source._generation)[
            source._slice_start + position
        ]
    if kind is SlicedDataSource and type(source._data_source) is CsvDataSource:
        if source._data_source.shuffle:
            raise UnsupportedError(
                "the iterator is a slice of a shuffled CSV, which other slices shuffle again; make"
                f" a CSV of the slice, or {_INSTEAD}"
            )
        return lambda position: source._slice_start + position
    if kind is DataSourceWithFileCache:
        stored = _first_order(source)
        return lambda position: stored[source.order[position]]
    if kind is CacheDataSource:
        rows = _read_order(Path(source._cachedir), source.size)
        row_of_entry = dict(zip(source._original_order, rows))
        return lambda position: row_of_entry[source.order[position]]
    if kind is DataSourceWithMemoryCache:
        if not source._on_memory:
            return _row_lookup(source._data_source)
        if _has_indexes(source._data_source) and _is_shuffled(source) and source._generation >= 0:
            raise UnsupportedError(_ENDED)  # What was kept in the first epoch had another order.
        kept = _first_order(source._data_source)
        return lambda position: kept[source.order[position]]
    if _has_indexes(source):
        return _lookup_by_indexes(source)
    raise UnsupportedError(
        f"the iterator draws from a {_chain(source)}, whose rows are unknown; {_INSTEAD}"
    )


def _first_order(source: Any) -> list[int]:
    """Return the rows in the order in which the cache above a source received them."""
    if type(source) is DataSourceWithFileCache:
        below = source._data_source
        if type(below) is CsvDataSource:
            # The CSV's own order is redrawn in every epoch, the cache keeps its first.
            return _read_order(Path(source._cache_dir), source.size)
        if _has_indexes(below) and _is_shuffled(below):
            raise UnsupportedError(
                f"the iterator draws from a {_chain(source)}, which was filled in an unknown order;"
                f" remove the file cache (with_file_cache=False), or {_INSTEAD}"
            )
        return _first_order(below)
    if source.shuffle and source._generation > 0:
        raise UnsupportedError(_ENDED)
    row_at = _row_lookup(source)
    return [row_at(position) for position in range(source.size)]


def _has_indexes(source: Any) -> bool:
    """Return whether a source is a script's own, ordered as those of nnabla's examples.

    Its ``_get_data(position)`` returns row ``_indexes[position]``. nnabla's own class with such a
    field draws from other sources.
    """
    code = getattr(getattr(type(source), "_get_data", None), "__code__", None)
    return (
        isinstance(source, DataSource)
        and hasattr(source, "_indexes")
        and code is not None
        and "_indexes" in code.co_names
        and not hasattr(source, "_data_source")
        and not type(source).__module__.startswith("nnabla.")
    )


def _lookup_by_indexes(source: Any) -> Callable[[int], int]:
    checked: Any = None

    def row_at(position: int) -> int:
        nonlocal checked
        if checked is not source._indexes:  # drawn anew, at the end of an epoch
            if not np.array_equal(np.sort(source._indexes), np.arange(source.size)):
                raise UnsupportedError(
                    f"the iterator draws from a {type(source).__name__}, whose _indexes are not the"
                    f" row numbers from 0 to {source.size - 1}, each once; {_INSTEAD}"
                )
            checked = source._indexes
        return int(checked[position])

    row_at(0)
    return row_at


def _order_of_simple(source: Any, generation: int) -> Any:
    return next(drawn.order for drawn in source._orders if drawn.generation == generation)


def _read_order(cache: Path, size: int) -> list[int]:
    """Read ``order.csv`` of a cache folder: at each line, the CSV row of that cache position."""
    path = cache / "order.csv"
    try:
        with path.open(newline="") as file:
            lines = [(int(position), int(row)) for position, row in csv.reader(file)]
        rows = [row for _, row in lines]
        if [position for position, _ in lines] != [*range(size)] or set(rows) != {*range(size)}:
            raise ValueError(f"it does not fit the cache of {size} rows")
    except (OSError, ValueError) as error:
        raise UnsupportedError(
            f"{path}: the rows of the cache are unknown ({error}); remove the cache, or {_INSTEAD}"
        ) from error
    return rows


def _chain(source: Any) -> str:
    name = type(source).__name__
    if not hasattr(source, "_data_source"):
        return name
    return f"{name} over a {_chain(source._data_source)}"
