"""Does an answer change when the rows that explain it are removed? README.md has the experiment.

Run ``uv run python reproductions/explain/run.py``. Each line of ``results.csv`` is written as soon
as it is known, and none is computed twice.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import csv
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # started as a script, it would see this folder only

import numpy as np
from nnabla.logger import logger

from nnabla_influence import TerminalProgress
from nnabla_influence.files import replacing_file
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.retraining.seeded import NO_CHANGES, Changes
from reproductions.explain.cases import NETWORKS, Case, cases, write_case
from reproductions.explain.table import (
    FIELDS,
    INFLUENCE,
    LESS_DAMPED,
    RANDOM,
    RIVALS,
    SEED,
    VARIANT_DRAWS,
    VARIANTS,
    write_table,
)
from reproductions.explain.training import Trained

DRAWS = 2
"""Of data, wrong labels and seed, for each data set, noise and network."""
FEWER = 2
"""Rivals of LeNet, whose trainings take longer."""
TIMES = {"MLP": 5, "LeNet": 3}
"""Trainings from other seeds, and without random rows."""
SHARE = 0.01
"""Of the training rows, removed."""


def main() -> None:
    """Compute what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--output", type=Path, default=HERE, help="folder (default: this one)")
    parsed = parser.parse_args()
    wanted = [*cases(range(DRAWS)), *cases(VARIANT_DRAWS, ["digits"], ["MLP"])]
    run([case for case in wanted if case.network in parsed.networks], parsed.output, parsed.jobs)


def run(wanted: Collection[Case], output: Path, jobs: int) -> None:
    """Compute what is missing in ``output``, and write the table there."""
    output.mkdir(parents=True, exist_ok=True)
    results = output / "results.csv"
    if not results.is_file():
        results.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
    # One thread a process: these networks are too small to share, and the processes fill the cores.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    context = multiprocessing.get_context("spawn")
    with (
        TerminalProgress().stage("Study", len(wanted), "trainings") as stage,
        concurrent.futures.ProcessPoolExecutor(jobs, context) as pool,
    ):
        tasks = [pool.submit(compute, case, results) for case in wanted]
        for task in concurrent.futures.as_completed(tasks):
            task.result()
            stage.update()
    _sort(results)
    write_table(results, output / "table.md")


def compute(case: Case, results: Path) -> None:
    """Add the lines of a case that are missing."""
    logger.setLevel("WARNING")  # nnabla tells of every file that it reads
    with (
        tempfile.TemporaryDirectory() as folder,
        # What the package keeps of the datasets goes with them.
        mock.patch.dict(os.environ, {"NNABLA_INFLUENCE_CACHE": f"{folder}/cache"}),
        without_futile_imports(),
    ):
        written = write_case(Path(folder), case)
        trained = Trained(case, written, Path(folder))
        _Study(case, trained, written.wrong, results).compute()


class _Study:
    """One case, and what is known of it."""

    def __init__(self, case: Case, trained: Trained, wrong: np.ndarray, results: Path):
        self._case, self._trained, self._wrong, self._path = case, trained, wrong, results
        self._n = round(SHARE * len(wrong))
        with results.open(newline="") as file:
            self._known = {
                (line["change"], line["order"])
                for line in csv.DictReader(file)
                if line["case"] == case.name
            }

    def compute(self) -> None:
        """Add all lines."""
        trained, case, n = self._trained, self._case, self._n
        for k in range(TIMES[case.network]):
            if self._lacks(f"{SEED} {k}", "new"):
                parameters = trained.retrained(NO_CHANGES, case.seed + 50 + k)
                right = trained.right(parameters, trained.rows)
                self._add(f"{SEED} {k}", "new", right)
        rng = np.random.default_rng([case.seed, 2])
        for k in range(TIMES[case.network]):
            some = np.sort(rng.permutation(len(self._wrong))[:n])
            for order in ("new", "kept"):
                self._try(f"{RANDOM} {k}", order, [some] * len(trained.rows))
        for name in (INFLUENCE, LESS_DAMPED):
            self._try_order(name, ("kept", "new"))
        names: tuple[str, ...] = VARIANTS
        if case.draw not in VARIANT_DRAWS:
            names = RIVALS if case.network == "MLP" else RIVALS[:FEWER]
        if case.draw in VARIANT_DRAWS:
            self._try_order(LESS_DAMPED, ["kept"], 2)
        elif case.network == "MLP":
            self._try_order(INFLUENCE, ["kept"], 2)
            self._try_relabelled()
        for name in names:
            self._try_order(name, ["kept"])

    def _try_order(self, name: str, orders: Iterable[str], times: int = 1) -> None:
        change = name if times == 1 else f"{name}, {times} %"
        missing = [order for order in orders if self._lacks(change, order)]
        if missing:
            removed = [row[: times * self._n] for row in self._trained.order(name)]
            for order in missing:
                self._try(change, order, removed)

    def _try_relabelled(self) -> None:
        change = f"{INFLUENCE}, relabelled"
        if not self._lacks(change, "kept"):
            return
        trained, right, found = self._trained, [], []
        suggested = trained.suggested()
        for k, rows in enumerate(trained.order(INFLUENCE)[:, : self._n]):
            new = tuple((int(row), int(suggested[row])) for row in rows)
            parameters = trained.retrained(Changes(relabelled=new))
            right.append(trained.right(parameters, trained.rows[k : k + 1])[0])
            found.append(self._wrong[rows].mean())
        self._add(change, "kept", right, found=float(np.mean(found)))

    def _try(self, change: str, order: str, removed: Sequence[np.ndarray]) -> None:
        """Remove rows for each evaluated row, retrain, and see which evaluated rows are right."""
        if not self._lacks(change, order):
            return
        trained, right = self._trained, np.zeros(len(removed), bool)
        sets = {tuple(sorted(rows.tolist())) for rows in removed}
        for some in sorted(sets):
            which = [k for k, rows in enumerate(removed) if tuple(sorted(rows.tolist())) == some]
            if order == "kept":
                parameters = trained.without_gradients(np.array(some))
            else:
                parameters = trained.retrained(Changes(removed=some))
            right[which] = trained.right(parameters, trained.rows[which])
        found = float(np.mean([self._wrong[rows].mean() for rows in removed]))
        self._add(change, order, right, found=found)

    def _lacks(self, change: str, order: str) -> bool:
        return (change, order) not in self._known

    def _add(
        self, change: str, order: str, right: Iterable[bool], found: float | None = None
    ) -> None:
        line = {
            "case": self._case.name,
            "data": self._case.data,
            "noise": self._case.noise,
            "network": self._case.network,
            "draw": self._case.draw,
            "accuracy": f"{100 * self._trained.accuracy:.2f}",
            "change": change,
            "order": order,
            "wrong_labels": "" if found is None else f"{100 * found:.1f}",
            "right": "".join("01"[int(one)] for one in right),
        }
        # One write of a short line to a file opened to append is never mixed with another's.
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, FIELDS, lineterminator="\n").writerow(line)
        self._known.add((change, order))


def _sort(results: Path) -> None:
    """Put the lines in an order that does not depend on which process was first."""
    with results.open(newline="") as file:
        lines = list(csv.DictReader(file))
    lines.sort(key=lambda line: (line["case"], line["change"], line["order"]))
    with (
        replacing_file(results) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
