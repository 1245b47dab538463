"""The tasks that are still needed for a removal curve."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping
from typing import Any

from nnabla_influence.execution import Task
from nnabla_influence.files import file_hash
from nnabla_influence.retraining.inputs import Config
from nnabla_influence.retraining.plan import NONE, CurvePlan, WorkUnit
from nnabla_influence.retraining.store import CurveStore
from nnabla_influence.retraining.tasks import (
    Ranked,
    Retrained,
    Trained,
    rank,
    retrain,
    train_seed,
)


class CurveSchedule:
    """Turns what is missing in a store into tasks, and their results into its records.

    A training is needed for its rankings, for testing it as it is, and wherever its last epoch is
    retrained; its run folder is removed as soon as nothing needs it.

    ``fingerprints`` are of everything that a seed's results depend on.
    """

    def __init__(
        self,
        plan: CurvePlan,
        store: CurveStore,
        configs: Mapping[WorkUnit, Config],
        fingerprints: Mapping[int, str],
    ):
        self._plan, self._store = plan, store
        self._configs, self._fingerprints = configs, fingerprints
        self.done: dict[WorkUnit, Any] = {}
        self._of_task: dict[str, WorkUnit] = {}
        self._waiting: collections.Counter[WorkUnit] = collections.Counter()
        for training in plan.trainings():
            for unit in plan.units(training):
                kind = Retrained if unit.protocol else Ranked if unit.ranking else Trained
                result = store.read(unit.record, fingerprints[training.seed], kind)
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
        self._store.write(unit.record, self._fingerprints[unit.seed], result)
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
