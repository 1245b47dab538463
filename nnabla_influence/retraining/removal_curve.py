"""Removal curves: does it help to remove the rows that a ranking calls the most harmful?"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import os
import platform
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import nnabla as nn
import numpy as np
import pandas as pd

from nnabla_influence import __version__
from nnabla_influence.definition import Definition, load_definition
from nnabla_influence.definition.training_network import check_start
from nnabla_influence.device import choose_device
from nnabla_influence.errors import DatasetError, InfluenceError
from nnabla_influence.execution import open_executor
from nnabla_influence.files import PathLike, file_hash, replacing_file, replacing_folder
from nnabla_influence.influence.trace_file import fingerprint
from nnabla_influence.options import CurveOptions
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.retraining.figures import write_figures
from nnabla_influence.retraining.inputs import (
    PARTS,
    Config,
    SeedData,
    batch_size_of,
    open_seed,
)
from nnabla_influence.retraining.plan import NONE, CurvePlan, WorkUnit, plan_of
from nnabla_influence.retraining.report import summary_lines, summary_markdown
from nnabla_influence.retraining.schedule import CurveSchedule
from nnabla_influence.retraining.store import CurveStore
from nnabla_influence.retraining.tables import (
    detect,
    detection_frame,
    results_frame,
    summarize,
    write_table,
)
from nnabla_influence.solvers import check_solver

_PACKAGES = ("nnabla", "numpy", "scipy", "pandas", "matplotlib")
"""On which the results' bytes depend."""

_SHOWN = 20
"""Failures that are listed."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Removal curves.

    Attributes:
        results: Every retraining, see `nnabla_influence.retraining.tables.results_frame`.
        detection: How well each ranking finds flipped labels; None where they are not known.
        costs: Of each training and each of its rankings, seconds and bytes of cache.
        plan: What was computed.
    """

    results: pd.DataFrame
    detection: pd.DataFrame | None
    costs: pd.DataFrame
    plan: CurvePlan

    def table(self) -> list[str]:
        """Return what the command prints."""
        return summary_lines(summarize(self.results), self.detection)


def curve(
    model: PathLike,
    *,
    train: PathLike,
    validation: PathLike,
    test: PathLike,
    output: PathLike,
    options: CurveOptions | None = None,
    device: str = "auto",
    jobs: int | str = 1,
    progress: Progress | None = None,
) -> Curve:
    """Train, rank, remove the most harmful rows, retrain and test, for each seed.

    Args:
        model: Network definition with its optimizer section.
        train: The CSV to train on and to remove rows from. In this path and the next two,
            ``{seed}`` stands for the seed's number, so that each seed may have its own split.
        validation: The CSV whose mean loss the rankings use.
        test: The CSV that the results are measured on; no ranking uses it.
        output: Folder to write; finished results stay there, so that the same call resumes after
            an interruption, and a larger one computes only what is new.
        options: See `CurveOptions`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        jobs: Worker processes, or the address of a Dask scheduler whose workers are used instead.
        progress: Where to report progress.

    Raises:
        InfluenceError: Something that the user can fix; see `nnabla_influence.errors`.
    """
    options, progress = options or CurveOptions(), progress or SilentProgress()
    parameters = None if options.parameters is None else os.fspath(options.parameters)
    config = Config(
        model=os.fspath(model),
        training=os.fspath(train),
        validation=os.fspath(validation),
        test=os.fspath(test),
        parameters=parameters,
        running_statistics=options.running_statistics,
        device=device,
    )
    definition = load_definition(model, parameters)
    check_solver(definition.solver.name, definition.path)
    if parameters is None:
        check_start(definition, {})
    batch_sizes = options.batch_sizes or (batch_size_of(definition),)
    with CurveStore(output) as store:
        kind = device.partition(":")[0]  # all that is known here of a cluster's
        if not isinstance(jobs, str):
            chosen = choose_device(device)
            kind = "cuda" if chosen.is_cuda else "cpu"
            progress.say(f"Computing on {chosen.description}")
        data = _open_data(definition, config, options, progress)
        plan = plan_of(options, next(iter(data.values())).n_rows, batch_sizes)
        configs = _configs(config, data, plan)
        schedule = CurveSchedule(
            plan, store, configs, _fingerprints(definition, config, data, kind)
        )
        _execute(schedule, jobs, progress)
        computed = _curve(plan, schedule, store, data)
        write_results(store.output, computed, options.title or definition.path.stem)
        settings = {
            "command": None if options.command is None else shlex.join(options.command),
            **{name: getattr(config, name) for name in ("model", *PARTS, "parameters")},
            "true_label": options.true_label,
            "running_statistics": options.running_statistics,
            "device": device,
            "plan": dataclasses.asdict(plan),
            "solver": {
                **dataclasses.asdict(definition.solver),
                "hyperparameters": dict(definition.solver.hyperparameters),
            },
            "epochs": definition.max_epoch,
            "hashes": {
                str(one.seed): dict(zip(("model", *PARTS), configs[one].hashes or ()))
                for one in plan.trainings()
            },
            "notes": list(dict.fromkeys(line for one in data.values() for line in one.shared)),
            "machine": {"python": platform.python_version(), "system": platform.platform()},
            "versions": {
                "nnabla_influence": __version__,
                **{name: version(name) for name in _PACKAGES},
            },
        }
        with replacing_file(store.output / "settings.json") as temporary:
            text = json.dumps(settings, indent=2, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        suffix = definition.path.suffix.lower()
        with replacing_file(store.output / f"model{suffix}") as temporary:
            shutil.copyfile(definition.path, temporary)
        store.tidy()
        return computed


def _open_data(
    definition: Definition, config: Config, options: CurveOptions, progress: Progress
) -> dict[int, SeedData]:
    """Open the CSVs of every seed, the same ones once, and report rows that they share."""
    opened: dict[tuple[Path, ...], SeedData] = {}
    of_seed: dict[int, SeedData] = {}
    first = options.seeds[0]
    for seed in options.seeds:
        paths = (config.training, config.validation, config.test)
        files = tuple(Path(os.path.abspath(p.replace("{seed}", str(seed)))) for p in paths)
        if files not in opened:
            data = open_seed(definition, files, options.true_label, progress)
            opened[files] = data
            for line in data.shared:
                progress.say(f"Note: {line}")
        of_seed[seed] = opened[files]
        if of_seed[seed].n_rows != of_seed[first].n_rows:
            raise DatasetError(
                f"{files[0]}: has {of_seed[seed].n_rows} rows, but that of seed {first} has"
                f" {of_seed[first].n_rows}, so their curves cannot be averaged; give CSVs of one"
                " length"
            )
    return of_seed


def _configs(
    config: Config, data: Mapping[int, SeedData], plan: CurvePlan
) -> dict[WorkUnit, Config]:
    """Return the config of each training, with absolute paths and the hashes of its files."""
    hash_of = functools.cache(file_hash)
    configs = {}
    for unit in plan.trainings():
        training, validation, test = map(str, data[unit.seed].paths)
        one = dataclasses.replace(
            config,
            model=os.path.abspath(config.model),
            training=training,
            validation=validation,
            test=test,
            parameters=config.parameters and os.path.abspath(config.parameters),
            batch_size=unit.batch_size,
        )
        configs[unit] = dataclasses.replace(one, hashes=tuple(map(hash_of, one.files)))
    return configs


def _fingerprints(
    definition: Definition, config: Config, data: Mapping[int, SeedData], device_kind: str
) -> dict[int, str]:
    """Return a hash of all that each seed's results depend on, but the seed and the batch size."""
    proto = copy.deepcopy(definition.proto)
    for dataset in proto.dataset:
        dataset.ClearField("uri")
        dataset.ClearField("cache_dir")
    base = [
        __version__,
        nn.__version__,
        device_kind,
        proto.SerializeToString(deterministic=True),
        None if config.parameters is None else file_hash(config.parameters),
        *(["running statistics"] if config.running_statistics else []),
    ]
    return {seed: fingerprint(base, of_seed.fingerprint) for seed, of_seed in data.items()}


def _execute(schedule: CurveSchedule, jobs: int | str, progress: Progress) -> None:
    """Compute what is missing; if something fails, what succeeded is kept."""
    tasks, n_finished = schedule.tasks(), schedule.n_finished
    if n_finished:
        progress.say(f"{n_finished} retrainings are already finished")
    if not tasks:
        return
    with open_executor(jobs) as executor:
        progress.say(f"To do: {len(tasks)} tasks (train, rank, retrain) {executor.description}")
        failures = executor.run(tasks, schedule.finished, progress, "Removal curve", "tasks")
    if failures:
        for failure in failures[:_SHOWN]:
            progress.say(f"Failed: {failure.task}: {failure.reason}")
        first, n_finished = failures[0], schedule.n_finished
        kept = f"; {n_finished} retrainings are finished and kept" if n_finished else ""
        raise InfluenceError(
            f"{len(failures)} of {len(tasks)} tasks failed, the first one: {first.task}:"
            f" {first.reason}{kept}; fix the cause and rerun, or exclude that seed or ranking"
        )


def _curve(
    plan: CurvePlan, schedule: CurveSchedule, store: CurveStore, data: Mapping[int, SeedData]
) -> Curve:
    """Return the finished results as tables."""
    done, results, costs, found = schedule.done, [], [], {}
    for training in plan.trainings():
        seed, size = training.seed, training.batch_size
        costs.append((seed, size, "training", 0, done[training].seconds))
        flipped = data[seed].flipped
        for ranking in plan.rankings:
            ranked = WorkUnit(seed, size, ranking)
            costs.append((seed, size, ranking, done[ranked].cache_bytes, done[ranked].seconds))
            if flipped is not None and flipped.any():
                scores = np.load(store.scores(ranked))
                found[seed, size, ranking] = detect(scores, flipped, plan.removed)
        for unit in plan.retrainings(training):
            got = done[unit]
            plain = unit.ranking == NONE
            n_bytes = 0 if plain else done[WorkUnit(seed, size, unit.ranking)].cache_bytes
            which = (seed, unit.ranking, unit.n, unit.protocol, size)
            results.append((*which, got.accuracy, got.loss, n_bytes, got.seconds))
    return Curve(
        results=results_frame(results),
        detection=detection_frame(found),
        costs=pd.DataFrame(costs, columns=["seed", "batch_size", "what", "cache_bytes", "seconds"]),
        plan=plan,
    )


def write_results(folder: Path, curve: Curve, title: str) -> None:
    """Write tables and figures, each whole or not at all, in place of an earlier call's.

    All but the seconds depends on the trainings alone, not on which of them finished first.
    """
    summary = summarize(curve.results)
    for name, table in (
        ("results.csv", curve.results),
        ("summary.csv", summary),
        ("costs.csv", curve.costs),
        ("detection.csv", curve.detection),
    ):
        if table is None:
            (folder / name).unlink(missing_ok=True)
            continue
        with replacing_file(folder / name) as temporary:
            write_table(temporary, table)
    with replacing_file(folder / "table.md") as temporary:
        temporary.write_bytes(summary_markdown(summary, curve.detection).encode())
    with replacing_folder(folder / "figures") as temporary:
        write_figures(temporary, summary, curve.detection, title)
