"""The units of work that a plan still needs, and what becomes of each when it is done."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional, Union

from nnabla_influence.execution import Task
from nnabla_influence.files import file_hash
from nnabla_influence.retraining.plan import NONE, Cell, Plan, Training
from nnabla_influence.retraining.problem import Problem
from nnabla_influence.retraining.store import Store
from nnabla_influence.retraining.tables import CellResult
from nnabla_influence.retraining.tasks import (
    Ranked,
    Retrained,
    Trained,
    rank,
    retrain,
    train_seed,
)

Unit = Union[Training, tuple[Training, str], Cell]
"""A training, one of its rankings, or a cell: what one task does and one record keeps."""


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
        self._trained: dict[Training, Trained] = {}
        self._ranked: dict[tuple[Training, str], Ranked] = {}
        self._retrained: dict[Cell, Retrained] = {}
        self._of_task: dict[str, Unit] = {}
        self._waiting: collections.Counter[Training] = collections.Counter()
        for training in plan.trainings():
            trained = self._read(training, Trained)
            if trained is not None:
                self._trained[training] = trained
            for ranking in plan.rankings:
                ranked = self._read((training, ranking), Ranked)
                if ranked is not None and _fits(store.scores(training, ranking), ranked):
                    self._ranked[training, ranking] = ranked
            for cell in plan.cells(training):
                retrained = self._read(cell, Retrained)
                if retrained is not None:
                    self._retrained[cell] = retrained

    @property
    def n_finished(self) -> int:
        """How many cells are done."""
        return len(self._retrained)

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
        unit = self._of_task[task.name]
        training = _training_of(unit)
        self._store.write(_record(unit), self._fingerprints[training], result)
        if isinstance(unit, Training):
            self._trained[unit] = result
        elif isinstance(unit, Cell):
            self._retrained[unit] = result
        else:
            self._ranked[unit] = result
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
            yield training, "training", self._trained[training].seconds, 0
            for ranking in self._plan.rankings:
                ranked = self._ranked[training, ranking]
                yield training, ranking, ranked.seconds, ranked.cache_bytes

    def _tasks(self, training: Training) -> Iterator[Task]:
        problem, seed = self._problems[training], training.seed
        run = self._store.run(training)
        missing = [cell for cell in self._plan.cells(training) if cell not in self._retrained]
        rankings = self._plan.rankings
        unranked = [name for name in rankings if (training, name) not in self._ranked]
        trained = None
        needs_run = unranked or any(c.ranking == NONE or c.protocol == "last" for c in missing)
        # Its record is written when the run is whole.
        if training not in self._trained or (needs_run and not run.is_dir()):
            trained = self._task(training, train_seed, (problem, seed, str(run)))
            yield trained
        ranked = {}
        for ranking in unranked:
            scores = str(self._store.scores(training, ranking))
            to_rank = (problem, seed, ranking, str(run), scores)
            ranked[ranking] = self._task((training, ranking), rank, to_rank, trained)
            yield ranked[ranking]
        for cell in missing:
            plain = cell.ranking == NONE
            path = None if plain else str(self._store.scores(training, cell.ranking))
            to_retrain = (problem, seed, cell.protocol, str(run), path, cell.n)
            yield self._task(cell, retrain, to_retrain, trained, ranked.get(cell.ranking))

    def _task(
        self, unit: Unit, function: Any, arguments: tuple[Any, ...], *after: Optional[Task]
    ) -> Task:
        name = _name(unit)
        self._of_task[name] = unit
        self._waiting[_training_of(unit)] += 1
        return Task(name, function, arguments, tuple(task.name for task in after if task))

    def _read(self, unit: Unit, kind: type) -> Any:
        return self._store.read(_record(unit), self._fingerprints[_training_of(unit)], kind)

    def _result(self, cell: Cell) -> CellResult:
        got, ranked = self._retrained[cell], self._ranked.get((cell.training, cell.ranking))
        return CellResult(
            seed=cell.training.seed,
            ranking=cell.ranking,
            n=cell.n,
            protocol=cell.protocol,
            batch_size=cell.training.batch_size,
            accuracy=got.accuracy,
            loss=got.loss,
            cache_bytes=0 if ranked is None else ranked.cache_bytes,
            seconds=got.seconds,
        )


def _fits(scores: Path, ranked: Ranked) -> bool:
    """Whether a ranking's scores are still there, as they were."""
    return scores.is_file() and file_hash(scores) == ranked.scores_hash


def _training_of(unit: Unit) -> Training:
    if isinstance(unit, Training):
        return unit
    return unit.training if isinstance(unit, Cell) else unit[0]


def _record(unit: Unit) -> str:
    """Return the name of a unit's record."""
    if isinstance(unit, Training):
        return f"{unit.key}-training"
    return unit.key if isinstance(unit, Cell) else f"{unit[0].key}-{unit[1]}-scores"


def _name(unit: Unit) -> str:
    """Return the name of a unit's task, for the user."""
    if isinstance(unit, Training):
        return f"{unit.name}: training"
    return unit.name if isinstance(unit, Cell) else f"{unit[0].name}: scores by {unit[1]}"
