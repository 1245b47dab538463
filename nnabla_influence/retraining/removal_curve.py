"""Removal curves: does it help to remove the rows that a ranking calls the most harmful?"""

from __future__ import annotations

import dataclasses
import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Optional

import numpy as np

from nnabla_influence import __version__
from nnabla_influence.device import choose_device
from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution import Failure, open_executor
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.retraining.detection import detect
from nnabla_influence.retraining.detection_table import DetectionResult
from nnabla_influence.retraining.output import Curve, write_curve
from nnabla_influence.retraining.plan import (
    DEFAULT_RANKINGS,
    DEFAULT_REMOVED,
    PROTOCOLS,
    RANKINGS,
    Amount,
    Plan,
    check_choice,
    check_seeds,
    rows_of,
)
from nnabla_influence.retraining.preparation import (
    Given,
    PathLike,
    defined_batch_size,
    fingerprints_of,
    open_data,
    open_definition,
    problems_of,
)
from nnabla_influence.retraining.schedule import Schedule
from nnabla_influence.retraining.seed_data import PARTS, SeedData
from nnabla_influence.retraining.store import Store

_PACKAGES = ("nnabla", "numpy", "scipy", "pandas", "matplotlib")
"""On which the results' bytes depend."""

_TOLD = 20
"""Failures that are told one by one."""


def curve(
    model: PathLike,
    *,
    train: PathLike,
    validation: PathLike,
    test: PathLike,
    output: PathLike,
    seeds: Sequence[int] = range(5),
    rankings: Sequence[str] = DEFAULT_RANKINGS,
    removed: Sequence[Amount] = DEFAULT_REMOVED,
    protocols: Sequence[str] = ("all",),
    batch_sizes: Optional[Sequence[int]] = None,
    parameters: Optional[PathLike] = None,
    true_label: Optional[str] = None,
    running_statistics: bool = False,
    title: Optional[str] = None,
    device: str = "auto",
    jobs: int = 1,
    scheduler: Optional[str] = None,
    command: Optional[Sequence[str]] = None,
    progress: Optional[Progress] = None,
) -> Curve:
    """Train, rank, remove the most harmful rows, train again and test, for each seed.

    Args:
        model: Network definition with its optimizer section.
        train: The CSV to train on and to remove rows from. In this path and the next two,
            ``{seed}`` stands for the seed's number, so that each seed may have its own split.
        validation: The CSV whose mean loss the rankings look at.
        test: The CSV that the results are measured on; no ranking looks at it.
        output: Folder to write; what is finished stays there, so that the same call goes on after
            an interruption, and a larger one computes only what is new.
        seeds: Each draws its own initial parameters and order of the mini-batches.
        rankings: Names out of `nnabla_influence.retraining.plan.RANKINGS`.
        removed: How many rows to remove: numbers, or fractions of all.
        protocols: ``all``: train again from the start, same seed and order, the rows' gradients
            left out; ``last``: do the last epoch again without them.
        batch_sizes: Of the trainings; by default the definition's.
        parameters: An .h5 that every seed starts from; by default each draws its own.
        true_label: Header of the training CSV's column of true labels, where flips are known; by
            default ``#true_label``, if it is there.
        running_statistics: For the ranking ``final``: batch normalisations with their running
            statistics, in place of those of each mini-batch.
        title: Of the figures; by default the name of the model file.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        jobs: Worker processes.
        scheduler: Address of a Dask scheduler, whose workers do it in their place.
        command: What the user typed, for the reader of ``settings.json``.
        progress: Where to tell how far it is.

    Raises:
        InfluenceError: Something that the user can act on; see `nnabla_influence.errors`.
    """
    progress = progress or SilentProgress()
    check_choice("ranking", rankings, RANKINGS)
    check_choice("protocol", protocols, PROTOCOLS)
    check_seeds(seeds)
    given = Given(
        *(model, train, validation, test, parameters, true_label, running_statistics, device)
    )
    definition = open_definition(given, seeds[0])
    sizes = tuple(batch_sizes or (defined_batch_size(definition),))
    with Store(output) as store:
        if scheduler is None:
            progress.say(f"Computing on {choose_device(device).description}")
        data = open_data(definition, given, seeds, progress)
        n_rows = data[seeds[0]].n_rows
        plan = Plan(
            n_rows=n_rows,
            seeds=tuple(seeds),
            rankings=tuple(ranking for ranking in RANKINGS if ranking in rankings),
            removed=rows_of(removed, n_rows),
            protocols=tuple(protocol for protocol in PROTOCOLS if protocol in protocols),
            batch_sizes=sizes,
        )
        trainings = list(plan.trainings())
        problems = problems_of(given, data, trainings)
        of = fingerprints_of(definition, given, data, trainings, scheduler)
        schedule = Schedule(plan, store, problems, of)
        _execute(schedule, plan, jobs, scheduler, progress)
        result = Curve(
            cells=tuple(schedule.results()),
            detections=tuple(_detections(plan, store, data)),
            costs=tuple(schedule.costs()),
            plan=plan,
        )
        settings = {
            "command": None if command is None else shlex.join(command),
            **given.as_json(),
            "plan": dataclasses.asdict(plan),
            "solver": {
                **dataclasses.asdict(definition.solver),
                "hyperparameters": dict(definition.solver.hyperparameters),
            },
            "epochs": definition.max_epoch,
            "hashes": {
                str(one.seed): dict(zip(("model", *PARTS), problems[one].hashes or ()))
                for one in trainings
            },
            "notes": list(dict.fromkeys(line for seed in seeds for line in data[seed].shared)),
            "machine": {"python": platform.python_version(), "system": platform.platform()},
            "versions": {
                "nnabla_influence": __version__,
                **{name: version(name) for name in _PACKAGES},
            },
        }
        write_curve(store, result, title or definition.path.stem, settings, definition.path)
        return result


def _execute(
    schedule: Schedule, plan: Plan, jobs: int, scheduler: str | None, progress: Progress
) -> None:
    """Do what is missing.

    Raises:
        InfluenceError: Something failed; what succeeded is kept.
    """
    tasks = schedule.tasks()
    if schedule.n_finished:
        progress.say(f"{schedule.n_finished} of {schedule.n_cells} cells are there already")
    if not tasks:
        return
    with open_executor(jobs, scheduler) as executor:
        progress.say(
            f"{schedule.n_cells} cells: seeds {_listed(plan.seeds)}, batch size"
            f" {_listed(plan.batch_sizes)}, rankings {_listed(plan.rankings)},"
            f" {_listed(plan.removed)} rows removed, retraining {_listed(plan.protocols)}; to do:"
            f" {len(tasks)} tasks {executor.description}"
        )
        failures = executor.run(tasks, schedule.finished, progress, "Removal curve", "tasks")
    if failures:
        _account(failures, len(tasks), schedule.n_finished, progress)


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def _account(
    failures: Sequence[Failure], n_tasks: int, n_finished: int, progress: Progress
) -> None:
    for failure in failures[:_TOLD]:
        progress.say(f"Failed: {failure.task}: {failure.reason}")
    if len(failures) > _TOLD:
        progress.say(f"... and {len(failures) - _TOLD} more")
    kept = f"; {n_finished} cells are done and kept" if n_finished else ""
    raise InfluenceError(
        f"{len(failures)} of {n_tasks} tasks failed, the first one: {failures[0].task}:"
        f" {failures[0].reason}{kept}; mend it and call again, or leave that seed or ranking out"
    )


def _detections(
    plan: Plan, store: Store, data: Mapping[int, SeedData]
) -> Iterator[DetectionResult]:
    for one in plan.trainings():
        flipped = data[one.seed].flipped
        if flipped is None:
            continue
        for ranking in plan.rankings:
            scores = np.load(store.scores(one, ranking))
            found = detect(scores, flipped, plan.removed)
            if found is not None:
                yield DetectionResult(one.seed, one.batch_size, ranking, found)
