"""What the two CSVs of an advice have in common, and what the validation CSV lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nnabla_influence.definition import find_label
from nnabla_influence.influence.relabelling import classes_of
from nnabla_influence.retraining.inputs import CurveInputs, check_same_columns, row_digests
from nnabla_influence.scoring.inputs import ignored_rows
from nnabla_influence.text import listed

_NAMED = 5


@dataclass(frozen=True, eq=False)
class Comparison:
    """How a training and a validation CSV go together.

    Attributes:
        shared: Validation rows whose inputs are also a training row's, whatever the labels: what
            they say of the network is worth nothing.
        repeated: Validation rows whose inputs an earlier one has: in the other half, such a row
            would judge the ranking that it had a part in.
        contradictory: Groups of training rows with equal inputs and different labels.
        lacking: Classes of training rows that no validation row has.
        classes: Of the training rows, (N,) int64; None where the network predicts no class.
        judging: The other validation rows that the loss does not ignore, (V,).
        judging_classes: Their classes, (V,); None likewise.
    """

    shared: np.ndarray
    repeated: np.ndarray
    contradictory: tuple[tuple[int, ...], ...]
    lacking: tuple[int, ...]
    classes: np.ndarray | None
    judging: np.ndarray
    judging_classes: np.ndarray | None

    def lines(self) -> Iterator[str]:
        """Yield what the user should know."""
        if len(self.shared):
            yield f"{_rows(self.shared)} not used, since the training CSV has the same inputs"
        if len(self.repeated):
            yield f"{_rows(self.repeated)} not used, since an earlier one has the same inputs"
        if self.contradictory:
            groups = (" and ".join(map(str, group)) for group in self.contradictory)
            yield (
                f"{sum(map(len, self.contradictory))} training rows have the inputs of another one"
                f" and a different label (rows {listed(groups, _NAMED)}): at most one is right"
            )
        if self.lacking:
            yield (
                f"the validation CSV has no row of class {listed(self.lacking)}: the advice cannot"
                " know what is good for it"
            )


def compare(inputs: CurveInputs) -> Comparison:
    """Compare a training with a validation CSV, by the inputs of their rows.

    Raises:
        DatasetError: They have other columns.
    """
    training, validation, label = inputs.training, inputs.validation, find_label(inputs.definition)
    check_same_columns(validation, training)
    trained, _ = row_digests(training, label)
    validated, _ = row_digests(validation, label)
    known, first = set(trained), {x: row for row, x in reversed([*enumerate(validated)])}
    shared = np.array([digest in known for digest in validated])
    repeated = np.array([first[x] != row for row, x in enumerate(validated)]) & ~shared
    judging = np.flatnonzero(~shared & ~repeated & ~ignored_rows(inputs.definition, validation))
    of_rows = (np.flatnonzero(shared), np.flatnonzero(repeated))
    if label is None:
        return Comparison(*of_rows, (), (), None, judging, None)
    classes, of_validation = classes_of(training, label), classes_of(validation, label)
    same: dict[bytes, list[int]] = {}
    for row, digest in enumerate(trained):
        same.setdefault(digest, []).append(row)
    return Comparison(
        *of_rows,
        contradictory=tuple(
            tuple(group) for group in same.values() if len(set(classes[group].tolist())) > 1
        ),
        lacking=tuple(np.setdiff1d(classes[classes >= 0], of_validation[judging]).tolist()),
        classes=classes,
        judging=judging,
        judging_classes=of_validation[judging],
    )


def folds_of(comparison: Comparison, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return two halves of the validation rows to judge with, each class in both."""
    rng = np.random.default_rng([seed, 3])
    order = rng.permutation(len(comparison.judging))
    if comparison.judging_classes is not None:
        order = order[np.argsort(comparison.judging_classes[order], kind="stable")]
    one, other = (np.sort(comparison.judging[order[half::2]]).tolist() for half in (0, 1))
    return tuple(one), tuple(other)


def _rows(rows: np.ndarray) -> str:
    n = len(rows)
    return f"{n} validation row{'' if n == 1 else 's'} ({listed(rows.tolist(), _NAMED)})"
