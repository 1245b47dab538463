"""The workbook's other sheets: how to read it, and summaries of classes and groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nnabla_influence.ranking import Groups
from nnabla_influence.review.reviewed import Class, Reviewed, ReviewedRow
from nnabla_influence.review.sheet import as_text, write_text

if TYPE_CHECKING:
    import xlsxwriter
    from xlsxwriter.worksheet import Worksheet

CLASSES, GROUPS = "Classes", "Groups"
# Each paragraph is a line of the sheet: its title, and its text.
_GUIDE = """
influence
The first-order change of the mean validation loss, or of what else it was scored by, if this row
is left out of the traced part of the training.

effect: harmful
Below 0. Without it the validation rows do better.

effect: helpful
Above 0. Without it the validation rows do worse.

effect: not judged
The row is not in the traced part of the training (times_seen 0); its influence of 0 has no meaning.

differs
The network predicts another class than the given one. To find wrong labels, review these first.

When not to delete
A harmful row may be right and rare: the only picture of its kind, or one that the validation data
lack. A wrong label is better relabelled. Scores near 0 are noise. Never choose rows by a ranking
made with your test data, and see what a removal does before you rely on it (nnabla-influence
curve).

decision
keep, remove or relabel, picked from the list of the cell. Empty: keep.

label
For relabel: the right class's number, picked from the list of the cell.

ranking
The id of the ranking. Leave it as it is: cleanse refuses decisions about another ranking.

Next
Save the workbook, close it, and make the cleansed dataset: nnabla-influence cleanse -i RANKING.csv
--decisions THIS.xlsx -o clean.csv

As CSV
The sheet Ranking may be saved as CSV under another name instead. Never save over the ranking
itself: a spreadsheet rounds its numbers.

Sorting
The pictures go with their rows when you sort or filter by the arrows in the header.
"""

_GUIDE_TO_TRAININGS = """
influence_se, harmful_in
The influence is a mean over several trainings: its standard error, and in how many of them the row
is harmful. Trust a row that is harmful in all of them.
"""

_GUIDE_TO_SUGGESTIONS = """
suggested, relabel_gain
The best class other than the given one, and by how much the target falls, to first order, if the
row has that label. At 0 or below there is no label to suggest.
"""

_GUIDE_TO_PROPOSALS = """
proposed, proposed label
What a program proposes; cleanse does not read it. To accept it, copy the two cells over decision
and label beside them, for one row or for many.
"""


def guide_lines(
    reviewed: Reviewed, notes: Sequence[str], has_proposals: bool
) -> list[tuple[str, str]]:
    """Return the lines of the sheet that explains the others: each a title and a text."""
    ranking = f"{as_text(reviewed.path.name)}: {len(reviewed):,} rows, most harmful first"
    lines = [("Ranking", ranking)]
    if reviewed.verdict is not None:
        lines.append(("Verdict", as_text(reviewed.verdict.sentence)))
    guide = _GUIDE
    if reviewed[0].influence_se is not None:
        guide = _GUIDE_TO_TRAININGS + guide
    if reviewed[0].relabel_gain is not None:
        guide = _GUIDE_TO_SUGGESTIONS + guide
    if has_proposals:
        guide = _GUIDE_TO_PROPOSALS + guide
    for paragraph in guide.strip().split("\n\n"):
        title, _, text = paragraph.partition("\n")
        lines.append((title, text.replace("\n", " ")))
    return [*lines, *(("Note", as_text(note)) for note in notes)]


class ClassCounts:
    """Counts the rows of each class."""

    titles = (
        "class",
        "name",
        "rows",
        "harmful",
        "helpful",
        "predicted otherwise",
        "sum of influence",
        "lowest influence",
    )

    def __init__(self, classes: Sequence[Class]):
        # Those that no row has come last: they cannot be given as a new label.
        self._lines: dict[str, list[Any]] = {
            c.value: [int(c.value), c.name and as_text(c.name), c.rows, 0, 0, 0, 0.0, None]
            for c in sorted(classes, key=lambda c: c.rows == 0)
        }

    def add(self, row: ReviewedRow) -> None:
        """Count a row, which comes in the order of harm."""
        line = self._lines.get(row.given or "")
        if line is None:
            return
        line[3] += row.influence < 0
        line[4] += row.influence > 0
        line[5] += row.predicted is not None and row.predicted != row.given
        line[6] += row.influence
        line[7] = row.influence if line[7] is None else line[7]

    def lines(self) -> list[list[Any]]:
        """Return the cells of each class, as the titles name them."""
        return list(self._lines.values())


def write_guide(book: xlsxwriter.Workbook, sheet: Worksheet, lines: list[tuple[str, str]]) -> None:
    """Write the sheet that explains the others."""
    title = book.add_format({"bold": True, "valign": "top"})
    text = book.add_format({"text_wrap": True, "valign": "top"})
    sheet.set_column(0, 0, 22)
    sheet.set_column(1, 1, 100)
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    for line, (left, right) in enumerate(lines):
        # A spreadsheet does not fit the heights of rows that were never shown.
        sheet.set_row(line, 15 * max(1, -(-len(right) // 95)))
        write_text(sheet, line, 0, left, title)
        write_text(sheet, line, 1, right, text)


def write_classes(book: xlsxwriter.Workbook, counts: ClassCounts) -> None:
    """Add the sheet that sums up the classes."""
    _write_sums(book, CLASSES, (10, 22), counts.titles, counts.lines())


def write_groups(book: xlsxwriter.Workbook, groups: Groups) -> None:
    """Add the sheet that sums up the groups, the most harmful first."""
    titles = (
        *(as_text(groups.name), "rows", "harmful", "sum of influence", "mean influence"),
        *("95 % from", "95 % to"),
    )
    lines = [
        [as_text(g.value), g.rows, g.harmful, g.sum, g.mean, *(g.interval or (None, None))]
        for g in groups.groups
    ]
    _write_sums(book, GROUPS, (32, 14), titles, lines)


def _write_sums(
    book: xlsxwriter.Workbook,
    name: str,
    widths: tuple[int, int],
    titles: Sequence[str],
    lines: Sequence[Sequence[Any]],
) -> None:
    sheet = book.add_worksheet(name)
    bold = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
    score = book.add_format({"num_format": "0.00E+00"})
    text = book.add_format({"num_format": "@", "indent": 1})
    sheet.set_row(0, 30)
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    sheet.set_column(0, 0, widths[0])
    sheet.set_column(1, 1, widths[1])
    sheet.set_column(2, 6, 14)
    for position, title in enumerate(titles):
        write_text(sheet, 0, position, title, bold)
    line = 0
    for line, values in enumerate(lines, 1):
        for position, value in enumerate(values):
            if isinstance(value, str):
                write_text(sheet, line, position, value, text)
            elif value is not None:
                is_score = isinstance(value, float) and position > 0
                sheet.write_number(line, position, value, score if is_score else None)
    sheet.freeze_panes(1, 0)
    sheet.autofilter(0, 0, line, len(titles) - 1)
