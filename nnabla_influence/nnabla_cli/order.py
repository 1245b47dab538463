"""The order of the mini-batches of a training: nnabla_cli's own, or one of a seed.

`nnabla_cli` draws its mini-batches from fixed seeds, so the order of an unrecorded training follows
from its definition and the number of rows. Found by watching nnabla 1.39, and tested against it:

- The rows are shuffled once, from ``RandomState(i)`` for the i-th dataset of the definition, when
  its cache is made. Data that fit nnabla's memory cache come in this order in the first epoch and
  again in the second, and from the third on in permutations of it from ``RandomState(313)``.
- Larger data come from the cache's files of 100 rows: from the first epoch on, the files and the
  rows within each file are permuted, from ``RandomState(313)`` too.
- A mini-batch that reaches the end of the data continues in the next epoch's order.

This holds for one process that trained from the first epoch to the last without being resumed.
"""

from __future__ import annotations

import csv
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from nnabla.config import nnabla_config
from nnabla.utils.data_source_implements import CsvDataSource

from nnabla_influence.dataset.values import is_number
from nnabla_influence.definition import DatasetSettings, Definition
from nnabla_influence.errors import RunError, UnsupportedError
from nnabla_influence.file_safety import ADVICE, raised
from nnabla_influence.nnabla_cli.caches import cached_order
from nnabla_influence.nnabla_cli.unsafe_inputs import check_files
from nnabla_influence.runs.steps import Step
from nnabla_influence.text import cause_text

_LATER_EPOCHS_SEED = 313
"""nnabla's default seed."""

# Half a minute, and some GB: more than any real training needs.
_MOST_DRAWN, _OF_ONE_ORDER = 10**9, 300  # row numbers; the cost of a permutation beside them
_MOST_STEPS = 10**7


def nnabla_cli_steps(
    definition: Definition,
    n_rows: int,
    *,
    epochs: int | None = None,
    csv: Path | None = None,
) -> tuple[Step, ...]:
    """Return the last steps of an unrecorded training, as ``nnabla_cli train`` draws them.

    Args:
        definition: Of the training.
        n_rows: Rows of its training dataset.
        epochs: How many, counted from the end; None for all.
        csv: The current path of its CSV, beside which the cache may lie; None for the
            definition's.

    Raises:
        RunError: The definition trains nothing, or fewer epochs.
        UnsupportedError: The order is not certain; the message says why.
    """
    settings = definition.training
    if settings is None:
        raise RunError(f"{definition.path}: names no training dataset")
    iter_per_epoch = definition.proto.training_config.iter_per_epoch
    size, n_iterations = settings.batch_size, definition.max_epoch * iter_per_epoch
    if not n_iterations or not size:
        raise RunError(
            f"{definition.path}: trains no iteration (max_epoch {definition.max_epoch},"
            f" iter_per_epoch {iter_per_epoch}, batch_size {size})"
        )
    window = _checked_epochs(definition, epochs)
    n_drawn = n_iterations * size
    if n_drawn + _OF_ONE_ORDER * (n_drawn // n_rows) > raised(_MOST_DRAWN):
        raise RunError(
            f"{definition.path}: trains {n_iterations:,} mini-batches, too many to reproduce"
            f" their order; {ADVICE}"
        )
    orders = _orders(definition, settings, n_rows, csv)
    return _updates_of_last_epochs(
        lambda first: _cut(orders, n_rows, size, first), definition, iter_per_epoch, window
    )


def shuffled_steps(
    definition: Definition,
    n_rows: int,
    *,
    seed: int,
    epochs: int | None = None,
    batch_size: int | None = None,
) -> tuple[Step, ...]:
    """Return the last steps of a training in a newly drawn order.

    Each epoch visits every row once, in floor(n_rows / batch_size) mini-batches (as nnabla_cli
    counts an epoch) whose sizes differ by one at most: every row counts the same in a trial.

    Args:
        definition: Of the training; gives max_epoch, learning rates and update interval.
        n_rows: Rows of its training dataset.
        seed: The seed of the shuffles.
        epochs: How many, counted from the end; None for all.
        batch_size: Replaces the definition's.

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

    return _updates_of_last_epochs(batches, definition, iter_per_epoch, window)


def seeded_steps(
    definition: Definition,
    n_rows: int,
    *,
    seed: int,
    batch_size: int | None = None,
    defined_rows: int | None = None,
) -> tuple[Step, ...]:
    """Return all steps of a training like nnabla_cli's, in the order of a seed.

    Each epoch has its own permutation of all rows, or the rows in order where the definition does
    not shuffle. As in nnabla_cli, they are cut end to end into full mini-batches.

    Args:
        definition: Of the training.
        n_rows: Rows of its training dataset.
        seed: The seed of the permutations, from 0.
        batch_size: Replaces the definition's. An epoch then has ``n_rows // batch_size``
            mini-batches, at least one, each with the definition's learning rate at the same
            fraction of the epoch.
        defined_rows: The rows that the definition's iterations per epoch are for, if others than
            ``n_rows``; an epoch of fewer rows has fewer mini-batches, likewise.

    Raises:
        RunError: The definition trains nothing, or names no batch size.
    """
    settings = definition.training
    defined_size = 0 if settings is None else settings.batch_size
    defined = definition.proto.training_config.iter_per_epoch
    size, iter_per_epoch = batch_size or defined_size, defined
    if not size:
        raise RunError(f"{definition.path}: names no batch size; give one")
    if size != defined_size:
        iter_per_epoch = max(n_rows // size, 1)
    elif defined_rows is not None:
        whole = max(defined_rows // size, 1)
        iter_per_epoch = max(defined * (n_rows // size) // whole, 1)
    interval = definition.solver.update_interval
    if definition.max_epoch * iter_per_epoch < interval:
        raise RunError(
            f"{definition.path}: trains too little for one update (max_epoch"
            f" {definition.max_epoch}, iter_per_epoch {iter_per_epoch}, update_interval"
            f" {interval}); raise max_epoch"
        )
    rng = np.random.default_rng(seed)
    shuffle = settings is None or settings.shuffle
    orders = (rng.permutation(n_rows) if shuffle else np.arange(n_rows) for _ in itertools.count())

    def learning_rate(iteration: int) -> float:
        if iter_per_epoch != defined and defined:  # the same fraction of the epoch
            iteration = iteration * defined // iter_per_epoch
        return definition.learning_rate(iteration)

    return _updates_of_last_epochs(
        lambda first: _cut(orders, n_rows, size, first),
        definition,
        iter_per_epoch,
        definition.max_epoch,
        learning_rate,
    )


def _checked_epochs(definition: Definition, epochs: int | None) -> int:
    if epochs is None:
        epochs = definition.max_epoch
    if not 1 <= epochs <= definition.max_epoch:
        raise RunError(
            f"{definition.path}: a window of {epochs} epochs is not within the"
            f" {definition.max_epoch} that it trains"
        )
    return epochs


def _updates_of_last_epochs(
    batches_from: Callable[[int], Iterator[np.ndarray]],
    definition: Definition,
    iter_per_epoch: int,
    epochs: int,
    learning_rate: Callable[[int], float] | None = None,
) -> tuple[Step, ...]:
    """Return the updates of the last epochs; ``batches_from(i)`` yields those from iteration i on.

    An update comes after each full interval and belongs to the epoch of its last iteration, whose
    learning rate it uses (the definition's by default); an unfinished interval is not used.

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


def _cut(
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
    definition: Definition, settings: DatasetSettings, n_rows: int, csv: Path | None
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
    """Return whether nnabla keeps the data in memory, by the size of one row."""
    limit = int(nnabla_config.get("DATA_ITERATOR", "data_source_buffer_max_size"))
    if settings.path.is_file():
        row_bytes = _row_bytes(settings.path, settings.normalize)
    else:
        # The CSV was removed; it had the network's inputs at least.
        row_bytes = sum(4 * int(np.prod(entry.shape)) for entry in definition.inputs)
    return row_bytes * n_rows < limit


def _row_bytes(path: Path, normalize: bool) -> int:
    """Let nnabla decode the first row, from a CSV of one row so that it does not read the whole."""
    path = Path(os.path.abspath(path))
    check_files(path, n_rows=1)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, cells = itertools.islice(csv.reader(file), 2)
        cells = [c if is_number(c) else str(path.parent / c.replace("\\", "/")) for c in cells]
        with tempfile.TemporaryDirectory() as temporary:
            copy = os.path.join(temporary, "row.csv")
            with open(copy, "w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([header, cells])
            with CsvDataSource(copy, normalize=normalize) as source:
                values = source.next()
    except Exception as error:  # nnabla's loaders raise anything
        raise UnsupportedError(
            f"{path}: the first row cannot be decoded ({cause_text(error)}), so it is"
            " unknown whether nnabla keeps the data in memory"
        ) from error
    return sum(
        np.asarray(value, np.float32 if isinstance(value, list) else None).nbytes
        for value in values
    )
