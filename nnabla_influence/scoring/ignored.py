"""Rows that the loss ignores: those with a label below 0."""

from __future__ import annotations

import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import Definition, ignoring_columns

_BLOCK = 4096


def ignored_rows(definition: Definition, dataset: Dataset) -> np.ndarray:
    """Return which rows the loss ignores, booleans, shape ``(N,)``."""
    columns = ignoring_columns(definition)
    ignored = np.full(len(dataset), bool(columns))
    for column in columns:
        for start in range(0, len(dataset), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(dataset)))
            labels = dataset.values(column, rows).reshape(len(rows), -1)
            ignored[rows] &= (labels < 0).all(axis=1)
    return ignored


def note_on_ignored(ignored: np.ndarray, what: str, consequence: str) -> str | None:
    """Return how many of the rows are ignored, for the user; None where none is."""
    if not ignored.any():
        return None
    return (
        f"{ignored.sum()} of {len(ignored)} {what} rows have a label below 0, which the loss"
        f" ignores: {consequence}"
    )
