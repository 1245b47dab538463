"""What a mini-batch of a training held, in a few numbers, to compare with the scored CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnabla_influence.errors import RunError

_MOST_ROWS = 64
_TOLERANCE = 1e-4
"""Relative: 32 bits and another way to divide by 255 are off by 1e-7, another scale by far more."""


@dataclass(frozen=True)
class FedInput:
    """One array of a mini-batch.

    Attributes:
        name: As the data iterator calls it; often a column of the CSV.
        size: Values of one row.
        mean: Of each row's values.
        spread: Of each row's values: the standard deviation.
        order: Of each row's values: a weighted mean that hangs on their order.
    """

    name: str
    size: int
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    order: tuple[float, ...]


@dataclass(frozen=True)
class FedBatch:
    """The first rows of a mini-batch, and what was fed for each."""

    rows: tuple[int, ...]
    inputs: tuple[FedInput, ...]


def fed_batch(rows: np.ndarray, names: Sequence[str], data: Any) -> FedBatch | None:
    """Return what is noted of a mini-batch; None where it is not one array of numbers a name."""
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
    """Return in words how the CSV's values differ from what was fed; None where they do not.

    Args:
        fed: What was fed.
        values: What the CSV gives for the same rows, of as many values each.
    """
    given = _fed_input(fed.name, values)
    was, now = (np.array([i.mean, i.spread, i.order]) for i in (fed, given))
    if _near(was, now):
        return None
    # What a factor and an offset explain is named by them.
    if np.ptp(now[0]) > 0 or now[1].any():
        index = 1 if now[1].any() else 0
        center = np.zeros(2) if index == 1 else np.array([now[0].mean(), was[0].mean()])
        a, b = now[index] - center[0], was[index] - center[1]
        factor = float(a @ b / (a @ a)) if a.any() else 1.0
        for signed in (factor, -factor):
            offset = float(np.mean(was[0] - signed * now[0]))
            shifted = np.array([signed * now[0] + offset, abs(signed) * now[1], signed * now[2]])
            shifted[2] += offset * _weights(fed.size).mean()
            if _near(was, shifted):
                return _in_words(signed, offset, float(np.abs(was[0]).max()))
    return "other values"


def fed_batch_of(values: Any) -> FedBatch:
    """Return what ``run.json`` holds of a mini-batch.

    Raises:
        RunError: It is none.
    """
    try:
        inputs = tuple(
            FedInput(
                str(i["name"]),
                int(i["size"]),
                *(tuple(map(float, i[key])) for key in ("mean", "spread", "order")),
            )
            for i in values["inputs"]
        )
        return FedBatch(tuple(map(int, values["rows"])), inputs)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"fed: is not what a mini-batch held ({error})") from error


def _fed_input(name: str, array: np.ndarray) -> FedInput:
    values = array.reshape(len(array), -1).astype(np.float64)
    size = values.shape[1]
    statistics = (values.mean(axis=1), values.std(axis=1), values @ _weights(size) / size)
    return FedInput(name, size, *(tuple(each.tolist()) for each in statistics))


def _weights(size: int) -> np.ndarray:
    return np.cos(np.arange(size))


def _near(one: np.ndarray, other: np.ndarray) -> bool:
    scale = max(float(np.abs(one).max()), float(np.abs(other).max()), 1e-30)
    return bool(np.abs(one - other).max() <= _TOLERANCE * scale)


def _in_words(factor: float, offset: float, size: float) -> str:
    parts = []
    if abs(factor - 1) > _TOLERANCE:
        parts.append(f"the CSV's values times {factor:.6g}")
    if abs(offset) > _TOLERANCE * size:
        parts.append(f"{offset:+.6g}" if parts else f"the CSV's values {offset:+.6g}")
    return " ".join(parts) or "other values"
