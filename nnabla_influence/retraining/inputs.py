"""The files of a removal curve: opened and compared once, and opened again by each worker."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.dataset import ColumnSpec, Dataset, open_dataset
from nnabla_influence.dataset.header import columns_of
from nnabla_influence.definition import (
    Definition,
    Label,
    find_label,
    load_definition,
)
from nnabla_influence.definition.training_network import initial_parameters
from nnabla_influence.definition.unrolled import expand
from nnabla_influence.device import Device, choose_device
from nnabla_influence.engine import check_differentiable, check_independence
from nnabla_influence.errors import DatasetError, ModelError
from nnabla_influence.files import file_hash
from nnabla_influence.influence.step_engines import default_chunk_size
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.retraining.evaluation import BLOCK, Evaluator
from nnabla_influence.scoring.inputs import open_training, open_validation
from nnabla_influence.text import listed

PARTS = ("training", "validation", "test")
TRUE_LABEL = "#true_label"
"""The comment column in which the samples keep the label that a row should have."""

_NAMED = 3


@dataclass(frozen=True)
class Config:
    """What is trained on what, all but the seed; plain values for workers in other processes.

    Attributes:
        model: Network definition with its optimizer section.
        training: CSV to train on and to remove rows from.
        validation: CSV whose mean loss the rankings use.
        test: CSV that the results are measured on.
        parameters: File of parameters that every seed starts from; those that it lacks, or all of
            them where it is None, are drawn for each seed by the definition's initialisers.
        batch_size: Examples of a mini-batch; None for the definition's.
        running_statistics: Whether the ranking ``final`` uses the running statistics of batch
            normalisations instead of those of each mini-batch.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        hashes: `file_hash` of each of `files`, so that a worker notices a changed file; None to
            skip that check.
    """

    model: str
    training: str
    validation: str
    test: str
    parameters: str | None = None
    batch_size: int | None = None
    running_statistics: bool = False
    device: str = "auto"
    hashes: tuple[str, ...] | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is read, apart from those that the CSVs name."""
        files = (self.model, self.training, self.validation, self.test)
        return files if self.parameters is None else (*files, self.parameters)


@dataclass(frozen=True, eq=False)
class CurveInputs:
    """A config whose files have been read and checked.

    ``definition`` is as the file has it, with the parameters to start from if such were given.
    """

    config: Config
    definition: Definition
    training: Dataset
    validation: Dataset
    test: Dataset
    batch_size: int
    device: Device

    @functools.cached_property
    def evaluator(self) -> Evaluator:
        """The network in test mode; refused if it mixes the examples of a mini-batch."""
        definition, context = self.definition, self.device.context
        block = default_chunk_size(definition, BLOCK)
        evaluator = Evaluator(definition, context, initial_parameters(definition, 0), block)
        some = self.test.batch(np.arange(min(len(self.test), block)))
        check_independence(evaluator.engine, some)
        return evaluator


def open_inputs(config: Config) -> CurveInputs:
    """Read and check a config's files; once for tasks that follow each other in a process."""
    # The stamps change when a file is rewritten.
    status = [os.stat(path) for path in config.files if os.path.exists(path)]
    return _opened(config, tuple((file.st_mtime_ns, file.st_size) for file in status))


@functools.lru_cache(maxsize=2)
def _opened(config: Config, stamps: tuple[tuple[int, int], ...]) -> CurveInputs:
    definition = load_definition(config.model, config.parameters)
    progress = SilentProgress()
    training = open_training(definition, config.training, progress)
    validation = open_validation(definition, config.validation, progress)
    test = open_validation(definition, config.test, progress)
    for path, known in zip(config.files, config.hashes or ()):
        if file_hash(path) != known:
            raise DatasetError(
                f"{path}: has changed since the command started, which would mix results of two"
                " versions; restore the file, or start again in a new folder"
            )
    if config.parameters is None:
        # Trained parameters in a model file are not a start; each seed has its own.
        definition = dataclasses.replace(definition, parameters={})
    else:
        names = list(expand(definition.path, definition.network).parameters)
        if not set(names) & set(definition.parameters):
            raise ModelError(
                f"{config.parameters}: holds none of the network's parameters"
                f" ({', '.join(names[:3])}, ...); give a file that was saved from this network"
            )
    check_differentiable(definition)
    return CurveInputs(
        config=config,
        definition=definition,
        training=training,
        validation=validation,
        test=test,
        batch_size=config.batch_size or batch_size_of(definition),
        device=choose_device(config.device),
    )


def batch_size_of(definition: Definition) -> int:
    """Return the batch size of the definition's training."""
    size = definition.training.batch_size if definition.training else 0
    if not size:
        raise ModelError(f"{definition.path}: names no batch size; give it with -bs")
    return size


@dataclass(frozen=True, eq=False)
class SeedData:
    """The data of one seed.

    Attributes:
        paths: Absolute, of `PARTS`.
        n_rows: N, of the training CSV.
        fingerprint: Of everything that the network reads of the three.
        flipped: bool (N,), the training rows whose label is not the true one; None where that is
            not known.
        shared: For the user, one line each: rows that are in two of the CSVs.
    """

    paths: tuple[Path, ...]
    n_rows: int
    fingerprint: str
    flipped: np.ndarray | None
    shared: tuple[str, ...]


def open_seed(
    definition: Definition, paths: Sequence[Path], true_label: str | None, progress: Progress
) -> SeedData:
    """Open the three CSVs of a seed and compare them.

    Args:
        definition: The network, whose inputs they must have.
        paths: Of `PARTS`.
        true_label: Header cell of the training CSV's column of true labels; None for `TRUE_LABEL`,
            if it exists.
        progress: Where to report progress.

    Raises:
        DatasetError: One of them cannot be used or has other columns, two are the same file, or
            the column of true labels is missing or invalid.
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
        check_same_columns(dataset, opened[0])
    label = find_label(definition)
    content = hashlib.blake2b(digest_size=16)
    examples = []
    for dataset in opened:
        rows, everything = row_digests(dataset, label)
        content.update(everything)
        examples.append(rows)
    shared = []
    for i in range(len(opened)):
        for other in range(i):
            first = {digest: row for row, digest in reversed([*enumerate(examples[other])])}
            pairs = [(row, first[x]) for row, x in enumerate(examples[i]) if x in first]
            if pairs:
                named = listed((f"row {row} as its row {same}" for row, same in pairs), _NAMED)
                one, two = (f"the {PARTS[k]} CSV {opened[k].path}" for k in (i, other))
                shared.append(
                    f"{'1 row' if len(pairs) == 1 else f'{len(pairs)} rows'} of {one} also in {two}"
                    f" ({named}), whatever their labels; remove them from one for a fair test"
                )
    return SeedData(
        paths=tuple(dataset.path for dataset in opened),
        n_rows=len(opened[0]),
        fingerprint=content.hexdigest(),
        flipped=_flipped(opened[0], label, true_label),
        shared=tuple(shared),
    )


def check_same_columns(dataset: Dataset, training: Dataset) -> None:
    """Refuse inputs made of other columns, or of the same ones in another order.

    nnabla repeats what is too short, and reads by position whatever the indices are.

    Raises:
        DatasetError: They are.
    """
    for name in training.inputs:
        have, want = (columns_of(d.columns, name) for d in (dataset, training))
        if len(have) != len(want):
            raise DatasetError(
                f"{dataset.path}: the input {name!r} has {len(have)} columns, but {len(want)} in"
                f" {training.path}; give CSVs of the same columns"
            )
        for own, other in zip(have, want):
            if own.index != other.index:
                raise DatasetError(
                    f"{dataset.path}, line 1, column {own.cell!r}: is in the place of"
                    f" {other.cell!r} in {training.path}; nnabla reads by position, so give CSVs of"
                    " the same columns in the same order"
                )


def _blocks(dataset: Dataset) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(dataset), BLOCK):
        yield dataset.batch(np.arange(start, min(start + BLOCK, len(dataset))))


def row_digests(dataset: Dataset, label: Label | None) -> tuple[list[bytes], bytes]:
    """Return a hash of each row's inputs but its label, and one of all inputs of all rows."""
    content, rows = hashlib.blake2b(digest_size=16), []
    names = [name for name in dataset.inputs if label is None or name != label.column]
    for batch in _blocks(dataset):
        for name in dataset.inputs:
            content.update(batch[name].tobytes())
        for row in range(len(batch[names[0]])):
            digest = hashlib.blake2b(digest_size=16)
            for name in names:
                digest.update(batch[name][row].tobytes())
            rows.append(digest.digest())
    return rows, content.digest()


def _flipped(dataset: Dataset, label: Label | None, name: str | None) -> np.ndarray | None:
    """Return which rows have another label than the column of true ones."""
    wanted = TRUE_LABEL if name is None else name
    positions = [column.position for column in dataset.columns if column.cell == wanted]
    if name is None and not (positions and label):
        return None
    if not positions:
        raise DatasetError(
            f"{dataset.path}: has no column {name!r} of true labels; it has"
            f" {', '.join(repr(cell) for cell in dataset.header)}"
        )
    if label is None:
        raise DatasetError(
            f"{dataset.path}: the network predicts no class, so the true labels in {name!r} cannot"
            " be compared; omit --true-label"
        )
    true = np.array(list(_true_classes(dataset, positions[0], label)))
    given = np.concatenate([label.of(batch[label.column]) for batch in _blocks(dataset)])
    return np.asarray(given != true)


def _true_classes(dataset: Dataset, position: int, label: Label) -> Iterator[float]:
    wanted = "0 or 1" if label.binary else "a whole number from 0"
    for row, cells in enumerate(dataset.iter_cells()):
        try:
            value = float(cells[position])
        except ValueError:
            value = math.nan
        # Anything else would differ from every label, and count as flipped.
        if not value.is_integer() or value < 0 or (label.binary and value > 1):
            raise DatasetError(
                f"{dataset.place(row, dataset.header[position])}: {cells[position][:60]!r} is not a"
                f" class label; write {wanted}"
            )
        yield value
