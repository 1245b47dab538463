"""Whether decisions are about the rows of this ranking, by what stands beside each of them.

A table of decisions may be of another ranking, whose rows have other numbers: an old one, made
before rows were removed. The number alone does not tell. What the table has besides does: the
row's own cells and its label as a workbook, a list of what left or a ranking with columns added
show them, and its influence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nnabla_influence.cleansing.labels import Labels
from nnabla_influence.cleansing.likeness import agrees, near
from nnabla_influence.cleansing.source import Source, picked
from nnabla_influence.cleansing.table import Line, column_names
from nnabla_influence.dataset.header import Column
from nnabla_influence.ranking import RESULT_COLUMNS

INFLUENCE = "influence"
LABEL_COLUMNS = ("given", "label_before")
# What tables of decisions have besides the row's own cells; such a name tells of no own cell.
_OTHER_COLUMNS = {
    *RESULT_COLUMNS,
    *LABEL_COLUMNS,
    *("decision", "label", "rank", "effect", "differs", "given name", "predicted name"),
}


@dataclass(frozen=True)
class Contradiction:
    """A cell that is not that of the row which its line decides about.

    Attributes:
        line: The line's number.
        column: The name of the cell's column.
        text: What is wrong, and what to do.
    """

    line: int
    column: str
    text: str


@dataclass(frozen=True)
class _Witness:
    """A line, where it says something of its row."""

    line: int
    cells: tuple[str, ...]
    influence: str


class Belonging:
    """Compares what lines of a table say of rows with the rows.

    Args:
        source: The training CSV, and its ranking.
        labels: Its labels, or None.
        header: The table's column names, in lower case.

    Attributes:
        is_of_other_scores: Whether `contradictions` met an influence that is not the row's.
    """

    def __init__(self, source: Source, labels: Labels | None, header: Sequence[str]):
        self._source = source
        named = _own_columns(source, labels)
        there = [(at, name.lstrip("'")) for at, name in enumerate(header)]
        often = Counter(name for _, name in there)
        own = [(at, name) for at, name in there if name in named and often[name] == 1]
        self._at = [at for at, _ in own]
        self._names = [name for _, name in own]
        self._columns = [named[name] for name in self._names]
        self._influence = header.index(INFLUENCE) if often[INFLUENCE] == 1 else None
        self._witnesses: dict[int, list[_Witness]] = {}
        self.is_of_other_scores = False

    def add(self, line: Line, row: int) -> None:
        """Keep what a line says of the row that it decides about."""
        influence = "" if self._influence is None else line.cell(self._influence)
        cells = tuple(line.cell(at) for at in self._at)
        self._witnesses.setdefault(row, []).append(_Witness(line.number, cells, influence))

    def contradictions(self) -> list[Contradiction]:
        """Return the cells that are not those of their rows, one for each line, the first first.

        An influence alone may be of an earlier ranking of the same rows. So it counts only where
        the own cells beside it would do for other rows as well.
        """
        found: list[Contradiction] = []
        doubts: list[tuple[Contradiction, int]] = []
        agreeing = set(range(len(self._names)))
        for row, own, witness in self._compared():
            likeness = [agrees(shown, cell) for shown, cell in zip(witness.cells, own)]
            if False in likeness:
                at = likeness.index(False)
                found.append(self._other_cell(witness, row, at, own[at]))
            elif near(witness.influence, float(self._source.influence[row])) is False:
                doubts.append((self._other_influence(witness, row), row))
                agreeing &= {at for at, is_like in enumerate(likeness) if is_like}
        unclear = self._unclear([self._columns[at] for at in sorted(agreeing)], doubts)
        self.is_of_other_scores = bool(doubts)
        found += [doubt for doubt, row in doubts if row in unclear]
        return sorted(found, key=lambda contradiction: contradiction.line)

    def _compared(self) -> Iterator[tuple[int, list[str], _Witness]]:
        """Yield rows of which something is said: number, own cells, and what is said of it."""
        if not self._names and self._influence is None:
            return
        own = picked(self._columns)
        for row, cells in enumerate(self._source.iter_cells()):
            for witness in self._witnesses.get(row, ()):
                yield row, own(cells), witness

    def _unclear(
        self, columns: Sequence[Column], doubts: Sequence[tuple[Contradiction, int]]
    ) -> set[int]:
        """Return the doubted rows whose cells in the columns other rows have, which differ."""
        rows = {row for _, row in doubts}
        if not rows or not columns:
            return rows
        shown, whole = picked(columns), picked(self._source.columns)
        cells_of = {
            row: cells for row, cells in enumerate(self._source.iter_cells()) if row in rows
        }
        known = {tuple(shown(cells)): whole(cells) for cells in cells_of.values()}
        shared = set()
        for cells in self._source.iter_cells():
            key = tuple(shown(cells))
            if key in known and known[key] != whole(cells):
                shared.add(key)
        return {row for row, cells in cells_of.items() if tuple(shown(cells)) in shared}

    def _other_cell(self, witness: _Witness, row: int, at: int, own: str) -> Contradiction:
        return Contradiction(
            witness.line,
            self._names[at],
            f"{witness.cells[at][:60]!r} is not the {own[:60]!r} of datasource_index {row}; the"
            " decisions are of another ranking, so decide with this one",
        )

    def _other_influence(self, witness: _Witness, row: int) -> Contradiction:
        influence = float(self._source.influence[row])
        return Contradiction(
            witness.line,
            INFLUENCE,
            f"{witness.influence[:60]!r} is not that of datasource_index {row}, {influence!r}; the"
            " decisions are of another ranking, so decide with this one, or clear this column if"
            " both are of the same rows",
        )


def _own_columns(source: Source, labels: Labels | None) -> Mapping[str, Column]:
    """Return the columns of the rows by the names that a table may have for them."""
    named: dict[str, set[Column]] = {}
    for column in source.columns:
        if column.name not in RESULT_COLUMNS:
            for name in column_names([*_titles(column)]):
                named.setdefault(name.lstrip("'"), set()).add(column)
    known = {name: found.pop() for name, found in named.items() if len(found) == 1}
    known = {name: column for name, column in known.items() if name not in _OTHER_COLUMNS}
    own = {name for column in source.columns for name in column_names([column.cell])}
    if labels is not None:
        known.update({name: labels.column for name in LABEL_COLUMNS if name not in own})
    return known


def _titles(column: Column) -> Iterator[str]:
    """Yield what a ranking, the review page and the workbook call a column."""
    yield column.cell
    if not column.is_comment:
        variable = column.cell.partition(":")[0]
        yield variable
        yield f"file {variable}"
        if column.label and column.label.strip():
            yield column.label
