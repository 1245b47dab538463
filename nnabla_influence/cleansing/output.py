"""The cleansed dataset CSV and the list of removed rows, written together or not at all."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from nnabla_influence.cleansing.decisions import DECISION, RANKING, REMOVE, Decision, ranking_id
from nnabla_influence.cleansing.labels import find_label
from nnabla_influence.cleansing.rows import TrainingRows, open_rows, picked
from nnabla_influence.dataset.csv_output import (
    Relocation,
    line_writer,
    spreadsheet_line_writer,
)
from nnabla_influence.dataset.harmless import harmless, harmless_row
from nnabla_influence.dataset.header import Column, parse_column
from nnabla_influence.errors import OutputError
from nnabla_influence.files import (
    PathLike,
    check_output,
    file_hash,
    is_same_file,
    replacing_file,
)
from nnabla_influence.ranking import RESULT_COLUMNS
from nnabla_influence.text import with_option

_MARK_COLUMNS = ("datasource_index", "influence", "decision", "label_before", "label")
"""How every list of removed rows begins."""
_LIST_COLUMNS = (*_MARK_COLUMNS, RANKING)

_BOM = b"\xef\xbb\xbf"


def default_list(output: Path) -> Path:
    """Return the path of the list of removed rows, where none was given."""
    return output.parent / f"{output.stem}.removed.csv"


def check_outputs(output: Path, removed_list: Path, inputs: Iterable[PathLike | None]) -> None:
    """Check that both files can be written, and overwrite only an earlier result.

    Raises:
        OutputError: One of them is an input or another file of the user's, or cannot be written,
            or both are the same.
    """
    if is_same_file(output, removed_list):
        raise OutputError(
            f"{removed_list}: is both the dataset and the list of removed rows; give the list"
            f" another path {with_option('--removed')}"
        )
    inputs = list(inputs)
    kind = "an earlier result, which has its list of removed rows beside it"
    check_output(output, inputs, lambda _: _may_be_result(output, removed_list), kind)
    check_output(removed_list, inputs, _may_be_list, "a list of removed rows")


def check_not_the_training_csv(output: Path, removed_list: Path, rows: TrainingRows) -> None:
    """Check, where only the ranking is given, that the output cannot be the CSV that it is of.

    The earlier result that is replaced may have been trained on since. It may be the training CSV
    if it has its columns and no fewer rows than are ranked. An earlier result of this ranking has
    fewer, unless nothing was removed: then its list names the ranking.

    Raises:
        OutputError: It may be the training CSV.
    """
    if not output.is_file() or not _holds(output, [c.cell for c in rows.columns], len(rows)):
        return
    made = _made_of(rows.ranking.dataset.path, output)
    if all(_header(path)[-1:] != [made] for path in (removed_list, default_list(output))):
        raise OutputError(
            f"{output}: may be the training CSV itself, since it has the same columns and as many"
            " rows; choose another output path, or give the training CSV"
            f" {with_option('-t', 'input-train')}"
        )


def write_cleansed(
    output: Path,
    removed_list: Path,
    rows: TrainingRows,
    changes: Mapping[int, Decision],
    label: Column | None,
) -> None:
    """Write the dataset with its changes, and the list of them.

    Args:
        output: The dataset CSV: the training CSV's columns and order.
        removed_list: The list: itself a decisions CSV.
        rows: The training rows.
        changes: By datasource_index what is removed or relabelled, in the order of the list.
        label: The label column.

    Raises:
        OutputError: One of them cannot be written; neither of them is changed then.
        DatasetError: A file that is read has changed meanwhile.
    """
    first = _first_line(rows.dataset.path)
    is_ascii = rows.dataset.is_ascii and not first.startswith(_BOM)
    end = "\r\n" if first.endswith(b"\r\n") else "\n"
    with ExitStack() as stack:
        # Both are whole before the first one is put in its place.
        temporaries = [stack.enter_context(replacing_file(p)) for p in (output, removed_list)]
        kept, aside = _Cells(rows, rows.columns, output), _List(rows, removed_list, label, end)
        line = _with_line_end(line_writer(), end)
        with _opened(temporaries[0], is_ascii and kept.is_ascii) as file:
            file.write(line([column.cell for column in rows.columns]))
            for index, cells in enumerate(rows.iter_cells()):
                change = changes.get(index)
                if change is not None:
                    aside.add(index, cells, change)
                    if change.action == REMOVE:
                        continue
                    if label is not None and change.label is not None:
                        cells[label.position] = change.label
                file.write(line(kept(cells)))
        nothing_removed = all(change.action != REMOVE for change in changes.values())
        made_of = _made_of(rows.ranking.dataset.path, temporaries[0]) if nothing_removed else None
        aside.write(temporaries[1], changes, is_ascii, made_of)


def write_decisions(
    path: PathLike,
    ranking: PathLike,
    decisions: Mapping[int, Decision],
    *,
    label_column: str | None = None,
) -> None:
    """Write decisions about a ranking as a CSV, whole or not at all, the most harmful row first.

    It has the form of the list of removed rows, and an earlier one is replaced.

    Args:
        path: The CSV.
        ranking: The ranking CSV, whole, as `score` wrote it.
        decisions: By datasource_index.
        label_column: As for `cleanse`.

    Raises:
        OutputError: It cannot be written, or is another file.
        DatasetError: The ranking cannot be used.
    """
    path = Path(path)
    check_output(path, [ranking], _may_be_list, "a list of decisions")
    rows = open_rows(ranking, None)
    made = _List(rows, path, find_label(rows.dataset, rows.columns, label_column), "\n")
    for index, cells in enumerate(rows.iter_cells()):
        if index in decisions:
            made.add(index, cells, decisions[index])
    order = [index for index in rows.ranking.order.tolist() if index in decisions]
    with replacing_file(path) as temporary:
        made.write(temporary, order, rows.dataset.is_ascii)


class _List:
    """Describes decisions about rows, each with the ranking's id and the row's own cells."""

    def __init__(self, rows: TrainingRows, target: Path, label: Column | None, end: str):
        self._rows, self._label, self._end = rows, label, end
        self._columns = _listed_columns(rows)
        self._cells = _Cells(rows, self._columns, target)
        self._id = ranking_id(rows.ranking.dataset.path)
        # It is opened in a spreadsheet.
        self._line = _with_line_end(spreadsheet_line_writer(), end)
        self._lines: dict[int, str] = {}

    def add(self, index: int, cells: list[str], change: Decision) -> None:
        """Describe a decision about a row, whose cells are still the old ones."""
        label = self._label
        before = "" if label is None else harmless(label, cells[label.position])
        described = [change.action, before, change.label or "", self._id]
        shown = harmless_row(self._columns, self._cells(cells))
        self._lines[index] = self._line([*described, *shown])

    def write(
        self, path: Path, order: Iterable[int], is_ascii: bool, made_of: str | None = None
    ) -> None:
        """Write the rows in an order; ``made_of`` is the header of an empty column at the end."""
        header = [*_LIST_COLUMNS, *(column.cell for column in self._columns)]
        end = self._end
        if made_of is not None:
            header.append(made_of)
            end = f",{end}"
        with _opened(path, is_ascii and self._cells.is_ascii) as file:
            file.write(self._line(header))
            for index in order:
                text = self._lines[index].removesuffix(self._end) + end
                file.write(f"{index},{float(self._rows.influence[index])!r},{text}")


# -------------------------------------------------------------------- earlier results


def _made_of(ranking: Path, output: Path) -> str:
    """Return the list's last header cell where nothing was removed: what was made of what.

    It begins with ``#``, so that the Console takes the column for a comment.
    """
    return f"#{file_hash(output)} of {file_hash(ranking)}"


def _header(path: Path) -> list[str]:
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, csv.Error):
        return []


def _may_be_list(path: PathLike) -> bool:
    begin = ",".join(_MARK_COLUMNS).encode()
    if not os.path.isfile(path):
        return True  # Writing reports what is wrong.
    with open(path, "rb") as file:
        return file.read(len(_BOM) + len(begin)).removeprefix(_BOM).startswith(begin)


def _may_be_result(output: Path, removed_list: Path) -> bool:
    lists = [path for path in (removed_list, default_list(output)) if path.is_file()]
    return not output.is_file() or any(map(_may_be_list, lists))


def _holds(path: Path, columns: Sequence[str], n_rows: int) -> bool:
    """Whether a file has these columns, beside those of a ranking, and so many rows."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        records = csv.reader(file)
        try:
            header = next(records, [])
            if [c for c in header if parse_column(0, c).name not in RESULT_COLUMNS] != [*columns]:
                return False
            return any(count >= n_rows for count, _ in enumerate(records, 1))
        except csv.Error:  # It cannot be counted, so it is not overwritten.
            return True


# ------------------------------------------------------------------------------ cells


class _Cells:
    """Picks columns' cells out of a row, with paths that are right from another CSV.

    Attributes:
        is_ascii: Whether what it puts before a path is.
    """

    def __init__(self, rows: TrainingRows, columns: Sequence[Column], target: Path):
        self._relocate = Relocation(rows.dataset, target)
        self._positions = [column.position for column in columns]
        self._picked = picked(columns)
        self.is_ascii = self._relocate.is_ascii

    def __call__(self, cells: list[str]) -> list[str]:
        own = self._picked(cells)
        if not self._relocate.is_needed or _are_numbers(own):
            return own
        return [self._relocate(position, cell) for position, cell in zip(self._positions, own)]


def _are_numbers(cells: Sequence[str]) -> bool:
    """Whether no cell can be a path; fast for tables of many columns."""
    try:
        for _ in map(float, cells):
            pass
    except ValueError:
        return False
    return True


def _listed_columns(rows: TrainingRows) -> list[Column]:
    """Return the columns that the list shows: none that would hide its own."""
    own = [column for column in rows.columns if column.name not in RESULT_COLUMNS]
    return [column for column in own if column.cell.strip().lower() != DECISION]


def _first_line(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.readline()


def _opened(path: Path, is_ascii: bool) -> TextIO:
    # A spreadsheet needs the byte-order mark where a cell is not ASCII.
    return open(path, "w", encoding="utf-8" if is_ascii else "utf-8-sig", newline="")


def _with_line_end(
    written: Callable[[Sequence[str]], str], line_end: str
) -> Callable[[Sequence[str]], str]:
    return lambda cells: written(cells)[:-1] + line_end
