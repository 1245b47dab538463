"""Notice a validation data set that is the training data."""

from __future__ import annotations

import numpy as np

from nnabla_influence.dataset.dataset import Dataset

_BLOCK = 256


def note_on_equal_data(trained: Dataset, validated: Dataset) -> str | None:
    """Return a line for the user if both hold the same rows, from one CSV or from two."""
    if not _are_equal(trained, validated):
        return None
    return (
        f"Note: the validation rows of {validated.path} are the training rows, so the influences"
        " are those on the loss of the training itself, and not on data that the model has not seen"
    )


def _are_equal(one: Dataset, other: Dataset) -> bool:
    if one.path == other.path:
        return True
    if len(one) != len(other):
        return False
    for start in range(0, len(one), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(one)))
        a, b = one.batch(rows), other.batch(rows)
        if not all(np.array_equal(a[name], b[name]) for name in one.inputs):
            return False
    return True
