"""The steps of a run, and the file ``steps.csv``."""

from __future__ import annotations

import contextlib
import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.errors import RunError

COLUMNS = ("step", "epoch", "learning_rate", "rows")

FetchRows = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Row numbers of shape (n,) to the network's inputs by column, each of shape (n, ...)."""


@dataclass(frozen=True, eq=False)
class Step:
    """One solver update.

    It used the sum over ``batches`` of the mini-batch's mean gradient (1/|batch|) sum grad l_k,
    plus weight decay.

    Attributes:
        step: Number of the update within the whole training, from 0.
        epoch: From 0.
        learning_rate: The solver's.
        batches: Row numbers, int64 and read-only; more than one mini-batch where the gradients of
            several were summed.
    """

    step: int
    epoch: int
    learning_rate: float
    batches: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        if not math.isfinite(self.learning_rate):
            raise RunError(f"column learning_rate: {self.learning_rate} is not a finite number")
        batches = tuple(np.array(batch, np.int64) for batch in self.batches)
        if not batches or any(batch.ndim != 1 or not batch.size for batch in batches):
            raise RunError("column rows: a mini-batch is empty; a step needs at least one row")
        for batch in batches:
            if batch.min() < 0:
                raise RunError(f"column rows: {batch.min()} is negative; rows are numbered from 0")
            batch.setflags(write=False)
        object.__setattr__(self, "batches", batches)

    @property
    def rows(self) -> np.ndarray:
        """Every row number of the step, in the order of training, repeated where used twice."""
        return self.batches[0] if len(self.batches) == 1 else np.concatenate(self.batches)


def write_steps(path: Path, steps: Sequence[Step]) -> None:
    """Write ``steps.csv``."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(COLUMNS) + "\n")
        for step in steps:
            rows = " | ".join(" ".join(map(str, batch.tolist())) for batch in step.batches)
            # repr() of a float reads back as the same float.
            file.write(f"{step.step},{step.epoch},{float(step.learning_rate)!r},{rows}\n")


def read_steps(path: Path) -> tuple[Step, ...]:
    """Read ``steps.csv``; a spreadsheet's BOM, CRLF, blanks and further columns are accepted.

    Raises:
        RunError: The file is not such a file; the message names line and column.
    """
    steps: list[Step] = []
    with _lines(path) as (positions, lines):
        for line, values in lines:
            where = f"{path}, line {line}"
            if len(values) <= max(positions):
                raise RunError(
                    f"{where}: has {len(values)} values, too few for {','.join(COLUMNS)}"
                )
            try:
                step = _parse(*(values[position].strip() for position in positions))
            except RunError as error:
                raise RunError(f"{where}, {error}") from error
            if steps and step.step != steps[-1].step + 1:
                raise RunError(
                    f"{where}, column step: {step.step} follows {steps[-1].step}; list every solver"
                    " update of the window in order"
                )
            if steps and step.epoch < steps[-1].epoch:
                raise RunError(
                    f"{where}, column epoch: {step.epoch} follows {steps[-1].epoch}; list the steps"
                    " in the order of training"
                )
            steps.append(step)
    if not steps:
        raise RunError(f"{path}: holds no steps; record at least one solver update")
    return tuple(steps)


def line_of_step(path: Path, number: int) -> int:
    """Return the line of ``steps.csv`` that holds step ``number``, from 1."""
    with _lines(path) as (positions, lines):
        return next(line for line, values in lines if int(values[positions[0]]) == number)


@contextlib.contextmanager
def _lines(path: Path) -> Iterator[tuple[list[int], Iterator[tuple[int, list[str]]]]]:
    """Yield the columns' positions, and an iterator of (line number, cells) without empty lines."""
    # A full-batch step is one cell of any length; the csv module's limit is the process's.
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [cell.strip() for cell in next(reader, [])]
            missing = [column for column in COLUMNS if column not in header]
            if missing:
                raise RunError(
                    f"{path}, line 1: the header has no column {missing[0]};"
                    f" it must name {','.join(COLUMNS)}"
                )
            filled = (
                (reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)
            )
            yield [header.index(column) for column in COLUMNS], filled
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path}: cannot be read as a UTF-8 CSV ({error})") from error
    finally:
        csv.field_size_limit(limit)


def _parse(step: str, epoch: str, learning_rate: str, rows: str) -> Step:
    try:
        rate = float(learning_rate)
    except ValueError:
        raise RunError(f"column learning_rate: {learning_rate!r} is not a number") from None
    batches = [[_count("rows", text) for text in batch.split()] for batch in rows.split("|")]
    return Step(_count("step", step), _count("epoch", epoch), rate, tuple(map(np.array, batches)))


def _count(column: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise RunError(f"column {column}: {text[:40]!r} is not a whole number from 0")
    return int(text)
