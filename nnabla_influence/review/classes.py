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
from nnabla_influence.ranking.classes import are_classes, is_whole
from nnabla_influence.review.class_names import distinct_names, read_class_names
from nnabla_influence.review.columns import names_in_header
from nnabla_influence.text import listed


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
        given = read_class_names(given_names)
        names = given.by_value
        if not counts:
            reason = "has no label column"
            if label is not None:
                reason = f"labels ({label.cell!r}) or predictions are numbers, not classes"
            raise DatasetError(
                f"{ranking.dataset.path}: {reason}, so there are no classes to name; leave out"
                " --class-names, or name the label column with --label-column"
            )
        named, labels = listed(sorted(names)), listed(sorted(counts))
        if not any(value in names for value in counts):
            raise DatasetError(
                f"{given_names}: names {named}, but the labels of {ranking.dataset.path}"
                f" are {labels}; give the names of these"
            )
        if given.are_in_order and _are_shifted(names, counts):
            raise DatasetError(
                f"{given_names}: names {named}, in this order, but the labels of"
                f" {ranking.dataset.path} are {labels}; write a file with lines such as"
                f" {min(counts)},{next(iter(names.values()))}: the class's number, a comma, its"
                " name"
            )
    elif label is not None:
        names = distinct_names(
            {value: name for value, name in enumerate(names_in_header(label)) if name}
        )
        if _are_shifted(names, counts):
            names = {}
    return tuple(Class(str(v), names.get(v), counts[v]) for v in sorted(counts))


def _are_shifted(names: Mapping[int, str], counts: Mapping[int, int]) -> bool:
    """Tell whether names in the order of classes from 0 may be meant for others, such as 1 to 3."""
    return not set(counts) <= set(names) and not set(names) <= set(counts)


def _class_counts(ranking: Ranking, label: Column | None) -> dict[int, int]:
    """Return how often each class is given, those that are only predicted included; or nothing."""
    if label is None:
        return {}
    texts = Counter(cells[label.position] for cells in ranking.dataset.iter_cells())
    values = {text: _number(text) for text in texts}
    predicted = ranking.scores.predicted
    if not are_classes(set(values.values()), len(ranking), predicted):
        return {}
    distinct = [] if predicted is None else np.unique(predicted).tolist()
    counts = {int(value): 0 for value in distinct}
    for text, n in texts.items():
        counts[int(values[text])] = counts.get(int(values[text]), 0) + n
    return counts


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def number_text(value: float) -> str:
    """Return a number as people write it: ``3``, ``0.25``; with the seven digits of 32 bits."""
    return str(int(value)) if is_whole(value) else f"{value:.7g}"
