"""The tidy table of removal curves: one line for each training, and its file results.csv."""

from __future__ import annotations

import csv
import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnabla_influence.errors import RunError
from nnabla_influence.retraining.plan import NONE, PROTOCOLS, RANKINGS

if TYPE_CHECKING:
    import pandas as pd

RANDOM = "random"
# The order of tables and figures: no removal stands first.
ORDER = (NONE, *RANKINGS)


@dataclass(frozen=True)
class CellResult:
    """What one training gave.

    Attributes:
        seed: The seed of the training.
        ranking: The ranking whose most harmful rows were removed; ``"none"`` where none were.
        n: How many rows were removed; 0 exactly where ``ranking`` is ``"none"``.
        protocol: What was redone without them: ``"all"`` or ``"last"``.
        batch_size: The batch size of the training.
        accuracy: Accuracy on the test CSV, 0 to 1; None where the network predicts no class.
        loss: Mean loss on the test CSV.
        cache_bytes: Bytes on disk of the states that the ranking needs, where known.
        seconds: How long the training took.
    """

    seed: int
    ranking: str
    n: int
    protocol: str
    batch_size: int
    accuracy: float | None
    loss: float
    cache_bytes: int | None
    seconds: float

    def __post_init__(self) -> None:
        if self.ranking not in ORDER:
            raise ValueError(f"{self.ranking!r} is none of the rankings {', '.join(ORDER)}")
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"{self.protocol!r} is none of the protocols {', '.join(PROTOCOLS)}")
        if self.n < 0 or (self.ranking == NONE) != (self.n == 0):
            raise ValueError(f"{self.n} rows cannot be removed by the ranking {self.ranking!r}")
        if self.accuracy is not None and not 0 <= self.accuracy <= 1:
            raise ValueError(f"an accuracy is between 0 and 1, not {self.accuracy}")


# Seconds stand last: all else is the same in two runs of one experiment.
COLUMNS = tuple(field.name for field in fields(CellResult))


def results_frame(cells: Iterable[CellResult]) -> pd.DataFrame:
    """Return the trainings as a table, one line each, in an order that depends on them alone.

    Sorted by protocol, batch size, ranking (in the order of `ORDER`), number of rows and seed.
    A missing accuracy is NaN; ``cache_bytes`` has the type Int64, so that it can be missing.

    Raises:
        ValueError: Two cells are of the same training.
    """
    cells = sorted(cells, key=_place)
    for one, other in zip(cells, cells[1:]):
        if _place(one) == _place(other):
            raise ValueError(
                f"two results of seed {one.seed}, {one.ranking}, {one.n} removed,"
                f" protocol {one.protocol}, batch size {one.batch_size}"
            )
    return typed_frame([[getattr(cell, name) for name in COLUMNS] for cell in cells], COLUMNS)


def typed_frame(lines: Sequence[Sequence[Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return a DataFrame whose columns have their types also where there is no line."""
    import pandas as pd

    frame = pd.DataFrame([list(line) for line in lines], columns=list(columns), dtype=object)
    return frame.astype({name: _dtype(name) for name in columns})


def write_table(path: Path, frame: pd.DataFrame) -> None:
    r"""Write a table as CSV: lines end in ``\n``, floats read back exactly, missing is empty.

    A loss that is not a number is no missing one: it stands as ``nan`` in results.csv.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(frame.columns)
        for line in frame.astype(object).itertuples(index=False):
            writer.writerow([_cell(name, value) for name, value in zip(frame.columns, line)])


def read_results(path: Path) -> pd.DataFrame:
    """Read a results.csv as `results_frame` made it.

    Raises:
        RunError: The file is missing or is no results.csv.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path}: cannot be read ({error}); give a results.csv") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise RunError(f"{path}: its first line is not {','.join(COLUMNS)}; give a results.csv")
    cells = []
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(COLUMNS):
            raise RunError(
                f"{path}: line {number} has {len(line)} cells, not {len(COLUMNS)}; write it again"
            )
        try:
            cells.append(CellResult(**{n: _PARSE[n](text) for n, text in zip(COLUMNS, line)}))
        except ValueError as error:
            raise RunError(f"{path}: line {number}: {error}; write it again") from error
    return results_frame(cells)


def _place(cell: CellResult) -> tuple[int, int, int, int, int]:
    return (
        PROTOCOLS.index(cell.protocol),
        cell.batch_size,
        ORDER.index(cell.ranking),
        cell.n,
        cell.seed,
    )


_TEXT = ("ranking", "protocol")
_WHOLE = ("seed", "n", "batch_size", "seeds", "pairs_none", "pairs_random")
_WHOLE_DETECTION = ("k", "found", "flipped", "rows")


def _dtype(column: str) -> str:
    if column in _TEXT:
        return "object"
    if column == "cache_bytes":
        return "Int64"
    return "int64" if column in (*_WHOLE, *_WHOLE_DETECTION) else "float64"


def _cell(column: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if _dtype(column) == "float64":
        value = float(value)
        return "" if math.isnan(value) and column != "loss" else repr(value)
    # The missing value of Int64 is neither None nor a number.
    return str(int(value)) if isinstance(value, numbers.Integral) else ""


def _optional(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: parse(text) if text else None


_PARSE: dict[str, Callable[[str], Any]] = {
    "seed": int,
    "ranking": str,
    "n": int,
    "protocol": str,
    "batch_size": int,
    "accuracy": _optional(float),
    "loss": float,
    "cache_bytes": _optional(int),
    "seconds": float,
}
