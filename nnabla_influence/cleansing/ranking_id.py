"""Whether decisions are about this ranking.

A row's number means another row in another ranking. So every decision that is exported has the
ranking's id beside it. A table without ids (the ranking itself with two columns added, or a file of
0.1.0) is compared by the influence of its rows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from nnabla_influence.cleansing.rows import TrainingRows
from nnabla_influence.cleansing.table import Line, is_near, normal
from nnabla_influence.files import PathLike

RANKING, INFLUENCE = "ranking", "influence"
"""The columns by which decisions are known to be about a ranking."""

_ID = re.compile(r"r[0-9a-f]{16}")


def ranking_id(path: PathLike) -> str:
    """Return a hash of a ranking's content; the letter before it keeps it a text in spreadsheets.

    Without that letter it is the key under which the review page stores decisions.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return f"r{digest.hexdigest()[:16]}"


class OtherRankingError(ValueError):
    """A decision about another ranking: the column that shows it, and a predicate."""


class RankingCheck:
    """Compares decisions with the ranking that they are used for.

    Args:
        rows: The ranking's rows.
        header: The table's column names, in lower case.

    Attributes:
        is_complete: Whether every decision so far could be compared.
    """

    def __init__(self, rows: TrainingRows, header: Sequence[str]):
        self._rows, self._id = rows, ranking_id(rows.ranking.dataset.path)
        # A dataset may have such columns too: an id is known by its form.
        self._ids = [at for at, name in enumerate(header) if name == RANKING]
        only = header.count(INFLUENCE) == 1
        self._influence = header.index(INFLUENCE) if only else None
        self.is_complete = True

    def has_id(self, line: Line) -> bool:
        """Whether a line names this ranking.

        Raises:
            OtherRankingError: It names another one.
        """
        cells = [normal(line.cell(at)) for at in self._ids]
        found = [cell for cell in cells if _ID.fullmatch(cell)]
        others = [id_ for id_ in found if id_ != self._id]
        if others:
            raise OtherRankingError(
                f"column {RANKING!r}: {others[0]} is not {self._id}, the id of"
                f" {self._rows.ranking.dataset.path}, so the decisions are for another ranking;"
                " review this one, or delete the columns 'ranking' and 'influence' if both rank"
                " the same rows"
            )
        return bool(found)

    def check_influence(self, line: Line, row: int) -> None:
        """Compare a line without an id by its influence, as a spreadsheet may have rounded it.

        Raises:
            OtherRankingError: It is not that of the row.
        """
        shown = "" if self._influence is None else line.cell(self._influence)
        value = float(self._rows.influence[row])
        agrees = is_near(shown, value)
        if agrees is None:
            self.is_complete = False
        elif not agrees:
            raise OtherRankingError(
                f"column {INFLUENCE!r}: {shown[:60]!r} is not {value!r}, the influence of"
                f" datasource_index {row}, so the decisions are for another ranking; review this"
                " one, or delete the column 'influence' if both rank the same rows"
            )
