"""Statistics of the first mini-batch of a training, to compare with the scored CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnabla_influence.errors import RunError

_MOST_ROWS = 64
_TOLERANCE = 1e-4
"""Relative: rounding and another way to divide by 255 differ by 1e-7, another scale by far more."""


@dataclass(frozen=True)
class FedInput:
    """One array of a mini-batch.

    Attributes:
        name: Its name in the data iterator; often a column of the CSV.
        size: Values of one row.
        mean: Of each row's values.
        spread: The standard deviation of each row's values.
        order: A weighted mean of each row's values, which depends on their order.
    """

    name: str
    size: int
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    order: tuple[float, ...]


@dataclass(frozen=True)
class FedBatch:
    """The first rows of a mini-batch, and statistics of their inputs."""

    rows: tuple[int, ...]
    inputs: tuple[FedInput, ...]


def fed_batch(rows: np.ndarray, names: Sequence[str], data: Any) -> FedBatch | None:
    """Return statistics of a mini-batch; None unless it is one array of numbers for each name."""
    if not isinstance(data, (tuple, list)) or len(names) != len(data):
        return None
    inputs = []
    for name, values in zip(names, data):
        array = np.asarray(values)
        if array.dtype.kind not in "fiub" or array.shape[:1] != (len(rows),):
            return None
        if array.size and np.isfinite(array).all():
            inputs.append(_fed_input(str(name), array[:_MOST_ROWS]))
    return FedBatch(tuple(int(row) for row in rows[:_MOST_ROWS]), tuple(inputs))


def describe_other_values(fed: FedInput, values: np.ndarray) -> str | None:
    """Return in words how the CSV's values differ from those that were fed; None if they agree.

    Args:
        fed: The statistics of what was fed.
        values: The CSV's values of the same rows, of as many values each.
    """
    current = _fed_input(fed.name, values)
    was, now = (np.array([i.mean, i.spread, i.order]) for i in (fed, current))
    if _near(was, now):
        return None
    factor = float(was.ravel() @ now.ravel() / max(now.ravel() @ now.ravel(), 1e-30))
    if _near(was, factor * now):
        return f"the CSV's values times {factor:.6g}"
    return "other values"


def fed_batch_of(values: Any) -> FedBatch:
    """Return the `FedBatch` of an entry of ``run.json``.

    Raises:
        RunError: It is malformed.
    """
    try:
        inputs = tuple(
            FedInput(i["name"], i["size"], tuple(i["mean"]), tuple(i["spread"]), tuple(i["order"]))
            for i in values["inputs"]
        )
        return FedBatch(tuple(map(int, values["rows"])), inputs)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"fed: is malformed ({error})") from error


def _fed_input(name: str, array: np.ndarray) -> FedInput:
    values = array.reshape(len(array), -1).astype(np.float64)
    size = values.shape[1]
    mean, spread, order = values.mean(axis=1), values.std(axis=1), values @ _weights(size) / size
    return FedInput(name, size, tuple(mean.tolist()), tuple(spread.tolist()), tuple(order.tolist()))


def _weights(size: int) -> np.ndarray:
    return np.cos(np.arange(size))


def _near(one: np.ndarray, other: np.ndarray) -> bool:
    scale = max(float(np.abs(one).max()), float(np.abs(other).max()), 1e-30)
    return bool(np.abs(one - other).max() <= _TOLERANCE * scale)
