"""The order of the mini-batches of a training that was not recorded.

`nnabla_cli` draws its mini-batches from seeds that it never changes, so the order of an unrecorded
training can be told from its definition and the number of rows. What was found by watching nnabla
1.39, and is tested against it:

- The rows are shuffled once, from ``RandomState(i)`` for the i-th dataset of the definition, when
  its cache is made. Data that fit nnabla's memory cache come in this order in the first epoch and
  again in the second, and from the third on in permutations of it from ``RandomState(313)``.
- Larger data come from the cache's files of 100 rows: from the first epoch on, the files and the
  rows within each file are permuted, from ``RandomState(313)`` too.
- A mini-batch that reaches the end of the data goes on in the next epoch's order.

This holds for one process that trained from the first epoch to the last without being resumed.
"""

from __future__ import annotations

import csv
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

import numpy as np
from nnabla.config import nnabla_config
from nnabla.utils.data_source_implements import CsvDataSource

from nnabla_influence.dataset import check_files
from nnabla_influence.definition import DatasetSettings, Definition
from nnabla_influence.errors import RunError, UnsupportedError
from nnabla_influence.file_safety import ADVICE, raised
from nnabla_influence.nnabla_cli.caches import cached_order
from nnabla_influence.runs.steps import Step

_LATER_EPOCHS_SEED = 313
"""nnabla's seed wherever it is given none."""

# Half a minute, and some GB: more than any training that somebody waited for.
_MOST_DRAWN, _OF_ONE_ORDER = 10**9, 300  # row numbers; what a permutation of none takes beside them
_MOST_STEPS = 10**7


def nnabla_cli_steps(
    definition: Definition,
    n_rows: int,
    *,
    epochs: Optional[int] = None,
    csv: Optional[Path] = None,
) -> tuple[Step, ...]:
    """Return the last steps of an unrecorded training, as ``nnabla_cli train`` draws them.

    Args:
        definition: Of the training.
        n_rows: Rows of its training data set.
        epochs: How many, counted from the end; None for all.
        csv: Where its CSV lies now, beside which the cache may lie; None for where it was.

    Raises:
        RunError: The definition trains nothing, or fewer epochs.
        UnsupportedError: The order cannot be told for certain; the message says why.
    """
    settings = definition.training
    if settings is None:
        raise RunError(f"{definition.path}: names no training dataset")
    iter_per_epoch = definition.proto.training_config.iter_per_epoch
    n_iterations = definition.max_epoch * iter_per_epoch
    if not n_iterations or not settings.batch_size:
        raise RunError(
            f"{definition.path}: trains no iteration (max_epoch {definition.max_epoch},"
            f" iter_per_epoch {iter_per_epoch}, batch_size {settings.batch_size})"
        )
    window = _checked_epochs(definition, epochs)
    n_drawn = n_iterations * settings.batch_size
    if n_drawn + _OF_ONE_ORDER * (n_drawn // n_rows) > raised(_MOST_DRAWN):
        raise RunError(
            f"{definition.path}: trains {definition.max_epoch:,} epochs of {iter_per_epoch:,}"
            f" mini-batches, too many to draw their order again; {ADVICE}"
        )
    return updates_of_last_epochs(
        lambda first: cut(
            _orders(definition, settings, n_rows, csv), n_rows, settings.batch_size, first
        ),
        definition,
        iter_per_epoch,
        window,
    )


def shuffled_steps(
    definition: Definition,
    n_rows: int,
    *,
    seed: int,
    epochs: Optional[int] = None,
    batch_size: Optional[int] = None,
) -> tuple[Step, ...]:
    """Return the last steps of a training in an order that is drawn afresh.

    Each epoch visits every row once, in floor(n_rows / batch_size) mini-batches (as nnabla_cli
    counts an epoch) whose sizes differ by one at most; so no row is left out of a trial, and none
    weighs more than another.

    Args:
        definition: Of the training; gives max_epoch, learning rates and update interval.
        n_rows: Rows of its training data set.
        seed: Of the shuffles.
        epochs: How many, counted from the end; None for all.
        batch_size: In place of the definition's.

    Raises:
        RunError: The definition trains fewer epochs, or names no batch size.
    """
    size = batch_size or (definition.training.batch_size if definition.training else 0)
    if not size:
        raise RunError(f"{definition.path}: names no batch size; give it with -bs")
    window = _checked_epochs(definition, epochs)
    iter_per_epoch = max(n_rows // size, 1)
    rng = np.random.default_rng(seed)

    def batches(first: int) -> Iterator[np.ndarray]:
        while True:
            epoch = np.array_split(rng.permutation(n_rows), iter_per_epoch)
            yield from epoch[first % iter_per_epoch :]
            first = 0

    return updates_of_last_epochs(batches, definition, iter_per_epoch, window)


def _checked_epochs(definition: Definition, epochs: Optional[int]) -> int:
    if epochs is None:
        epochs = definition.max_epoch
    if not 1 <= epochs <= definition.max_epoch:
        raise RunError(
            f"{definition.path}: a window of {epochs} epochs was asked for, but the definition"
            f" trains {definition.max_epoch}; ask for fewer"
        )
    return epochs


def updates_of_last_epochs(
    batches_from: Callable[[int], Iterator[np.ndarray]],
    definition: Definition,
    iter_per_epoch: int,
    epochs: int,
    learning_rate: Optional[Callable[[int], float]] = None,
) -> tuple[Step, ...]:
    """Return the updates of the last epochs; ``batches_from`` an iteration on come mini-batches.

    An update comes after each full interval and belongs to the epoch of its last iteration, whose
    learning rate it uses (the definition's, if no other is given); an interval that the training
    ends in is never used.

    Raises:
        RunError: They are too many.
    """
    interval = definition.solver.update_interval
    learning_rate = learning_rate or definition.learning_rate
    n_steps = epochs * iter_per_epoch // interval
    if n_steps > raised(_MOST_STEPS):
        raise RunError(
            f"{definition.path}: trains {n_steps:,} steps, too many to be traced; {ADVICE}"
        )
    first_epoch = definition.max_epoch - epochs
    first = first_epoch * iter_per_epoch
    first -= first % interval  # An update may sum gradients of the epoch before.
    batches = batches_from(first)
    steps = []
    for start in range(first, definition.max_epoch * iter_per_epoch - interval + 1, interval):
        last = start + interval - 1
        group = tuple(itertools.islice(batches, interval))
        rate = learning_rate(last)
        steps.append(Step(start // interval, last // iter_per_epoch, rate, group))
    return tuple(step for step in steps if step.epoch >= first_epoch)


def cut(
    orders: Iterator[np.ndarray], n_rows: int, batch_size: int, first: int
) -> Iterator[np.ndarray]:
    """Cut the epochs' orders, end to end, into mini-batches, from the ``first`` one on."""
    skipped, offset = divmod(first * batch_size, n_rows)
    orders = itertools.islice(orders, skipped, None)
    rest = next(orders)[offset:]
    while True:
        while len(rest) < batch_size:
            rest = np.concatenate([rest, next(orders)])
        yield rest[:batch_size]
        rest = rest[batch_size:]


def _orders(
    definition: Definition, settings: DatasetSettings, n_rows: int, csv: Optional[Path]
) -> Iterator[np.ndarray]:
    """Yield the rows in the order of each epoch."""
    seed = np.random.RandomState(settings.index)
    stored = seed.permutation(n_rows) if settings.shuffle else np.arange(n_rows)
    cached = cached_order(definition, settings, n_rows, csv or settings.path)
    fits = _fits_memory(definition, settings, n_rows)
    if cached is not None:
        if not fits and settings.shuffle:
            raise UnsupportedError(
                f"dataset {settings.name!r} is read from the cache {settings.cache_dir} and too"
                " large for nnabla's memory cache, so its order depends on what else was read"
            )
        stored = cached
    if not settings.shuffle:
        return itertools.repeat(stored)
    return _orders_from_memory(stored) if fits else _orders_from_files(stored)


def _orders_from_memory(stored: np.ndarray) -> Iterator[np.ndarray]:
    yield stored
    yield stored
    rng = np.random.RandomState(_LATER_EPOCHS_SEED)
    while True:
        yield stored[rng.permutation(len(stored))]


def _orders_from_files(stored: np.ndarray) -> Iterator[np.ndarray]:
    size = int(nnabla_config.get("DATA_ITERATOR", "data_source_file_cache_size"))
    files = [stored[start : start + size] for start in range(0, len(stored), size)]
    order = np.arange(len(files))
    rng = np.random.RandomState(_LATER_EPOCHS_SEED)
    while True:
        order = rng.permutation(order)
        files = [rng.permutation(file) for file in files]
        yield np.concatenate([files[i] for i in order])


def _fits_memory(definition: Definition, settings: DatasetSettings, n_rows: int) -> bool:
    """Whether nnabla keeps the data in memory, which it tells from the size of one row."""
    limit = int(nnabla_config.get("DATA_ITERATOR", "data_source_buffer_max_size"))
    if settings.path.is_file():
        row_bytes = _row_bytes(settings.path, settings.normalize)
    else:
        # The CSV has gone; it has the network's inputs at least.
        row_bytes = sum(4 * int(np.prod(entry.shape)) for entry in definition.inputs)
    return row_bytes * n_rows < limit


def _row_bytes(path: Path, normalize: bool) -> int:
    """Let nnabla decode the first row, from a CSV of its own so that not the whole is read."""
    check_files(Path(os.path.abspath(path)), n_rows=1)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, cells = itertools.islice(csv.reader(file), 2)
        folder = os.path.abspath(path.parent)
        cells = [
            cell if _is_number(cell) else os.path.join(folder, cell.replace("\\", "/"))
            for cell in cells
        ]
        with tempfile.TemporaryDirectory() as temporary:
            copy = os.path.join(temporary, "row.csv")
            with open(copy, "w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([header, cells])
            with CsvDataSource(copy, normalize=normalize) as source:
                values = source.next()
    except Exception as error:  # nnabla's loaders raise what they like.
        raise UnsupportedError(
            f"the first row of {path} cannot be decoded to tell whether nnabla keeps the data in"
            f" memory ({' '.join(str(error).split())})"
        ) from error
    return sum(
        np.asarray(value, np.float32 if isinstance(value, list) else None).nbytes
        for value in values
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
