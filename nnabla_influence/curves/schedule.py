"""The units of work that a plan still needs, and what becomes of each when it is done."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nnabla_influence.curves.plan import NONE, Cell, Plan, Training
from nnabla_influence.curves.problem import Problem
from nnabla_influence.curves.results import CellResult
from nnabla_influence.curves.store import Store
from nnabla_influence.curves.tasks import rank, retrain, train_seed
from nnabla_influence.execution import Task


class Schedule:
    """Turns what is missing in a store into tasks, and their results into its records.

    A training is needed for its rankings, for what it scores itself, and wherever its last epoch
    is done again; its run folder goes as soon as nothing needs it.

    Args:
        plan: What is wanted.
        store: What is there.
        problems: What each training is.
        fingerprints: Of everything that a training's results depend on.

    Raises:
        OutputError: The store holds results of other things.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        problems: Mapping[Training, Problem],
        fingerprints: Mapping[Training, str],
    ):
        self._plan, self._store = plan, store
        self._problems, self._fingerprints = problems, fingerprints
        self._records: dict[str, Mapping[str, Any]] = {}
        self._of_task: dict[str, tuple[str, Training]] = {}
        self._waiting: collections.Counter[Training] = collections.Counter()
        for training in plan.trainings():
            for name in self._wanted(training):
                record = store.read(name, fingerprints[training])
                if record is not None:
                    self._records[name] = record

    @property
    def n_finished(self) -> int:
        """How many cells are done."""
        return sum(
            cell.key in self._records
            for t in self._plan.trainings()
            for cell in self._plan.cells(t)
        )

    @property
    def n_cells(self) -> int:
        """How many cells there are."""
        return sum(1 for t in self._plan.trainings() for _ in self._plan.cells(t))

    def tasks(self) -> list[Task]:
        """Return what is still to be done, each training's work together."""
        return [task for training in self._plan.trainings() for task in self._tasks(training)]

    def finished(self, task: Task, result: Any) -> None:
        """Keep the result of a task.

        Raises:
            OutputError: It cannot be written.
        """
        name, training = self._of_task[task.name]
        record = dataclasses.asdict(result)
        self._store.write(name, self._fingerprints[training], record)
        self._records[name] = record
        self._waiting[training] -= 1
        if not self._waiting[training]:
            self._store.drop_run(training)

    def results(self) -> list[CellResult]:
        """Return every cell; all of them must be done."""
        return [
            self._result(cell)
            for training in self._plan.trainings()
            for cell in self._plan.cells(training)
        ]

    def costs(self) -> Iterator[tuple[Training, str, float, int]]:
        """Yield, of each training and each of its rankings, seconds and bytes of cache."""
        for training in self._plan.trainings():
            trained = self._records[_training(training)]
            yield training, "training", trained["seconds"], 0
            for ranking in self._plan.rankings:
                ranked = self._records[_ranked(training, ranking)]
                yield training, ranking, ranked["seconds"], ranked["cache_bytes"]

    def _wanted(self, training: Training) -> Iterable[str]:
        yield _training(training)
        for ranking in self._plan.rankings:
            yield _ranked(training, ranking)
        for cell in self._plan.cells(training):
            yield cell.key

    def _tasks(self, training: Training) -> Iterator[Task]:
        problem, seed, run = self._problems[training], training.seed, str(self._store.run(training))
        missing = [cell for cell in self._plan.cells(training) if cell.key not in self._records]
        unranked = [
            ranking
            for ranking in self._plan.rankings
            if _ranked(training, ranking) not in self._records
            or not self._store.scores(training, ranking).is_file()
        ]
        trained = None
        needs_run = unranked or any(c.ranking == NONE or c.protocol == "last" for c in missing)
        # Its record is written when the run is whole.
        has_run = self._store.run(training).is_dir()
        if _training(training) not in self._records or (needs_run and not has_run):
            trained = self._task(
                f"{training.name}: training",
                _training(training),
                training,
                train_seed,
                (problem, seed, run),
            )
            yield trained
        ranked = {}
        for ranking in unranked:
            ranked[ranking] = self._task(
                f"{training.name}: scores by {ranking}",
                _ranked(training, ranking),
                training,
                rank,
                (problem, seed, ranking, run, str(self._store.scores(training, ranking))),
                trained,
            )
            yield ranked[ranking]
        for cell in missing:
            scores = (
                None if cell.ranking == NONE else str(self._store.scores(training, cell.ranking))
            )
            yield self._task(
                cell.name,
                cell.key,
                training,
                retrain,
                (problem, seed, cell.protocol, run, scores, cell.n),
                *(needed for needed in (trained, ranked.get(cell.ranking)) if needed),
            )

    def _task(
        self,
        name: str,
        record: str,
        training: Training,
        function: Any,
        arguments: tuple[Any, ...],
        *after: Any,
    ) -> Task:
        self._of_task[name] = record, training
        self._waiting[training] += 1
        return Task(name, function, arguments, tuple(task.name for task in after if task))

    def _result(self, cell: Cell) -> CellResult:
        record = self._records[cell.key]
        cache_bytes = 0
        if cell.ranking != NONE:
            cache_bytes = self._records[_ranked(cell.training, cell.ranking)]["cache_bytes"]
        return CellResult(
            seed=cell.training.seed,
            ranking=cell.ranking,
            n=cell.n,
            protocol=cell.protocol,
            batch_size=cell.training.batch_size,
            accuracy=record["accuracy"],
            loss=record["loss"],
            cache_bytes=cache_bytes,
            seconds=record["seconds"],
        )


def _training(training: Training) -> str:
    return f"{training.key}-training"


def _ranked(training: Training, ranking: str) -> str:
    return f"{training.key}-{ranking}-scores"
