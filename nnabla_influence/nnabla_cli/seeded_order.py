"""The order of the mini-batches of a training that has a seed of its own."""

from __future__ import annotations

import itertools
from typing import Optional

import numpy as np

from nnabla_influence.definition import Definition
from nnabla_influence.errors import RunError
from nnabla_influence.nnabla_cli.order import cut, updates_of_last_epochs
from nnabla_influence.runs.steps import Step


def seeded_steps(
    definition: Definition, n_rows: int, *, seed: int, batch_size: Optional[int] = None
) -> tuple[Step, ...]:
    """Return all steps of a training like nnabla_cli's, in the order of a seed.

    Each epoch has a permutation of its own of all rows, or the rows as they are where the
    definition does not shuffle. They are cut as nnabla_cli does: end to end into full mini-batches.

    Args:
        definition: Of the training.
        n_rows: Rows of its training data set.
        seed: Of the permutations, from 0.
        batch_size: In place of the definition's. An epoch then has ``n_rows // batch_size``
            mini-batches, at least one, and each the learning rate that the definition has where
            as large a part of the epoch is done.

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
    interval = definition.solver.update_interval
    if definition.max_epoch * iter_per_epoch < interval:
        raise RunError(
            f"{definition.path}: trains too little for one update (max_epoch"
            f" {definition.max_epoch}, iter_per_epoch {iter_per_epoch}, update_interval"
            f" {interval}); raise max_epoch"
        )
    rng = np.random.default_rng(seed)
    shuffle = settings is None or settings.shuffle
    rows = np.arange(n_rows)
    orders = (rng.permutation(n_rows) if shuffle else rows for _ in itertools.count())

    def learning_rate(iteration: int) -> float:
        kept = size == defined_size or not defined
        same_part = iteration if kept else iteration * defined // iter_per_epoch
        return definition.learning_rate(same_part)

    return updates_of_last_epochs(
        lambda first: cut(orders, n_rows, size, first),
        definition,
        iter_per_epoch,
        definition.max_epoch,
        learning_rate,
    )
