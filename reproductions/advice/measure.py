"""The judge: the test accuracy of trainings on a CSV that was really changed.

It shares no code with `nnabla_influence.advice`, which it judges. Rows are deleted from a new CSV
and labels rewritten in it, and the network is trained on that from fresh seeds, for as many epochs,
each with the iterations that the rows left make. The accuracy of a training is the mean over the
last quarter of its epochs, since those differ among themselves by more than what is to be seen.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from reproductions.advice.trainings import Network, Rows, read_rows

SEEDS = 10_000
"""The first of the judge's seeds, which are nobody else's."""

NOTHING: Mapping[int, int] = {}


class Judge:
    """Trains on changed rows of a case, always from the same starts.

    Args:
        folder: Of the case.
        network: Its network.
        seeds: How many trainings to judge by.
    """

    def __init__(self, folder: Path, network: Network, seeds: int):
        self._folder, self._network, self._seeds = folder, network, range(SEEDS, SEEDS + seeds)
        self._test = read_rows(folder / "test.csv")
        self._known: dict[object, list[float]] = {}

    def accuracies(
        self,
        removed: Collection[int] = (),
        relabelled: Mapping[int, int] = NOTHING,
        validation_too: bool = False,
    ) -> list[float]:
        """Return the test accuracy of a training from each seed, in points.

        Args:
            removed: Training rows to delete.
            relabelled: By training row the label to write instead.
            validation_too: Whether to train on the validation rows as well.
        """
        change = (frozenset(removed), frozenset(relabelled.items()), validation_too)
        if change not in self._known:
            path = self._folder / "changed.csv"
            _write_changed(self._folder, path, removed, relabelled, validation_too)
            rows = read_rows(path)
            self._known[change] = [self._accuracy(rows, seed) for seed in self._seeds]
        return self._known[change]

    def _accuracy(self, rows: Rows, seed: int) -> float:
        epochs = list(self._network.train(rows, seed))
        last = epochs[-max(1, len(epochs) // 4) :]
        right = [
            self._network.logits(parameters, self._test).argmax(1) == self._test.labels[:, 0]
            for parameters in last
        ]
        return 100 * float(np.mean(right))


def _write_changed(
    folder: Path,
    path: Path,
    removed: Collection[int],
    relabelled: Mapping[int, int],
    validation_too: bool,
) -> None:
    with (
        (folder / "train.csv").open(newline="") as source,
        (folder / "validation.csv").open(newline="") as validation,
        path.open("w", newline="") as target,
    ):
        header, *rows = csv.reader(source)
        kept = header.index("y:label") + 1  # not the true labels
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(header[:kept])
        for i, row in enumerate(rows):
            if i not in removed:
                writer.writerow([*row[: kept - 1], relabelled.get(i, row[kept - 1])])
        if validation_too:
            writer.writerows(list(csv.reader(validation))[1:])
