"""What a removal curve consists of, and the tasks that are still needed for it."""

from __future__ import annotations

import collections
import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution import Task
from nnabla_influence.files import file_hash
from nnabla_influence.options import check_count
from nnabla_influence.retraining.inputs import Config
from nnabla_influence.retraining.tasks import (
    Ranked,
    Retrained,
    Trained,
    rank,
    retrain,
    train_seed,
)

if TYPE_CHECKING:
    from nnabla_influence.retraining.store import CurveStore

NONE = "none"
"""In the place of a ranking: the plain training, from which nothing is removed."""
RANDOM = "random"

RANKINGS = ("final", "exact-last", "exact", "influence-functions", "loss", RANDOM)
ORDER = (NONE, *RANKINGS)
"""Of tables and figures."""
PROTOCOLS = ("all", "last")
DEFAULT_RANKINGS = ("final", "exact-last", "loss", RANDOM)
DEFAULT_REMOVED = (0.01, 0.02, 0.05, 0.1, 0.2)

Amount = Union[int, float]
"""Rows to remove: a number from 1, or a fraction of all."""


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
        check_choices(self.seeds, self.rankings, self.protocols)
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


def check_choices(seeds: Sequence[int], rankings: Sequence[str], protocols: Sequence[str]) -> None:
    """Check what can be checked before any file is read.

    Raises:
        InfluenceError: One is empty, or has an invalid or unknown value.
    """
    for what, chosen, known in (
        ("seed", seeds, None),
        ("ranking", rankings, RANKINGS),
        ("protocol", protocols, PROTOCOLS),
    ):
        if not chosen:
            raise InfluenceError(f"no {what} is chosen; choose at least one")
        for value in chosen:
            if known is None:
                check_count(what, value, 0)
            elif value not in known:
                raise InfluenceError(f"{what} {value!r} is unknown; choose from {', '.join(known)}")


class CurveSchedule:
    """Turns what is missing in a store into tasks, and their results into its records.

    A training is needed for its rankings, for testing it as it is, and wherever its last epoch is
    retrained; its run folder is removed as soon as nothing needs it.

    ``fingerprints`` are of everything that a training's results depend on.
    """

    def __init__(
        self,
        plan: CurvePlan,
        store: CurveStore,
        configs: Mapping[WorkUnit, Config],
        fingerprints: Mapping[WorkUnit, str],
    ):
        self._plan, self._store = plan, store
        self._configs, self._fingerprints = configs, fingerprints
        self.done: dict[WorkUnit, Any] = {}
        self._of_task: dict[str, WorkUnit] = {}
        self._waiting: collections.Counter[WorkUnit] = collections.Counter()
        for training in plan.trainings():
            for unit in plan.units(training):
                kind = Retrained if unit.protocol else Ranked if unit.ranking else Trained
                result = store.read(unit.record, fingerprints[training], kind)
                if isinstance(result, Ranked):
                    scores = store.scores(unit)
                    if not scores.is_file() or file_hash(scores) != result.scores_hash:
                        continue
                if result is not None:
                    self.done[unit] = result

    @property
    def n_finished(self) -> int:
        """How many retrainings are finished."""
        return sum(unit.protocol is not None for unit in self.done)

    def tasks(self) -> list[Task]:
        """Return what is still to do, each training's work together."""
        return [task for training in self._plan.trainings() for task in self._tasks(training)]

    def finished(self, task: Task, result: Any) -> None:
        """Keep the result of a task."""
        unit = self._of_task[task.name]
        self._store.write(unit.record, self._fingerprints[unit.training], result)
        self.done[unit] = result
        self._waiting[unit.training] -= 1
        if not self._waiting[unit.training]:
            self._store.drop_run(unit.training)

    def _tasks(self, training: WorkUnit) -> Iterator[Task]:
        store, config, seed = self._store, self._configs[training], training.seed
        run = store.run(training)
        missing = [unit for unit in self._plan.units(training) if unit not in self.done]
        needs_run = any(
            unit.protocol is None or unit.protocol == "last" or unit.ranking == NONE
            for unit in missing
        )
        trained = None
        # Its record is written when the run is whole.
        if training in missing or (needs_run and not run.is_dir()):
            trained = self._task(training, train_seed, (config, seed, str(run)))
            yield trained
        ranked: dict[str | None, Task] = {}
        for unit in missing:
            scores = None if unit.ranking == NONE else str(store.scores(unit))
            if unit.protocol is not None:
                to_retrain = (config, seed, unit.protocol, str(run), scores, unit.n)
                yield self._task(unit, retrain, to_retrain, trained, ranked.get(unit.ranking))
            elif unit.ranking is not None:
                to_rank = (config, seed, unit.ranking, str(run), scores)
                ranked[unit.ranking] = self._task(unit, rank, to_rank, trained)
                yield ranked[unit.ranking]

    def _task(
        self, unit: WorkUnit, function: Any, arguments: tuple[Any, ...], *after: Task | None
    ) -> Task:
        self._of_task[str(unit)] = unit
        self._waiting[unit.training] += 1
        return Task(str(unit), function, arguments, tuple(task.name for task in after if task))
