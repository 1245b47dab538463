"""The columns of the workbook's ranking."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnabla_influence.cleansing.decisions import RANKING, Decision, ranking_id
from nnabla_influence.dataset.harmless import harmless, restored
from nnabla_influence.dataset.header import parse_column
from nnabla_influence.review.reviewed import Reviewed, ReviewedRow

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

DECISION, LABEL, INFLUENCE = "decision", "label", "influence"
MOST_FEATURES = 100
"""A sheet could hold more, but a spreadsheet opens it slowly."""

_MOST_CHARACTERS = 32_767  # of a cell, in units of UTF-16
_CUT = " ... (cut here: a cell holds no more)"
_DATA, _COMMENT = parse_column(0, "x"), parse_column(0, "#")
_WHOLE_OR_DECIMAL = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")


@dataclass(frozen=True)
class SheetColumn:
    """One column of the sheet.

    Attributes:
        title: Its header cell.
        value: Returns its value for a row: a text, a number or nothing.
        width: In characters.
        number_format: How a spreadsheet shows its numbers.
    """

    title: str
    value: Callable[[ReviewedRow], str | float | None]
    width: float = 10
    number_format: str = ""


def columns_of(
    reviewed: Reviewed, proposals: Mapping[int, Decision] | None = None
) -> tuple[list[SheetColumn], int]:
    """Return the sheet's columns, and how many features are left out.

    ``label`` follows ``decision``, and neither name occurs twice, so that the sheet is a decisions
    table (docs/cleanse.md).
    """
    features = reviewed.feature_names[:MOST_FEATURES]
    columns = _of_every_ranking(reviewed)
    if proposals is not None:
        columns[2:2] = _of_proposals(proposals)
    taken = {column.title for column in columns}
    files = [f"file {name}" for name in reviewed.image_columns]
    for kind, names, value, width in (
        ("file", files, _file, 26),
        ("feature", features, _feature, 14),
        ("comment", reviewed.comment_names, _number_or_text, 14),
    ):
        for position, name in enumerate(names):
            title = _free(name, kind, taken)
            columns.append(SheetColumn(title, _cell_value(f"{kind}s", position, value), width))
    return columns, len(reviewed.feature_names) - len(features)


def _of_every_ranking(reviewed: Reviewed) -> list[SheetColumn]:
    names = {c.value: as_text(c.name) for c in reviewed.classes if c.name is not None}
    columns = [
        SheetColumn(DECISION, lambda _: None, 11),
        SheetColumn(LABEL, lambda _: None, 8),
        SheetColumn("rank", lambda row: row.rank, 7, "0"),
        SheetColumn(INFLUENCE, lambda row: row.influence, 22, "0.000E+00"),
    ]
    first = reviewed[0]
    if first.influence_se is not None:
        columns.append(SheetColumn("influence_se", lambda row: row.influence_se, 12, "0.0E+00"))
    if first.harmful_in is not None:
        columns.append(SheetColumn("harmful_in", lambda row: row.harmful_in, 11, "0"))
    columns.append(SheetColumn("effect", effect, 11))
    if reviewed.label_column is not None:
        columns.append(SheetColumn("given", lambda row: _number_or_text(row.given), 9))
        if names:
            columns.append(SheetColumn("given name", lambda row: names.get(row.given or ""), 14))
    if reviewed.has_predictions:
        columns.append(SheetColumn("predicted", lambda row: _number_or_text(row.predicted), 11))
        if names:
            columns.append(
                SheetColumn("predicted name", lambda row: names.get(row.predicted or ""), 16)
            )
        if reviewed.classes:
            columns.append(SheetColumn("differs", _differs, 9))
    if first.suggested is not None:
        columns.append(SheetColumn("suggested", lambda row: _number_or_text(row.suggested), 11))
        if names:
            columns.append(
                SheetColumn("suggested name", lambda row: names.get(row.suggested or ""), 16)
            )
    if first.relabel_gain is not None:
        columns.append(SheetColumn("relabel_gain", lambda row: row.relabel_gain, 12, "0.0E+00"))
    if reviewed.has_losses:
        columns.append(SheetColumn("loss", lambda row: row.loss, 10, "0.0000"))
    if first.influence_std is not None:
        columns.append(SheetColumn("influence_std", lambda r: r.influence_std, 14, "0.0E+00"))
    if first.times_seen is not None:
        columns.append(SheetColumn("times_seen", lambda row: row.times_seen, 11, "0"))
    id_ = ranking_id(reviewed.path)
    columns.append(SheetColumn("datasource_index", lambda row: row.datasource_index, 17, "0"))
    columns.append(SheetColumn(RANKING, lambda _: id_, 20))
    return columns


def _of_proposals(proposals: Mapping[int, Decision]) -> list[SheetColumn]:
    def action(row: ReviewedRow) -> str | None:
        made = proposals.get(row.datasource_index)
        return None if made is None else made.action

    def label(row: ReviewedRow) -> str | float | None:
        made = proposals.get(row.datasource_index)
        return None if made is None else _number_or_text(made.label)

    return [SheetColumn("proposed", action, 11), SheetColumn("proposed label", label, 10)]


def effect(row: ReviewedRow) -> str:
    """Return the sign of a row's influence in a word."""
    if row.times_seen == 0:
        return "not judged"
    return "harmful" if row.influence < 0 else "helpful" if row.influence > 0 else "none"


def as_text(cell: str) -> str:
    """Return a user's text so that it stays text, also where the sheet is saved as CSV."""
    return harmless(_COMMENT, cell)


def write_text(
    sheet: Worksheet, line: int, position: int, text: str, form: Format | None = None
) -> None:
    """Write a text as a text, never as a formula or a link; cut where it is too long."""
    # xlsxwriter takes a text in these tags for its own rich text.
    space = " " if text.startswith("<r>") and text.endswith("</r>") else ""
    sheet.write_string(line, position, fitting(text) + space, form)


def fitting(text: str) -> str:
    """Return the part of a text that a cell can hold."""
    if len(text) <= _MOST_CHARACTERS // 2:
        return text
    units = text.encode("utf-16-le", "surrogatepass")
    if len(units) <= 2 * _MOST_CHARACTERS:
        return text
    return units[: 2 * (_MOST_CHARACTERS - len(_CUT))].decode("utf-16-le", "ignore") + _CUT


def _cell_value(
    cells: str, position: int, value: Callable[[str], str | float | None]
) -> Callable[[ReviewedRow], str | float | None]:
    return lambda row: value(getattr(row, cells)[position])


def _differs(row: ReviewedRow) -> str | None:
    return "differs" if row.given != row.predicted else None


def _file(cell: str) -> str:
    return harmless(_DATA, restored(_DATA, cell))


def _feature(cell: str) -> str | float:
    try:
        number = float(cell)
    except ValueError:
        return as_text(cell)
    return number if abs(number) < 1e308 else as_text(cell)


def _number_or_text(cell: str | None) -> str | float | None:
    """Return a number where it is shown as the cell was written, else the text: 007, 1-2."""
    if cell is None:
        return None
    if _WHOLE_OR_DECIMAL.fullmatch(cell) and cell in (str(float(cell)), str(int(float(cell)))):
        return float(cell)
    return as_text(cell)


def _free(name: str, kind: str, taken: set[str]) -> str:
    """Return a title that no column has yet, in any case."""
    title, number = as_text(name), 1
    while title.strip().lower() in taken:
        number += 1
        title = f"{as_text(name)} ({kind})" if number == 2 else f"{as_text(name)} ({number})"
    taken.add(title.strip().lower())
    return title
