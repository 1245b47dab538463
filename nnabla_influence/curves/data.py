"""The training, validation and test CSV of each seed: opened, compared, flipped labels found."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from nnabla_influence.dataset import ColumnSpec, Dataset, open_dataset
from nnabla_influence.dataset.header import columns_of
from nnabla_influence.definition import Definition, Label, find_label
from nnabla_influence.errors import DatasetError
from nnabla_influence.progress import Progress

PARTS = ("training", "validation", "test")
TRUE_LABEL = "#true_label"
"""The comment column in which the samples keep the label that a row should have."""

_BLOCK = 256
_NAMED = 3


@dataclass(frozen=True, eq=False)
class SeedData:
    """The data of one seed.

    Attributes:
        training: Absolute path of the CSV that is trained on and ranked.
        validation: Of the CSV that the rankings look at.
        test: Of the CSV that nothing but the result looks at.
        n_rows: N, of the training CSV.
        fingerprint: Of everything that the network sees of the three.
        flipped: bool (N,), the training rows whose label is not the true one; None where that is
            not known.
        shared: For the user, one line each: rows that stand in two of the CSVs.
    """

    training: Path
    validation: Path
    test: Path
    n_rows: int
    fingerprint: str
    flipped: Optional[np.ndarray]
    shared: tuple[str, ...]


def csv_of_seed(path: str | os.PathLike[str], seed: int) -> Path:
    """Return the path of a seed's CSV: ``{seed}`` stands for its number."""
    return Path(os.path.abspath(os.fspath(path).replace("{seed}", str(seed))))


def open_seed(
    definition: Definition,
    paths: Sequence[Path],
    true_label: str | None,
    progress: Progress,
) -> SeedData:
    """Open the three CSVs of a seed and compare them.

    Args:
        definition: The network, whose inputs they have to hold.
        paths: Of `PARTS`.
        true_label: Header cell of the training CSV's column that holds the true labels; None for
            `TRUE_LABEL`, if it is there.
        progress: Where to tell how far it is.

    Raises:
        DatasetError: One of them cannot be used or has other columns, two are the same file, or
            there is no column of true labels as named.
    """
    for i, path in enumerate(paths):
        for other in range(i):
            if path.exists() and paths[other].exists() and path.samefile(paths[other]):
                raise DatasetError(
                    f"{path}: is given as the {PARTS[other]} and as the {PARTS[i]} CSV; give"
                    " disjoint ones"
                )
    columns = [ColumnSpec(i.column, i.shape, i.n_classes) for i in definition.inputs]
    normalize = True if definition.training is None else definition.training.normalize
    opened = [open_dataset(p, columns, normalize=normalize, progress=progress) for p in paths]
    for dataset in opened[1:]:
        _check_same_form(dataset, opened[0])
    label = find_label(definition)
    content = hashlib.blake2b(digest_size=16)
    digests = []
    for part, dataset in zip(PARTS, opened):
        examples, everything = _digests(dataset, label)
        content.update(everything)
        digests.append((part, dataset, examples))
    shared = [
        _shared(one, other)
        for i, one in enumerate(digests)
        for other in digests[:i]
        if not set(one[2]).isdisjoint(other[2])
    ]
    return SeedData(
        training=opened[0].path,
        validation=opened[1].path,
        test=opened[2].path,
        n_rows=len(opened[0]),
        fingerprint=content.hexdigest(),
        flipped=_flipped(opened[0], label, true_label),
        shared=tuple(shared),
    )


def _check_same_form(dataset: Dataset, training: Dataset) -> None:
    """Refuse inputs that are made of other columns, or of the same ones in another order.

    nnabla repeats what is short, and reads by position whatever the indices are.
    """
    for name in training.inputs:
        have, want = (columns_of(d.columns, name) for d in (dataset, training))
        if len(have) != len(want):
            raise DatasetError(
                f"{dataset.path}: the input {name!r} has {len(have)} columns, and {len(want)} in"
                f" the training CSV {training.path}; give CSVs of the same columns"
            )
        for place, (own, other) in enumerate(zip(have, want), 1):
            if own.index != other.index:
                raise DatasetError(
                    f"{dataset.path}, line 1, column {own.cell!r}: is column {place} of the input"
                    f" {name!r}, which is {other.cell!r} in the training CSV {training.path};"
                    " nnabla reads by position, so give CSVs of the same columns in the same order"
                )


def _digests(dataset: Dataset, label: Optional[Label]) -> tuple[list[bytes], bytes]:
    """Return a hash of each row's inputs but its label, and one of all inputs of all rows."""
    content, rows = hashlib.blake2b(digest_size=16), []
    names = [name for name in dataset.inputs if label is None or name != label.column]
    for start in range(0, len(dataset), _BLOCK):
        batch = dataset.batch(np.arange(start, min(start + _BLOCK, len(dataset))))
        for name in dataset.inputs:
            content.update(batch[name].tobytes())
        for row in range(len(batch[names[0]])):
            digest = hashlib.blake2b(digest_size=16)
            for name in names:
                digest.update(batch[name][row].tobytes())
            rows.append(digest.digest())
    return rows, content.digest()


def _shared(one: tuple[str, Dataset, list[bytes]], other: tuple[str, Dataset, list[bytes]]) -> str:
    first: dict[bytes, int] = {}
    for row, digest in enumerate(other[2]):
        first.setdefault(digest, row)
    pairs = [(row, first[digest]) for row, digest in enumerate(one[2]) if digest in first]
    named = ", ".join(f"row {row} as its row {same}" for row, same in pairs[:_NAMED])
    more = f" and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
    rows = "1 row" if len(pairs) == 1 else f"{len(pairs)} rows"
    return (
        f"{rows} of the {one[0]} CSV {one[1].path} stand{'s' * (len(pairs) == 1)} in the"
        f" {other[0]} CSV {other[1].path} too ({named}{more}), whatever their label; the curve is"
        " more honest without them"
    )


def _flipped(dataset: Dataset, label: Label | None, name: str | None) -> np.ndarray | None:
    """Return which rows have another label than the column of true ones says."""
    wanted = TRUE_LABEL if name is None else name
    positions = [column.position for column in dataset.columns if column.cell == wanted]
    if not positions:
        if name is None:
            return None
        raise DatasetError(
            f"{dataset.path}: has no column {name!r} of true labels; it has"
            f" {', '.join(repr(cell) for cell in dataset.header)}"
        )
    if label is None:
        if name is None:
            return None
        raise DatasetError(
            f"{dataset.path}: the network predicts no class that the true labels in {name!r} could"
            " be compared with; leave --true-label out"
        )
    true = np.array(list(_true_classes(dataset, positions[0], label)))
    given = [
        label.of(dataset.batch(np.arange(start, min(start + _BLOCK, len(dataset))))[label.column])
        for start in range(0, len(dataset), _BLOCK)
    ]
    return np.asarray(np.concatenate(given) != true)


def _true_classes(dataset: Dataset, position: int, label: Label) -> Iterator[float]:
    wanted = "0 or 1" if label.binary else "a whole number from 0"
    for row, cells in enumerate(dataset.iter_cells()):
        cell = cells[position]
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        # Anything else would differ from every label, and count as flipped.
        if not value.is_integer() or value < 0 or (label.binary and value > 1):
            shown = repr(cell[:60]) if cell.strip() else "the cell is empty, which"
            raise DatasetError(
                f"{dataset.place(row, dataset.header[position])}: {shown} is not a class label;"
                f" write {wanted}"
            )
        yield value
