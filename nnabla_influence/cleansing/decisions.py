"""What a reviewer decided about rows, read from a CSV or a workbook.

A row's number means another row in another ranking. So every decision that is exported has the
ranking's id beside it. A table without ids, such as the ranking itself with two columns added, is
compared by the influence of its rows.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnabla_influence.cleansing.labels import LabelColumn
from nnabla_influence.cleansing.rows import TrainingRows
from nnabla_influence.cleansing.table import Line, is_near, normal, read_table
from nnabla_influence.errors import DatasetError
from nnabla_influence.files import PathLike
from nnabla_influence.text import with_option

KEEP, REMOVE, RELABEL = "keep", "remove", "relabel"
INDEX, DECISION, LABEL = "datasource_index", "decision", "label"

RANKING, INFLUENCE = "ranking", "influence"
"""The columns by which decisions are known to be about a ranking."""

ADVICE = ("influence.csv", "decisions.csv")
"""The files of an advice's folder: the ranking, and the decisions about it."""

_ID = re.compile(r"r[0-9a-f]{16}")
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


@dataclass(frozen=True)
class Decisions:
    """What a table decides.

    Attributes:
        by_row: The decisions by datasource_index; a row without a decision is missing.
        are_checked: Whether each of them is known to be about this ranking.
    """

    by_row: Mapping[int, Decision]
    are_checked: bool


class _CellError(ValueError):
    """A cell that cannot be used: its column, itself, and a predicate."""

    def __init__(self, column: str, cell: str, predicate: str):
        shown = repr(cell[:60]) if cell.strip() else "the cell"
        super().__init__(f"column {column!r}: {shown} {predicate}")


class _OtherRankingError(_CellError):
    """A cell that shows that the decision is about another ranking."""


def ranking_id(path: PathLike) -> str:
    """Return a hash of a ranking's content; the letter before it keeps it a text in spreadsheets.

    Without that letter it is the key under which the review page stores decisions.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return f"r{digest.hexdigest()[:16]}"


def decided_rankings(path: PathLike) -> set[str]:
    """Return the ids of the rankings that decisions are about, as far as they name any.

    Raises:
        DatasetError: The table cannot be read.
    """
    header, lines = read_table(Path(path), (INDEX, DECISION))
    ids = [at for at, name in enumerate(header) if name == RANKING]
    return {id_ for line in lines for at in ids if _ID.fullmatch(id_ := normal(line.cell(at)))}


def read_decisions(path: PathLike, rows: TrainingRows, labels: LabelColumn | None) -> Decisions:
    """Read a decisions CSV, or a workbook with such a sheet.

    It has the columns ``datasource_index`` and ``decision`` and, to relabel, ``label``; so a
    ranking with the last two added is one. Of several columns ``label``, since the dataset may
    have one, the first one after ``decision`` counts, or else the last one.

    Args:
        path: The file, as `read_table` accepts it.
        rows: The rows that are decided about.
        labels: Their labels, or None where there are none.

    Raises:
        DatasetError: It cannot be read, is about another ranking, or a cell
            cannot be used; names the first one.
    """
    path = Path(path)
    header, lines = read_table(path, (INDEX, DECISION))
    for name in (INDEX, DECISION):
        if header.count(name) > 1:
            raise DatasetError(f"{path}: has several columns {name!r}; keep one of them")
    reader = _DecisionReader(header, rows, labels)
    problems = []
    for line in lines:
        try:
            reader.add(line)
        except _OtherRankingError as error:  # which explains the cells that cannot be used
            raise DatasetError(f"{path}, line {line.number}, {error}") from error
        except _CellError as error:
            problems.append(f"{path}, line {line.number}, {error}")
    if problems:
        more = f" ({len(problems) - 1} more cells are wrong)" if len(problems) > 1 else ""
        raise DatasetError(problems[0] + more)
    return Decisions(reader.decisions, reader.are_checked)


class _DecisionReader:
    """Reads the decisions of a table, line by line.

    Attributes:
        decisions: By datasource_index.
        are_checked: Whether each of them could be compared with the ranking.
    """

    def __init__(self, header: Sequence[str], rows: TrainingRows, labels: LabelColumn | None):
        self.are_checked = True
        self._rows, self._id = rows, ranking_id(rows.ranking.dataset.path)
        # A dataset may have such columns too: an id is known by its form.
        self._ids = [at for at, name in enumerate(header) if name == RANKING]
        only = header.count(INFLUENCE) == 1
        self._influence = header.index(INFLUENCE) if only else None
        self.decisions: dict[int, Decision] = {}
        self._line_of: dict[int, int] = {}
        self._labels = labels
        self._index, self._decision = header.index(INDEX), header.index(DECISION)
        self._label = _label_position(header, self._decision)
        # Where the dataset has a column of that name, it may hold each row's own label.
        self._labels_may_be_old = LABEL in [normal(column.cell) for column in rows.columns]

    def add(self, line: Line) -> None:
        decision = normal(line.cell(self._decision))
        label = "" if self._label is None else line.cell(self._label)
        label = unicodedata.normalize("NFKC", label).strip()
        if not decision:
            if label and not self._labels_may_be_old:
                raise _CellError(
                    LABEL, label, "has no decision; write relabel beside it, or clear it"
                )
            return
        has_id = self._has_id(line)
        if decision not in (KEEP, REMOVE, RELABEL):
            cell = line.cell(self._decision)
            raise _CellError(DECISION, cell, "must be keep, remove or relabel")
        row = self._row(line.cell(self._index))
        if not has_id:
            self._check_influence(line, row)
        made = Decision(decision)
        if decision == RELABEL:
            made = Decision(decision, self._new_label(label, row))
        slipped = decision == KEEP and label and not self._labels_may_be_old
        if slipped and self._labels is not None and self._labels.is_other(label, row):
            raise _CellError(
                LABEL,
                label,
                "is not the row's label, but the decision beside it is keep; write relabel there,"
                " or clear the label",
            )
        first = self._line_of.setdefault(row, line.number)
        if self.decisions.setdefault(row, made) != made:
            raise _CellError(
                DECISION,
                line.cell(self._decision),
                f"contradicts line {first} about datasource_index {row}; keep one of them",
            )

    def _has_id(self, line: Line) -> bool:
        """Whether a line names this ranking, and not another one."""
        cells = [normal(line.cell(at)) for at in self._ids]
        found = [cell for cell in cells if _ID.fullmatch(cell)]
        for id_ in found:
            if id_ != self._id:
                raise _OtherRankingError(
                    RANKING,
                    id_,
                    f"is not {self._id}, the id of {self._rows.ranking.dataset.path}, so the"
                    " decisions are for another ranking; review this one, or delete the columns"
                    " 'ranking' and 'influence' if both rank the same rows",
                )
        return bool(found)

    def _check_influence(self, line: Line, row: int) -> None:
        """Compare a line without an id by its influence, as a spreadsheet may have rounded it."""
        shown = "" if self._influence is None else line.cell(self._influence)
        value = float(self._rows.influence[row])
        agrees = is_near(shown, value)
        if agrees is None:
            self.are_checked = False
        elif not agrees:
            raise _OtherRankingError(
                INFLUENCE,
                shown,
                f"is not {value!r}, the influence of datasource_index {row}, so the decisions are"
                " for another ranking; review this one, or delete the column 'influence' if both"
                " rank the same rows",
            )

    def _row(self, cell: str) -> int:
        text = unicodedata.normalize("NFKC", cell).strip()
        # 4.000 may be 4000 where a point groups digits, and 1.2E+03 be 1234 as it is shown.
        last = len(self._rows) - 1
        if not _ROW.fullmatch(text) or int(float(text)) > last:
            raise _CellError(INDEX, cell, f"must be the number of a row, 0 to {last}")
        return int(float(text))

    def _new_label(self, label: str, row: int) -> str:
        if self._label is None:
            raise _CellError(DECISION, RELABEL, "needs a column 'label' with the new label; add it")
        if not label:
            raise _CellError(LABEL, label, "is empty; write the new label, or another decision")
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
    after = [position for position in positions if position > decision]
    return after[0] if after else positions[-1] if positions else None
