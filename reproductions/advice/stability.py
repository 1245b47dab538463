"""Do two trainings agree on which rows are harmful? Of one training's scores, and of means.

Run ``uv run python reproductions/advice/stability.py CLONE``, a clone of mlbench (README.md).
"""

from __future__ import annotations

import concurrent.futures
import csv
import itertools
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # started as a script, it would see this folder only

import numpy as np
from nnabla.logger import logger
from scipy import stats

from nnabla_influence.advice.comparison import compare, folds_of
from nnabla_influence.advice.several_trainings import train_and_score
from nnabla_influence.advice.trainings import read, read_scored, score_and_judge
from nnabla_influence.options import AdviceOptions, Options
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.retraining.inputs import Config, open_inputs
from reproductions.advice.cases import Case, Sources, write_case

DATA, NOISES, DRAWS = ("digits", "satellite"), ("clean", "uniform", "systematic"), 2
TRAININGS = 6
FIRST = 100
"""Most harmful rows of which two orders should have many in common."""

SCORES = (
    "final, last epoch: one training and another",
    "influence function, q-loss: one training and another",
    "influence function, q-loss: mean of three trainings and of three others",
)


def main() -> None:
    """Compute all cases, and write ``stability.csv`` and ``stability.md``."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    cases = [Case(*each) for each in itertools.product(DATA, NOISES, range(DRAWS))]
    sources = Sources(mlbench=Path(sys.argv[1]))
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        agreed = np.array(list(pool.map(compute, cases, itertools.repeat(sources))))
    with (HERE / "stability.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "training", "scores", "pairs", "spearman", "overlap"])
        for case, of_case in zip(cases, agreed):
            for scores, (n, spearman, overlap) in zip(SCORES, of_case):
                values = (int(n), f"{spearman:.3f}", f"{overlap:.1f}")
                writer.writerow([case.name, case.setting.name, scores, *values])
    text = [
        f"Written by `stability.py` from {TRAININGS} trainings of each case: Spearman's correlation"
        f" over the training rows / % of the {FIRST} most harmful rows in common.\n",
        f"| | {' | '.join(SCORES)} |\n|---|---|---|---|",
    ]
    groups = [f"{case.data}, {case.noise}" for case in cases]
    for name in [*dict.fromkeys(groups), "all"]:
        means = agreed[[name in ("all", group) for group in groups]].mean(axis=0)
        cells = [f"{spearman:.2f} / {overlap:.0f}" for _, spearman, overlap in means]
        text.append(f"| {name} | {' | '.join(cells)} |")
    (HERE / "stability.md").write_text("\n".join(text) + "\n", encoding="utf-8")


def compute(case: Case, sources: Sources) -> list[tuple[float, ...]]:
    """Return for each of `SCORES` how many pairs were compared, and the means over them."""
    logger.setLevel("WARNING")
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.dict(os.environ, {"NNABLA_INFLUENCE_CACHE": f"{name}/cache"}),
        without_futile_imports(),
    ):
        folder = write_case(Path(name), case, sources).folder
        files = ("net.nntxt", "train.csv", "validation.csv")
        model, train, validation = (str(folder / file) for file in files)
        config = Config(model, train, validation, validation, device="cpu")
        of_seeds = [_scores(config, seed, folder) for seed in range(TRAININGS)]
    final, advised = (np.array(each) for each in zip(*of_seeds))
    one = list(itertools.combinations(range(TRAININGS), 1))
    three = list(itertools.combinations(range(TRAININGS), TRAININGS // 2))
    found = [list(agreements(*of)) for of in ((final, one), (advised, one), (advised, three))]
    return [(len(pairs), *np.mean(pairs, axis=0)) for pairs in found]


def _scores(config: Config, seed: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the default scores of a training, and those of `advise`, (N,) each."""
    inputs = open_inputs(config)
    folds = folds_of(compare(inputs), 0)
    final, *paths = (str(folder / f"{name}-{seed}.npz") for name in ("final", "a", "b", "scored"))
    train_and_score(config, seed, Options(method="final", any_verdict=True), final)
    score_and_judge(config, seed, AdviceOptions().target, folds, (paths[0], paths[1], paths[2]))
    halves = read_scored(Path(paths[2])).influence
    return read(Path(final))["influence"], np.average(halves, axis=0, weights=[*map(len, folds)])


def agreements(
    influence: np.ndarray, groups: Sequence[tuple[int, ...]]
) -> Iterator[tuple[float, float]]:
    """Yield how the means of any two disjoint groups of trainings agree: Spearman, overlap (%)."""
    for one, other in itertools.combinations(groups, 2):
        if not set(one) & set(other):
            means = [influence[list(group)].mean(axis=0) for group in (one, other)]
            first = [np.argsort(mean, kind="stable")[:FIRST] for mean in means]
            shared = np.isin(first[0], first[1]).sum()
            yield float(stats.spearmanr(*means).statistic), 100 * shared / FIRST


if __name__ == "__main__":
    main()
