"""The classes of a ranking: the whole numbers among its labels, and what people call them."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nnabla_influence.dataset.header import Column
from nnabla_influence.errors import DatasetError
from nnabla_influence.ranking import Ranking
from nnabla_influence.review.class_names import distinct_names, read_class_names
from nnabla_influence.review.columns import names_in_header

_EXACT_IN_A_FLOAT = 2.0**53


@dataclass(frozen=True)
class Class:
    """One of the values that labels have.

    Attributes:
        value: As a whole number's text, such as ``3``.
        name: What people call it; None where that is not known.
        rows: How many rows have it as their given label; 0 for one that is only predicted.
    """

    value: str
    name: str | None
    rows: int = 0


def find_classes(
    ranking: Ranking, label: Column | None, given_names: str | os.PathLike[str] | None
) -> tuple[Class, ...]:
    """Return the classes of a ranking, ascending; none where labels are no whole numbers.

    Args:
        ranking: The ranking.
        label: Its label column.
        given_names: What `read_class_names` takes; None for the names in the label's header.

    Raises:
        DatasetError: The names cannot be used, or are those of other classes.
    """
    counts = _class_counts(ranking, label)
    names: Mapping[int, str] = {}
    if given_names is not None:
        names = read_class_names(given_names)
        if not counts:
            reason = "has no label column"
            if label is not None:
                reason = f"labels ({label.cell!r}) or predictions are not all whole numbers"
            raise DatasetError(
                f"{ranking.dataset.path}: {reason}, so there are no classes to name; leave out"
                " --class-names, or name the label column with --label-column"
            )
        if not any(value in names for value in counts):
            raise DatasetError(
                f"{given_names}: names {_listed(names)}, but the labels of {ranking.dataset.path}"
                f" are {_listed(counts)}; give the names of these"
            )
    elif label is not None:
        names = distinct_names(
            {value: name for value, name in enumerate(names_in_header(label)) if name}
        )
    return tuple(Class(str(v), names.get(v), counts[v]) for v in sorted(counts))


def _class_counts(ranking: Ranking, label: Column | None) -> dict[int, int]:
    """Return how often each class is given, those that are only predicted included; or nothing."""
    if label is None:
        return {}
    predicted = ranking.scores.predicted
    distinct = [] if predicted is None else np.unique(predicted).tolist()
    if not all(map(_is_whole, distinct)):
        return {}
    counts = {int(value): 0 for value in distinct}
    texts = Counter(cells[label.position] for cells in ranking.dataset.iter_cells())
    for text, n in texts.items():
        try:
            value = float(text)
        except ValueError:
            return {}
        if not _is_whole(value):
            return {}
        counts[int(value)] = counts.get(int(value), 0) + n
    return counts


def _listed(values: Mapping[int, object]) -> str:
    shown = ", ".join(map(str, sorted(values)[:8]))
    return shown if len(values) <= 8 else f"{shown} and {len(values) - 8} more"


def _is_whole(value: float) -> bool:
    return math.isfinite(value) and value.is_integer() and abs(value) < _EXACT_IN_A_FLOAT


def number_text(value: float) -> str:
    """Return a number as people write it: ``3``, ``0.25``; with the seven digits of 32 bits."""
    return str(int(value)) if _is_whole(value) else f"{value:.7g}"
