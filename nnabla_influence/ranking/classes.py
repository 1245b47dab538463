"""Whether labels are classes, for every command that counts them, shows them or changes one."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

_EXACT_IN_A_FLOAT = 2.0**53
# Without predictions, this many distinct whole numbers are classes in any case.
_FEW = 100


def are_classes(labels: Collection[float], n_rows: int, predicted: np.ndarray | None) -> bool:
    """Whether labels are classes, not targets such as ages or counts, nor row numbers.

    Classes are whole numbers, and so are predictions of them. Without predictions, most rows must
    share their class with others.

    Args:
        labels: The distinct values of the labels; NaN for one that is not a number.
        n_rows: The number of rows that have them.
        predicted: The network's prediction for each row, or None.
    """
    if not all(map(is_whole, labels)):
        return False
    if predicted is not None:
        return all(map(is_whole, np.unique(predicted).tolist()))
    return len(labels) <= max(_FEW, n_rows // 2)


def is_whole(value: float) -> bool:
    """Whether a number is whole, and small enough for a float to hold the next one."""
    return math.isfinite(value) and value.is_integer() and abs(value) < _EXACT_IN_A_FLOAT
