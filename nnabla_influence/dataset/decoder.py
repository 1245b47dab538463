"""The second reading of a dataset CSV: its files decoded, its values written to disk."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from nnabla_influence.dataset.records import Record, RecordReader
from nnabla_influence.dataset.scan import Scan, Variable
from nnabla_influence.dataset.store import NotPixelsError, VariableWriter
from nnabla_influence.dataset.values import CellError, CellReader, as_number
from nnabla_influence.errors import DatasetError
from nnabla_influence.progress import Progress

_UPDATE_EVERY = 64
# Below about 100,000 values an image spends its time in Python, where threads wait for each other.
_THREADS_FROM_BYTES = 100_000
_MOST_THREADS = 8

T = TypeVar("T")


def file_name(variable: Variable) -> str:
    """Return the name of the file that holds a variable's values."""
    return f"{variable.columns[0].position}.npy"


def decode(scan: Scan, folder: Path, reader: CellReader, progress: Progress) -> None:
    """Write the values of every variable of a scanned CSV into ``folder``.

    Raises:
        DatasetError: A file cannot be decoded, or a value does not fit.
        OutputError: The disk is full.
    """
    # Labels are compared with the number of classes, so they are made floats at once.
    as_pixels = {v.spec.name for v in scan.variables if v.spec.n_classes is None}
    while True:
        try:
            _decode(scan, folder, reader, progress, as_pixels)
            return
        except NotPixelsError as error:
            as_pixels.remove(str(error))


def _decode(
    scan: Scan, folder: Path, reader: CellReader, progress: Progress, as_pixels: set[str]
) -> None:
    writers = [
        VariableWriter(folder / file_name(variable), variable.spec, len(scan.records))
        for variable in scan.variables
    ]
    csv_reader = RecordReader(scan.path)
    records = (record for i, record in enumerate(csv_reader) if i > 0 and record.cells)

    def values_of(numbered: tuple[int, Record]) -> list[np.ndarray]:
        row, record = numbered
        return [
            _value(scan, v, row, record, reader, v.spec.name in as_pixels) for v in scan.variables
        ]

    with progress.stage(f"Decoding {scan.path.name}", len(scan.records), "rows") as stage:
        row = -1
        for row, values in enumerate(_in_order(values_of, enumerate(records))):
            for variable, writer, value in zip(scan.variables, writers, values):
                _write(scan, variable, row, partial(writer.append, value))
            if row % _UPDATE_EVERY == _UPDATE_EVERY - 1:
                stage.update(_UPDATE_EVERY)
        for variable, writer in zip(scan.variables, writers):
            _write(scan, variable, row, writer.finish)
        stage.update((row + 1) % _UPDATE_EVERY)
    if csv_reader.fingerprint != scan.fingerprint:
        raise DatasetError(f"{scan.path}: changed while it was read; run the command again")


def _value(
    scan: Scan, variable: Variable, row: int, record: Record, reader: CellReader, as_pixels: bool
) -> np.ndarray:
    cells = variable.cells(record)
    try:
        if as_pixels and not variable.is_vector and as_number(cells[0]) is None:
            pixels = reader.pixels(cells[0], variable.spec.shape)
            if pixels is not None:
                # Trusted once the first row gave the loader's own values.
                if row == 0 and not reader.pixels_can_stand_for(cells[0], pixels):
                    raise NotPixelsError(variable.spec.name)
                return pixels
        return reader.value(cells, variable.spec.shape, vector=variable.is_vector)
    except CellError as error:
        raise scan.located(row, variable, error) from error


def _write(scan: Scan, variable: Variable, row: int, write: Callable[[], None]) -> None:
    try:
        write()
    except CellError as error:
        raise scan.located(row, variable, error) from error


def _in_order(
    function: Callable[[T], list[np.ndarray]], items: Iterator[T]
) -> Iterator[list[np.ndarray]]:
    """Yield the results in the order of the items; several threads make large ones."""
    first = next(map(function, items), None)
    if first is None:
        return
    yield first
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    if threads == 1 or max(value.nbytes for value in first) < _THREADS_FROM_BYTES:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[list[np.ndarray]]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
