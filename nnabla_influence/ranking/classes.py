"""Whether labels are classes, for every command that counts them, shows them or changes one."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

_EXACT_IN_A_FLOAT = 2.0**53
# Without predictions to go by, this many different whole numbers are classes in any case.
_FEW = 100


def are_classes(labels: Collection[float], n_rows: int, predicted: np.ndarray | None) -> bool:
    """Tell whether labels are classes, and no targets such as ages or counts, nor numbers of rows.

    Classes are whole numbers, and what the network predicts is one of them. Where there are no
    predictions, most rows share their class with others.

    Args:
        labels: The different values that labels have; NaN for one that is no number.
        n_rows: How many rows have them.
        predicted: What the network predicts for each row, or None.
    """
    if not all(map(is_whole, labels)):
        return False
    if predicted is not None:
        return all(map(is_whole, np.unique(predicted).tolist()))
    return len(labels) <= max(_FEW, n_rows // 2)


def is_whole(value: float) -> bool:
    """Tell whether a number is a whole one that has neighbours."""
    return math.isfinite(value) and value.is_integer() and abs(value) < _EXACT_IN_A_FLOAT
