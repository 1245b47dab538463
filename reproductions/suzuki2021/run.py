"""Redo Figures 2, 4 and 5 of Suzuki et al. (arXiv 2103.11807), at one of three sizes.

Run ``python reproductions/suzuki2021/run.py --size small``. What is finished is kept in
``OUTPUT/work``, so the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # started as a script, it would see this folder only

from nnabla.logger import logger

from nnabla_influence.commands.digits import make_folder
from nnabla_influence.errors import InfluenceError
from nnabla_influence.files import replacing_folder
from nnabla_influence.options import CurveOptions
from nnabla_influence.progress import Progress, SilentProgress, TerminalProgress
from nnabla_influence.retraining.removal_curve import curve
from reproductions.suzuki2021.data import prepare
from reproductions.suzuki2021.experiments import ALL_RANKINGS, SIZES, Experiment
from reproductions.suzuki2021.table import write_page

WORK = "work"
"""In the output folder: data, and every curve's folder with what lets it go on."""
UNFINISHED = ("cells", "scores", "runs")
"""What of a curve's folder is of no use to a reader."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute what is missing of a size's experiments, and write their results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small", help="default: small")
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="of the Console's dataset CSVs; for paper"
    )
    parser.add_argument(
        "--experiments", nargs="+", metavar="NAME", help="some of the size's (default: all)"
    )
    parser.add_argument(
        "--rankings", nargs="+", choices=ALL_RANKINGS, help="some (default: the experiment's)"
    )
    parser.add_argument("--seeds", type=int, help="how many (default: the size's)")
    parser.add_argument(
        "--batch-sizes", nargs="+", type=int, metavar="B", help="default: the experiment's"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="default: one beside this script, as the size"
    )
    parser.add_argument("--jobs", type=int, default=1, help="worker processes (default: 1)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster instead")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    given = sys.argv[1:] if arguments is None else list(arguments)
    parsed = parser.parse_args(given)
    named = {experiment.name: experiment for experiment in SIZES[parsed.size]}
    for name in parsed.experiments or ():
        if name not in named:
            parser.error(f"--experiments: {name!r} is none of {', '.join(named)}")
    if parsed.seeds is not None and parsed.seeds < 1:
        parser.error("--seeds: at least 1 is needed")
    changes: dict[str, object] = {}
    if parsed.seeds is not None:
        changes["seeds"] = parsed.seeds
    if parsed.rankings is not None:
        changes["rankings"] = tuple(parsed.rankings)
    if parsed.batch_sizes is not None:
        changes["batch_sizes"] = tuple(parsed.batch_sizes)
    chosen = [
        dataclasses.replace(experiment, **changes)  # type: ignore[arg-type]
        for name, experiment in named.items()
        if name in (parsed.experiments or named)
    ]
    output = parsed.output or _here(HERE / parsed.size)
    progress = TerminalProgress()
    try:
        run(
            chosen,
            output,
            given=parsed.data,
            jobs=parsed.jobs,
            scheduler=parsed.scheduler,
            device=parsed.device,
            command=["python", "reproductions/suzuki2021/run.py", *given],
            progress=progress,
        )
        # Over all that is there, also where some were asked for this time.
        progress.say(f"Written: {write_page(output, list(named.values()))}")
    except InfluenceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


def run(
    experiments: Sequence[Experiment],
    output: Path,
    *,
    given: Path | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    device: str = "auto",
    command: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Compute what is missing of experiments, and write their results.

    Args:
        experiments: Which; one after the other.
        output: Folder, made if it is missing: a folder with the results of each experiment, and
            `WORK`.
        given: Folder of the Console's dataset CSVs.
        jobs: Worker processes.
        scheduler: Address of a Dask scheduler, whose workers do it in their place.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        command: What the user typed, for the reader of ``settings.json``.
        progress: Where to tell how far it is.

    Raises:
        InfluenceError: Something that the user can act on.
    """
    progress = progress or SilentProgress()
    curves = make_folder(output / WORK / "curves")
    progress.say(f"Data: {output / WORK / 'data'}")
    # All of them first: data that are missing are not told after days of computing.
    prepared = [
        prepare(experiment, range(experiment.seeds), output / WORK / "data", given)
        for experiment in experiments
    ]
    for number, (experiment, files) in enumerate(zip(experiments, prepared), 1):
        progress.say(f"{experiment.name} ({number} of {len(experiments)})")
        curve(
            files.model,
            train=files.training,
            validation=files.validation,
            test=files.test,
            output=curves / experiment.name,
            options=CurveOptions(
                seeds=range(experiment.seeds),
                rankings=experiment.rankings,
                removed=experiment.removed,
                protocols=experiment.protocols,
                batch_sizes=experiment.batch_sizes,
                title=experiment.title,
                command=command,
            ),
            device=device,
            jobs=scheduler or jobs,
            progress=progress,
        )
        _publish(curves / experiment.name, output / experiment.name)


def _publish(made: Path, results: Path) -> None:
    """Copy what a reader wants of a curve's folder."""
    with replacing_folder(results) as temporary:
        shutil.copytree(
            made, temporary, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*UNFINISHED)
        )


def _here(path: Path) -> Path:
    """Return a path as short as it can be said, since it stands in ``settings.json``."""
    try:
        return path.relative_to(os.getcwd())
    except ValueError:
        return path


if __name__ == "__main__":
    logger.setLevel("WARNING")  # nnabla tells of every file that it reads
    sys.exit(main())
