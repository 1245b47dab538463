"""The data of an experiment: for each seed a training and a validation CSV, one test CSV for all.

As in the paper, the split between training and validation changes with the seed, and the test
rows stay. Labels are flipped in training only; a seed splits clean and noisy data alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from network_defs.samples import Training, write_definition
from nnabla_influence.commands.digits import Labels, flip_labels, make_folder, split_rows, write_csv
from reproductions.suzuki2021.console_data import console_pool
from reproductions.suzuki2021.experiments import DIGITS, FASHION, NETWORKS, Experiment
from reproductions.suzuki2021.pools import Pool, digits_pool, fashion_pool


@dataclass(frozen=True)
class Prepared:
    """The files of an experiment.

    Attributes:
        model: The network definition.
        training: The training CSVs; ``{seed}`` stands for the seed.
        validation: The validation CSVs, likewise.
        test: The test CSV.
    """

    model: Path
    training: Path
    validation: Path
    test: Path


def prepare(
    experiment: Experiment, seeds: Iterable[int], folder: Path, given: Path | None = None
) -> Prepared:
    """Write what an experiment needs; the same arguments write the same files.

    Args:
        experiment: What to prepare.
        seeds: Which.
        folder: Of all experiments' data; made if it is missing.
        given: Folder of the Console's dataset CSVs, for `MNIST` and `CIFAR10`.

    Raises:
        DatasetError: The data are missing, damaged or too few.
        OutputError: The folder cannot be written.
    """
    own = folder / experiment.data
    pool = _open(experiment, own, given)
    noise = f"-flipped-{experiment.flipped:g}" if experiment.flipped else ""
    drawn = own / f"{experiment.n_training}-{experiment.n_validation}-{pool.test.stem}{noise}"
    for seed in seeds:
        write_seed(experiment, pool, drawn / f"seed{seed}", seed)
    model = drawn / f"{experiment.name}.nntxt"
    training = Training(
        n_rows=experiment.n_training,
        # Of the first seed, for who trains the file by itself; `curve` is given each seed's.
        training_csv="seed0/training.csv",
        validation_csv="seed0/validation.csv",
        batch_size=experiment.batch_sizes[0],
        epochs=experiment.epochs,
        learning_rate=experiment.learning_rate,
    )
    write_definition(model, NETWORKS[experiment.network], training)
    seed_folder = drawn / "seed{seed}"
    return Prepared(model, seed_folder / "training.csv", seed_folder / "validation.csv", pool.test)


def _open(experiment: Experiment, folder: Path, given: Path | None) -> Pool:
    if experiment.data == DIGITS:
        return digits_pool(folder, experiment.n_test or 0)
    if experiment.data == FASHION:
        return fashion_pool(folder)
    return console_pool(experiment.data, given)


def write_seed(experiment: Experiment, pool: Pool, folder: Path, seed: int) -> None:
    """Write ``training.csv`` and ``validation.csv`` of a seed.

    Raises:
        DatasetError: The pool has too few rows.
        OutputError: The folder cannot be written.
    """
    rng = np.random.RandomState(seed)
    sizes = (experiment.n_training, experiment.n_validation)
    training, validation = split_rows(pool.labels, sizes, rng)
    n_classes = int(pool.labels.max()) + 1
    given = flip_labels(pool.labels[training], experiment.flipped, n_classes, rng)
    make_folder(folder)
    for part, rows, labels in (
        ("training", training, given),
        ("validation", validation, Labels.right(pool.labels[validation])),
    ):
        header, label_header = pool.header
        cells = [[cell] for cell in pool.cells(rows, folder)]
        write_csv(folder / f"{part}.csv", [header], cells, labels, label_header)
