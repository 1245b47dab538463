"""What a removal curve is made of: its cells, and what they need to be computed before."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Union

from nnabla_influence.errors import InfluenceError

NONE = "none"
"""In the place of a ranking: the plain training, from which nothing is removed."""

RANKINGS = ("final", "exact-last", "exact", "influence-functions", "loss", "random")
PROTOCOLS = ("all", "last")
DEFAULT_RANKINGS = ("final", "exact-last", "loss", "random")
DEFAULT_REMOVED = (0.01, 0.02, 0.05, 0.1, 0.2)

LARGEST_SEED = 2**32 - 1
"""Of numpy's RandomState."""

Amount = Union[int, float]
"""Rows to remove: a number from 1, or a fraction of all."""


@dataclass(frozen=True)
class Training:
    """One training of the experiment: a seed, at a batch size."""

    seed: int
    batch_size: int

    @property
    def name(self) -> str:
        """For the user and, with dashes, for files."""
        return f"seed {self.seed}, batch size {self.batch_size}"

    @property
    def key(self) -> str:
        """For file names."""
        return f"seed{self.seed}-batch{self.batch_size}"


@dataclass(frozen=True)
class Cell:
    """One retraining of the experiment.

    Attributes:
        training: What is done again.
        ranking: Which says what is removed; `NONE` for nothing.
        n: Rows removed.
        protocol: ``all``: trained again from the start; ``last``: the last epoch done again.
    """

    training: Training
    ranking: str
    n: int
    protocol: str

    @property
    def name(self) -> str:
        """For the user."""
        what = "nothing" if self.ranking == NONE else f"{self.n} rows by {self.ranking}"
        redone = "" if self.protocol == "all" else ", last epoch redone"
        return f"{self.training.name}: {what} removed{redone}"

    @property
    def key(self) -> str:
        """For file names."""
        return f"{self.training.key}-{self.ranking}-{self.n}-{self.protocol}"


@dataclass(frozen=True)
class Plan:
    """The whole experiment; it checks itself.

    Attributes:
        n_rows: N, of the training CSV.
        seeds: Of initial parameters and orders, each another training.
        rankings: Names out of `RANKINGS`.
        removed: Numbers of rows, ascending.
        protocols: Names out of `PROTOCOLS`.
        batch_sizes: Of the trainings.

    Raises:
        InfluenceError: A value is not one of these, or more rows are removed than there are.
    """

    n_rows: int
    seeds: tuple[int, ...]
    rankings: tuple[str, ...]
    removed: tuple[int, ...]
    protocols: tuple[str, ...]
    batch_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        check_choice("ranking", self.rankings, RANKINGS)
        check_choice("protocol", self.protocols, PROTOCOLS)
        check_seeds(self.seeds)
        for what, values, least in (
            ("batch size", self.batch_sizes, 1),
            ("number of rows to remove", self.removed, 1),
        ):
            _check_numbers(what, values, least)
        for n in self.removed:
            if n >= self.n_rows:
                raise InfluenceError(
                    f"{n} rows cannot be removed from a training CSV of {self.n_rows}; remove fewer"
                )
        for size in self.batch_sizes:
            if size > self.n_rows:
                raise InfluenceError(
                    f"batch size {size} is larger than the training CSV of {self.n_rows} rows;"
                    " choose a smaller one"
                )

    def trainings(self) -> Iterator[Training]:
        """Yield every training."""
        for batch_size in self.batch_sizes:
            for seed in self.seeds:
                yield Training(seed, batch_size)

    def cells(self, training: Training) -> Iterator[Cell]:
        """Yield every cell of a training, what nothing is removed from first."""
        for protocol in self.protocols:
            yield Cell(training, NONE, 0, protocol)
            for ranking in self.rankings:
                for n in self.removed:
                    yield Cell(training, ranking, n, protocol)


def rows_of(amounts: Sequence[Amount], n_rows: int) -> tuple[int, ...]:
    """Return numbers of rows, ascending, each once, of numbers and fractions.

    Raises:
        InfluenceError: A fraction does not lie between 0 and 1, or is less than half a row.
    """
    rows = set()
    for amount in amounts:
        if isinstance(amount, numbers.Integral):
            rows.add(int(amount))
            continue
        if not 0 < amount < 1:
            raise InfluenceError(
                f"{amount!r} is neither a number of rows nor a fraction between 0 and 1"
            )
        if round(amount * n_rows) < 1:
            raise InfluenceError(
                f"the fraction {amount!r} of {n_rows} training rows is not one row; choose a larger"
            )
        rows.add(round(amount * n_rows))
    return tuple(sorted(rows))


def check_choice(what: str, chosen: Sequence[str], known: Sequence[str]) -> None:
    """Refuse no choice, an unknown one and one that is made twice.

    Raises:
        InfluenceError: It is one of these.
    """
    _check_distinct(what, chosen)
    for name in chosen:
        if name not in known:
            raise InfluenceError(f"{what} {name!r} is unknown; choose from {', '.join(known)}")


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse no seed, what is none, and one that is given twice.

    Raises:
        InfluenceError: It is one of these.
    """
    _check_numbers("seed", seeds, 0)
    if max(seeds) > LARGEST_SEED:
        raise InfluenceError(f"seed {max(seeds)} is larger than {LARGEST_SEED}; choose a smaller")


def _check_numbers(what: str, values: Sequence[int], least: int) -> None:
    _check_distinct(what, values)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InfluenceError(f"{what} {value!r} is not a whole number from {least}")


def _check_distinct(what: str, values: Sequence[object]) -> None:
    if not values:
        raise InfluenceError(f"no {what} is chosen; choose at least one")
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice:
        raise InfluenceError(f"{what} {twice[0]!r} is chosen twice; choose it once")
