"""What a removal curve consists of."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnabla_influence.errors import InfluenceError
from nnabla_influence.options import PROTOCOLS, RANKINGS, Amount, CurveOptions, check_count

NONE = "none"
"""In the place of a ranking: the plain training, from which nothing is removed."""


@dataclass(frozen=True)
class WorkUnit:
    """What one task does and one record keeps: a training, one of its rankings, or a retraining.

    Attributes:
        seed: Of the training.
        batch_size: Of the training.
        ranking: None for the training itself; `NONE` for a retraining without removal.
        n: Rows that are removed.
        protocol: ``all``: retrained from the start; ``last``: the last epoch retrained; None
            where nothing is retrained.
    """

    seed: int
    batch_size: int
    ranking: str | None = None
    n: int = 0
    protocol: str | None = None

    @property
    def training(self) -> WorkUnit:
        """The training that it belongs to."""
        return WorkUnit(self.seed, self.batch_size)

    @property
    def key(self) -> str:
        """Begins the names of a training's files."""
        return f"seed{self.seed}-batch{self.batch_size}"

    @property
    def record(self) -> str:
        """The name of its record."""
        if self.ranking is None:
            return f"{self.key}-training"
        if self.protocol is None:
            return f"{self.key}-{self.ranking}-scores"
        return f"{self.key}-{self.ranking}-{self.n}-{self.protocol}"

    def __str__(self) -> str:
        """Return its name for the user."""
        training = f"seed {self.seed}, batch size {self.batch_size}"
        if self.ranking is None:
            return f"{training}: training"
        if self.protocol is None:
            return f"{training}: scores by {self.ranking}"
        what = "nothing" if self.ranking == NONE else f"{self.n} rows by {self.ranking}"
        last = "" if self.protocol == "all" else ", last epoch retrained"
        return f"{training}: {what} removed{last}"


@dataclass(frozen=True)
class CurvePlan:
    """The whole experiment; it checks itself. ``n_rows`` is N, of the training CSV.

    Raises:
        InfluenceError: A value is invalid, or more rows are removed than there are.
    """

    n_rows: int
    seeds: tuple[int, ...]
    rankings: tuple[str, ...]
    removed: tuple[int, ...]
    protocols: tuple[str, ...]
    batch_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        for what, counts in (
            ("batch size", self.batch_sizes),
            ("number of rows to remove", self.removed),
        ):
            for count in counts:
                check_count(what, count)
        if max(self.removed) >= self.n_rows:
            raise InfluenceError(
                f"{max(self.removed)} rows cannot be removed from a training CSV of {self.n_rows};"
                " remove fewer"
            )
        if max(self.batch_sizes) > self.n_rows:
            raise InfluenceError(
                f"batch size {max(self.batch_sizes)} is larger than the training CSV of"
                f" {self.n_rows} rows; choose a smaller one"
            )

    def trainings(self) -> list[WorkUnit]:
        """Return every training."""
        return [WorkUnit(seed, size) for size in self.batch_sizes for seed in self.seeds]

    def units(self, training: WorkUnit) -> list[WorkUnit]:
        """Return a training, its rankings and its retrainings."""
        seed, size = training.seed, training.batch_size
        rankings = [WorkUnit(seed, size, ranking) for ranking in self.rankings]
        return [training, *rankings, *self.retrainings(training)]

    def retrainings(self, training: WorkUnit) -> Iterator[WorkUnit]:
        """Yield every retraining of a training, that without removal first."""
        seed, size = training.seed, training.batch_size
        for protocol in self.protocols:
            yield WorkUnit(seed, size, NONE, 0, protocol)
            for ranking in self.rankings:
                for n in self.removed:
                    yield WorkUnit(seed, size, ranking, n, protocol)


def plan_of(options: CurveOptions, n_rows: int, batch_sizes: Sequence[int]) -> CurvePlan:
    """Return the experiment that the user chose, each value once and in the order of the tables.

    Args:
        options: The user's.
        n_rows: N, of the training CSV.
        batch_sizes: The user's, or the definition's.
    """
    return CurvePlan(
        n_rows=n_rows,
        seeds=tuple(dict.fromkeys(options.seeds)),
        rankings=tuple(ranking for ranking in RANKINGS if ranking in options.rankings),
        removed=numbers_of_rows(options.removed, n_rows),
        protocols=tuple(protocol for protocol in PROTOCOLS if protocol in options.protocols),
        batch_sizes=tuple(dict.fromkeys(batch_sizes)),
    )


def numbers_of_rows(amounts: Sequence[Amount], n_rows: int) -> tuple[int, ...]:
    """Return numbers of rows, ascending, each once, from numbers and fractions.

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
                f"the fraction {amount!r} of {n_rows} training rows is less than one row; choose a"
                " larger one"
            )
        rows.add(round(amount * n_rows))
    return tuple(sorted(rows))
