"""The trainings of an advice: which are finished, and the others, done by the executor."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nnabla as nn
import numpy as np

from nnabla_influence import __version__
from nnabla_influence.advice.trainings import (
    Judged,
    Scored,
    foresee,
    judge,
    read,
    read_judged,
    read_scored,
    score_and_judge,
)
from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution import Executor, Task
from nnabla_influence.influence.trace_file import fingerprint
from nnabla_influence.progress import Progress
from nnabla_influence.retraining.inputs import Config
from nnabla_influence.retraining.seeded import NO_CHANGES, Changes

_KINDS = ("judged", "parameters", "scored", "moves")

Folds = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Work:
    """Trainings whose results are kept in a folder, so that none is done twice.

    Attributes:
        config: What is trained on what, with the hashes of the files.
        target: Of the scores.
        folds: The validation rows of each half.
        folder: Of the results; their names say what they depend on.
        executor: Does what is missing.
    """

    config: Config
    target: str
    folds: Folds
    folder: Path
    executor: Executor

    def scored(self, seeds: Sequence[int], progress: Progress) -> tuple[list[Scored], list[Judged]]:
        """Return the scores of the trainings of some seeds, and how these do."""
        tasks = {}
        for seed in seeds:
            paths = [self._path(kind, seed, NO_CHANGES) for kind in _KINDS[:3]]
            given = (self.config, seed, self.target, self.folds, tuple(map(str, paths)))
            tasks[paths[-1]] = Task(f"seed {seed}: train and score", score_and_judge, given)
        run_missing(self.executor, tasks, "Train and score", progress)
        return (
            [read_scored(path) for path in tasks],
            [read_judged(self._path("judged", seed, NO_CHANGES)) for seed in seeds],
        )

    def judged(
        self, changes: Sequence[Changes], seeds: Sequence[int], what: str, progress: Progress
    ) -> dict[Changes, list[Judged]]:
        """Return by change how trainings from each seed do with it."""
        tasks = {}
        for number, change in enumerate(changes):
            for seed in seeds:
                path = self._path("judged", seed, change)
                given = (self.config, seed, self.target, change, str(path))
                tasks[path] = Task(f"seed {seed}: {what} ({number + 1})", judge, given)
        run_missing(self.executor, tasks, what, progress)
        return {
            change: [read_judged(self._path("judged", seed, change)) for seed in seeds]
            for change in changes
        }

    def foreseen(
        self, changes: Sequence[Changes], seed: int, progress: Progress
    ) -> dict[Changes, np.ndarray]:
        """Return how removals move each validation row's target to first order, (V,).

        At the parameters of the training of a seed, which was scored.
        """
        parameters = str(self._path("parameters", seed, NO_CHANGES))
        paths = {change: self._path("moves", seed, change) for change in changes}
        tasks = {}
        for number, (change, path) in enumerate(paths.items()):
            given = (self.config, parameters, self.target, change.removed, str(path))
            tasks[path] = Task(f"seed {seed}: foresee ({number + 1})", foresee, given)
        run_missing(self.executor, tasks, "Foresee", progress)
        return {change: read(path)["moves"] for change, path in paths.items()}

    def remove(self) -> None:
        """Remove the results."""
        with contextlib.suppress(OSError):
            for kind in _KINDS:
                for path in self.folder.glob(f"{kind}-*.npz"):
                    path.unlink()

    def _path(self, kind: str, seed: int, changes: Changes) -> Path:
        config = self.config
        of = [__version__, nn.__version__, config.hashes, config.device]
        of += [self.folds, self.target, seed, changes]
        return self.folder / f"{kind}-{fingerprint(of)}.npz"


def run_missing(executor: Executor, tasks: dict[Path, Task], what: str, progress: Progress) -> None:
    """Run the tasks whose results, by path, are missing.

    Raises:
        InfluenceError: One of them failed.
    """
    missing = [task for path, task in tasks.items() if not path.exists()]
    if not missing:
        return
    failures = executor.run(missing, _ignore, progress, what, "trainings")
    if failures:
        raise InfluenceError(
            f"{len(failures)} of {len(missing)} trainings failed, the first one:"
            f" {failures[0].task}: {failures[0].reason}; fix the cause and run again"
        )


def _ignore(task: Task, result: object) -> None:
    """The results are in files."""
