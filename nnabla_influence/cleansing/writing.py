"""The cleansed dataset CSV and the list of what left, written together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from nnabla_influence.cleansing.decisions import DECISION, REMOVE, Decision
from nnabla_influence.cleansing.outputs import LIST_COLUMNS, mark
from nnabla_influence.cleansing.source import Source, picked
from nnabla_influence.dataset.csv_output import (
    Relocation,
    line_writer,
    spreadsheet_line_writer,
)
from nnabla_influence.dataset.harmless import harmless, harmless_row
from nnabla_influence.dataset.header import Column
from nnabla_influence.errors import DatasetError
from nnabla_influence.files import replacing_file
from nnabla_influence.ranking import RESULT_COLUMNS

_BOM = b"\xef\xbb\xbf"


def write_cleansed(
    output: Path,
    removed_list: Path,
    source: Source,
    changes: Mapping[int, Decision],
    label: Column | None,
) -> None:
    """Write the dataset without what left, and what left.

    Args:
        output: The dataset CSV: the training CSV's columns and order.
        removed_list: The list: itself a decisions CSV.
        source: The training CSV.
        changes: By datasource_index what is removed or relabelled, in the order of the list.
        label: The label column.

    Raises:
        OutputError: One of them cannot be written; both are as they were then.
        DatasetError: A file that is read has changed meanwhile.
    """
    listed = tuple(_listed_columns(source))
    form = _form(source)
    lines: dict[int, str] = {}
    with ExitStack() as stack:
        # Both are whole before the first one takes its place.
        temporaries = [stack.enter_context(replacing_file(p)) for p in (output, removed_list)]
        there, aside = _Cells(source, source.columns, output), _Cells(source, listed, removed_list)
        line = _with_line_end(line_writer(), form.line_end)
        # People open the list in a spreadsheet; the dataset is theirs, and stays as it was.
        listed_line = _with_line_end(spreadsheet_line_writer(), form.line_end)
        with _opened(temporaries[0], form, there) as file:
            file.write(line([column.cell for column in source.columns]))
            for index, cells in enumerate(source.iter_cells()):
                change = changes.get(index)
                if change is not None:
                    shown = harmless_row(listed, aside(cells))
                    lines[index] = listed_line([*_described(cells, change, label), *shown])
                    if change.action == REMOVE:
                        continue
                    if label is not None and change.label is not None:
                        cells[label.position] = change.label
                file.write(line(there(cells)))
        with _opened(temporaries[1], form, aside) as file:
            header = [*LIST_COLUMNS, *(column.cell for column in listed)]
            if all(change.action != REMOVE for change in changes.values()):
                header.append(mark(source.ranking.dataset.path, temporaries[0]))
                lines = {index: _with_empty_cell(text, form) for index, text in lines.items()}
            file.write(listed_line(header))
            for index in changes:
                file.write(f"{index},{float(source.influence[index])!r},{lines[index]}")


def _with_empty_cell(line: str, form: _Form) -> str:
    return f"{line.removesuffix(form.line_end)},{form.line_end}"


class _Cells:
    """Takes columns' cells out of a row, with paths that are right from another CSV.

    Attributes:
        is_ascii: Whether what it puts before a path is.
    """

    def __init__(self, source: Source, columns: Sequence[Column], target: Path):
        self._relocate = Relocation(source.dataset, target)
        self._positions = [column.position for column in columns]
        self._picked = picked(columns)
        self.is_ascii = self._relocate.is_ascii

    def __call__(self, cells: list[str]) -> list[str]:
        own = self._picked(cells)
        if not self._relocate.is_needed or _all_numbers(own):
            return own
        return [self._relocate(position, cell) for position, cell in zip(self._positions, own)]


def _all_numbers(cells: Sequence[str]) -> bool:
    """Tell, quickly for tables of many columns, whether no cell can be a path."""
    try:
        for _ in map(float, cells):
            pass
    except ValueError:
        return False
    return True


def _described(cells: Sequence[str], change: Decision, label: Column | None) -> list[str]:
    before = "" if label is None else harmless(label, cells[label.position])
    return [change.action, before, change.label or ""]


def _listed_columns(source: Source) -> Iterator[Column]:
    """Yield the columns that the list shows: none that would hide its own."""
    for column in source.columns:
        if column.name not in RESULT_COLUMNS and column.cell.strip().lower() != DECISION:
            yield column


@dataclass(frozen=True)
class _Form:
    """How a CSV is written: what its text needs, and the line end that the training CSV has."""

    is_ascii: bool
    line_end: str


def _form(source: Source) -> _Form:
    path = source.dataset.path
    try:
        with open(path, "rb") as file:
            first = file.readline()
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read any more ({error.strerror or error})"
        ) from error
    # A spreadsheet needs the byte-order mark where a cell is not ASCII.
    is_ascii = source.dataset.is_ascii and not first.startswith(_BOM)
    return _Form(is_ascii, "\r\n" if first.endswith(b"\r\n") else "\n")


def _opened(path: Path, form: _Form, cells: _Cells) -> TextIO:
    is_ascii = form.is_ascii and cells.is_ascii
    return open(path, "w", encoding="utf-8" if is_ascii else "utf-8-sig", newline="")


def _with_line_end(
    written: Callable[[Sequence[str]], str], line_end: str
) -> Callable[[Sequence[str]], str]:
    return lambda cells: written(cells)[:-1] + line_end
