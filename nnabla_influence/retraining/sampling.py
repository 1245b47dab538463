"""Which rows, and which subsets of rows, are left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

import numpy as np

from nnabla_influence.errors import InfluenceError

DEFAULT_ROWS = 50
DEFAULT_SUBSETS = 50
DEFAULT_LEAVE = 0.1
RETEST_WEIGHT = 0.1
"""What is left of the gradients in the retest. Where the loss is smooth in them, the change is
nine tenths of the whole one; where training is chaotic, it is another number."""


@dataclass(frozen=True)
class Sample:
    """What to leave out, by the user's choice; it checks itself.

    Attributes:
        rows: How many rows to leave out one at a time; 0 for none, None for as many as
            `DEFAULT_ROWS` or the window saw.
        subsets: How many subsets to leave out; 0 for none.
        leave: Rows of a subset: a number of rows, or a fraction of those that the window saw.
        seed: Draws them. More rows, or more subsets, with the same seed contain the fewer.
        retest: Whether everything is done once more with nine tenths of the gradients left out, to
            see how far the truth itself can be relied on.

    Raises:
        InfluenceError: A value is not one of these.
    """

    rows: Union[int, None] = None
    subsets: int = DEFAULT_SUBSETS
    leave: Union[int, float] = DEFAULT_LEAVE
    seed: int = 0
    retest: bool = True

    def __post_init__(self) -> None:
        for name, value in (("rows", self.rows), ("subsets", self.subsets), ("seed", self.seed)):
            if value is not None and not (_is_whole(value) and value >= 0):
                raise InfluenceError(f"{name} {value!r} is not a whole number from 0")
        is_count = _is_whole(self.leave) and self.leave >= 1
        if not (is_count or (isinstance(self.leave, float) and 0 < self.leave < 1)):
            raise InfluenceError(
                f"leave {self.leave!r} is neither a number of rows from 1 nor a fraction between 0"
                " and 1"
            )
        if self.rows == 0 and self.subsets == 0:
            raise InfluenceError(
                "0 rows and 0 subsets leave nothing to validate; ask for some of either"
            )
        for name, value in (("rows", self.rows), ("subsets", self.subsets)):
            if value == 1:
                raise InfluenceError(f"{name} 1: one of them has no order; ask for more, or for 0")


def draw_rows(sample: Sample, seen: np.ndarray) -> np.ndarray:
    """Draw the rows to leave out one at a time, ascending.

    Args:
        sample: How many.
        seen: The row numbers that the window saw, each once.

    Raises:
        InfluenceError: More were asked for than were seen.
    """
    n = min(DEFAULT_ROWS, len(seen)) if sample.rows is None else sample.rows
    if n > len(seen):
        raise InfluenceError(
            f"{n} rows were asked for, but the window saw {len(seen)} only; ask for fewer, or for a"
            " window of more epochs"
        )
    if n == 1:
        raise InfluenceError("the window saw one row only, and one row has no order")
    return np.sort(np.random.default_rng([sample.seed, 1]).permutation(seen)[:n])


def draw_subsets(sample: Sample, seen: np.ndarray) -> tuple[np.ndarray, ...]:
    """Draw distinct subsets to leave out, each ascending.

    Raises:
        InfluenceError: The subsets would be empty or everything, or there are not so many.
    """
    if not sample.subsets:
        return ()
    size = sample.leave
    if isinstance(size, float):
        size = round(size * len(seen))
        if size == 0:
            raise InfluenceError(
                f"leave {sample.leave} of the {len(seen)} rows that the window saw is no row; leave"
                " more of them"
            )
    if size >= len(seen):
        raise InfluenceError(
            f"leave {sample.leave}: the window saw {len(seen)} rows only; leave fewer of them"
        )
    if math.comb(len(seen), int(size)) < 2 * sample.subsets:
        raise InfluenceError(
            f"{sample.subsets} subsets were asked for, but the {len(seen)} rows that the window saw"
            f" make too few of {size}; ask for fewer subsets, or leave another number of rows"
        )
    rng = np.random.default_rng([sample.seed, 2])
    drawn: dict[tuple[int, ...], np.ndarray] = {}
    while len(drawn) < sample.subsets:
        rows = np.sort(rng.permutation(seen)[: int(size)])
        drawn.setdefault(tuple(rows.tolist()), rows)
    return tuple(drawn.values())


def subset_sums(scores: np.ndarray, subsets: Sequence[np.ndarray]) -> np.ndarray:
    """Sum the scores (N,) of each subset's rows, ``(m,)``: the change that they predict."""
    return np.array([scores[rows].sum() for rows in subsets])


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
