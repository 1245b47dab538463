"""What a person decided about rows, read from a spreadsheet's CSV or workbook."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnabla_influence.cleansing.belonging import Belonging
from nnabla_influence.cleansing.book import is_book, read_book
from nnabla_influence.cleansing.labels import Labels
from nnabla_influence.cleansing.source import Source
from nnabla_influence.cleansing.table import Line, read_table
from nnabla_influence.errors import DatasetError
from nnabla_influence.files import PathLike
from nnabla_influence.wording import with_option

KEEP, REMOVE, RELABEL = "keep", "remove", "relabel"
INDEX, DECISION, LABEL = "datasource_index", "decision", "label"

_ROW = re.compile(r"[0-9]{1,15}(?:\.0)?")


@dataclass(frozen=True)
class Decision:
    """What happens to a row.

    Attributes:
        action: ``keep``, ``remove`` or ``relabel``.
        label: The new label, as the dataset writes it, to relabel; else None.
    """

    action: str
    label: str | None = None


class _CellError(ValueError):
    """A cell that cannot be used: its column, itself, and a predicate."""

    def __init__(self, column: str, cell: str, predicate: str):
        shown = repr(cell[:60]) if cell.strip() else "the cell"
        super().__init__(f"column {column!r}: {shown} {predicate}")


@dataclass(frozen=True)
class Decided:
    """What a table decides.

    Attributes:
        by_row: The decisions, by datasource_index; none may be there.
        is_of_other_scores: Whether its influences are not those of the ranking, though its rows
            are.
    """

    by_row: Mapping[int, Decision]
    is_of_other_scores: bool


def read_decisions(path: PathLike, source: Source, labels: Labels | None) -> Decided:
    """Read a decisions CSV, or a workbook with such a sheet.

    It has the columns ``datasource_index`` and ``decision`` and, to relabel, ``label``; so a
    ranking with these columns added is one. Where there are several columns ``label``, since the
    dataset has one, the first one behind ``decision`` counts, or else the last one. What else it
    says of a row must be so (see `belonging`). A row without a decision does not stand in the
    result.

    Args:
        path: The CSV: separated by commas, semicolons or tabs, with any line ends, in any encoding
            that holds ASCII, or UTF-16; or an .xlsx file.
        source: The training CSV and its ranking.
        labels: Its labels, or None where it has none.

    Raises:
        DatasetError: It cannot be read, a cell cannot be used, or it is of other rows; says the
            first one.
    """
    path = Path(path)
    header, lines = (read_book if is_book(path) else read_table)(path, (INDEX, DECISION))
    for name in (INDEX, DECISION):
        if header.count(name) > 1:
            raise DatasetError(f"{path}: has more than one column {name!r}; keep one of them")
    belonging = Belonging(source, labels, header)
    reader = _Reader(header, source, labels, belonging)
    problems = []
    for line in lines:
        try:
            reader.add(line)
        except _CellError as error:
            problems.append(f"{path}, line {line.number}, {error}")
    # Of another ranking's decisions some cannot be used either; why is said.
    contradictions = belonging.contradictions()
    if contradictions:
        first, *others = contradictions
        more = f" (and {len(others)} more lines)" if others else ""
        raise DatasetError(
            f"{path}, line {first.line}, column {first.column!r}: {first.text}{more}"
        )
    if problems:
        more = f" ({len(problems) - 1} more cells are wrong)" if len(problems) > 1 else ""
        raise DatasetError(problems[0] + more)
    return Decided(reader.decisions, belonging.is_of_other_scores)


def normal(cell: str) -> str:
    """Return a header cell or a word without what people and spreadsheets add to it."""
    return unicodedata.normalize("NFKC", cell).strip().lower()


class _Reader:
    def __init__(
        self,
        header: Sequence[str],
        source: Source,
        labels: Labels | None,
        belonging: Belonging,
    ):
        self.decisions: dict[int, Decision] = {}
        self._line_of: dict[int, int] = {}
        self._n_rows, self._labels, self._belonging = len(source), labels, belonging
        self._index, self._decision = header.index(INDEX), header.index(DECISION)
        self._label = _label_position(header, self._decision)
        # With a label column of its own the dataset may stand there, each row with its label.
        self._labels_may_be_old = LABEL in [normal(column.cell) for column in source.columns]

    def add(self, line: Line) -> None:
        decision = normal(line.cell(self._decision))
        label = "" if self._label is None else line.cell(self._label)
        label = unicodedata.normalize("NFKC", label).strip()
        if not decision:
            if label and not self._labels_may_be_old:
                raise _CellError(
                    LABEL, label, "has no decision beside it; write relabel there, or clear it"
                )
            return
        if decision not in (KEEP, REMOVE, RELABEL):
            cell = line.cell(self._decision)
            raise _CellError(DECISION, cell, "is none of keep, remove and relabel; correct it")
        row = self._row(line.cell(self._index))
        self._belonging.add(line, row)
        made = Decision(decision)
        if decision == RELABEL:
            made = Decision(decision, self._checked(label, row))
        slipped = decision == KEEP and label and not self._labels_may_be_old
        if slipped and self._labels is not None and self._labels.is_other(label, row):
            raise _CellError(
                LABEL,
                label,
                "is not the row's label, but the decision beside it is keep, which changes nothing;"
                " write relabel there, or clear the label",
            )
        first = self._line_of.setdefault(row, line.number)
        if self.decisions.setdefault(row, made) != made:
            raise _CellError(
                DECISION,
                line.cell(self._decision),
                f"is not what line {first} decides about datasource_index {row}; keep one of them",
            )

    def _row(self, cell: str) -> int:
        text = unicodedata.normalize("NFKC", cell).strip()
        # 4.000 may be 4000 where a point groups digits, and 1.2E+03 be 1234 as it is shown.
        if not _ROW.fullmatch(text) or int(float(text)) >= self._n_rows:
            raise _CellError(
                INDEX, cell, f"is not the number of a row from 0 to {self._n_rows - 1}; correct it"
            )
        return int(float(text))

    def _checked(self, label: str, row: int) -> str:
        if self._label is None:
            raise _CellError(DECISION, RELABEL, "needs a column 'label' with the new label; add it")
        if not label:
            raise _CellError(LABEL, label, "is empty; give the new label, or decide otherwise")
        if self._labels is None:
            raise _CellError(
                LABEL,
                label,
                "cannot be set, since there is no column 'y'; name the column of the labels"
                f" {with_option('--label-column', 'label-column')}",
            )
        try:
            return self._labels.new_label(label, row)
        except ValueError as error:
            raise _CellError(LABEL, label, str(error)) from error


def _label_position(header: Sequence[str], decision: int) -> int | None:
    positions = [position for position, name in enumerate(header) if name == LABEL]
    behind = [position for position in positions if position > decision]
    return behind[0] if behind else positions[-1] if positions else None
