"""CPU seconds of the parts of `advise` for LeNet on 10,000 digits.

Run ``OMP_NUM_THREADS=1 uv run python benchmarks/advice_cost.py MNIST.npz``, with ``x_train`` and
``y_train``. One of each part is done and multiplied.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from network_defs.samples import Training, lenet, write_definition
from nnabla_influence.advice import trainings
from nnabla_influence.advice.comparison import compare, folds_of
from nnabla_influence.commands.digits import Labels, split_rows, write_images
from nnabla_influence.options import AdviceOptions
from nnabla_influence.retraining.inputs import Config, open_inputs
from nnabla_influence.retraining.seeded import Changes

N_TRAINING, N_VALIDATION = 10_000, 2_000


def write_project(folder: Path, mnist: str) -> Config:
    """Write digits and LeNet."""
    with np.load(mnist) as file:
        images, labels = file["x_train"], file["y_train"].astype(np.int64)
    parts = split_rows(labels, (N_TRAINING, N_VALIDATION), np.random.RandomState(0))
    train, validation = (
        str(write_images(folder, name, images[rows], Labels.right(labels[rows]), rows))
        for name, rows in zip(("train", "validation"), parts)
    )
    model = folder / "lenet.nntxt"
    write_definition(model, lenet(), Training(N_TRAINING, train, validation, 64, epochs=10))
    return Config(str(model), train, validation, validation, device="cpu")


def cpu_seconds(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Call a function, and return the time that it took on the CPU, and its result."""
    began = time.process_time()
    result = function(*arguments)
    return time.process_time() - began, result


def measure(config: Config, folder: Path) -> None:
    """Print the table."""
    inputs, options = open_inputs(config), AdviceOptions()
    for dataset in (inputs.training, inputs.validation):
        dataset.batch(np.arange(len(dataset)))  # reads the images, which is done once
    folds = folds_of(compare(inputs), 0)
    judged, best, scored = (str(folder / f"{name}.npz") for name in ("judged", "best", "scored"))
    scoring = 0.0

    def timed(*arguments: Any) -> Any:
        nonlocal scoring
        scoring, result = cpu_seconds(scores_of, *arguments)
        return result

    scores_of = trainings._scored
    with mock.patch.object(trainings, "_scored", timed):
        ranking, _ = cpu_seconds(
            trainings.score_and_judge, config, 0, options.target, folds, (judged, best, scored)
        )
    worst = tuple(trainings.read_scored(Path(scored)).influence.mean(0).argsort()[:1000].tolist())
    again, _ = cpu_seconds(
        trainings.judge, config, 1, options.target, Changes(removed=worst), judged
    )
    foreseeing, _ = cpu_seconds(trainings.foresee, config, best, options.target, worst, judged)
    k, r = options.trainings, options.retrainings
    parts = {  # of an advice that is confirmed for removal alone; relabelling adds 2 r trainings
        "trainings that rank": (k, ranking - scoring),
        "their scores": (k, scoring),
        "trainings that try": (20, again),
        "trainings that confirm": (3 * r, again),
        "foreseeing": (2, foreseeing),
    }
    total = sum(n * each for n, each in parts.values())
    print("| part | number | CPU seconds each | in all | share |\n|---|---|---|---|---|")
    for name, (n, each) in parts.items():
        share = 100 * n * each / total
        print(f"| {name} | {n} | {each:.1f} | {n * each:.0f} | {share:.0f} % |")
    print(f"| all | | | {total:.0f} | 100 % |")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        measure(write_project(Path(name), sys.argv[1]), Path(name))
