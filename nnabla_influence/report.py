"""What a scoring found, in a few lines for the user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice

from nnabla_influence.ranking import RESULT_COLUMNS, Groups, RankedRow, Ranking

SHOWN = 5
_WIDTH = 60


def summary(ranking: Ranking, output: str | os.PathLike[str]) -> Iterator[str]:
    """Yield lines about a ranking that was written to ``output``."""
    scores = ranking.scores
    harmful, helpful = int((scores.influence < 0).sum()), int((scores.influence > 0).sum())
    yield (
        f"{output}: {len(ranking)} rows, the most harmful first; {harmful} harmful (influence below"
        f" 0: without the row the validation rows do better), {helpful} helpful"
    )
    if ranking.verdict is not None:
        yield ranking.verdict.sentence
    if scores.times_seen is not None:
        unseen = int((scores.times_seen == 0).sum())
        if unseen:
            yield (
                f"{unseen} rows were not seen in the window, or the loss ignores them, so their"
                " influence is 0; a window of more epochs contains more rows"
            )
    if not harmful:
        return
    yield "The most harmful rows:"
    for row in islice(ranking, min(SHOWN, harmful)):
        yield "  " + _described(ranking, row)


def group_lines(groups: Groups) -> Iterator[str]:
    """Yield a table of groups, the most harmful first."""
    yield f"Influence by {groups.name} (95 % interval of the mean over the group's rows):"
    yield f"  {'sum':>10}  {'mean':>10}  {'95 % interval':>24}  {'harmful':>7}  {'rows':>6}"
    for group in groups.groups:
        mean = "-" if group.mean is None else f"{group.mean:.3g}"
        interval = "-" if group.interval is None else "{:.3g} to {:.3g}".format(*group.interval)
        yield (
            f"  {group.sum:>10.3g}  {mean:>10}  {interval:>24}  {group.harmful:>7}"
            f"  {group.rows:>6}  {group.value or '(empty)'}"
        )


def _described(ranking: Ranking, row: RankedRow) -> str:
    parts = [f"datasource_index {row.datasource_index}", f"influence {row.influence:.3g}"]
    if row.influence_std is not None:
        parts.append(f"+- {row.influence_std:.2g}")
    if row.influence_se is not None:
        parts.append(f"+- {row.influence_se:.2g} (standard error)")
    if row.harmful_in is not None and ranking.orders is not None:
        parts.append(f"harmful in {row.harmful_in} of {ranking.orders.count} trainings")
    if row.loss is not None:
        parts.append(f"loss {row.loss:.3g}")
    if row.predicted is not None:
        parts.append(f"predicted {row.predicted:g}")
    return "  ".join(parts) + f"  ({_cells(ranking, row.row)})"


def _cells(ranking: Ranking, row: int) -> str:
    """Return what identifies a row: labels and names before a vector's elements."""
    cells = ranking.cells(row)
    own = (column for column in ranking.dataset.columns if column.name not in RESULT_COLUMNS)
    columns = sorted(own, key=lambda column: column.index is not None)
    text = " ".join(f"{column.cell}={cells[column.position]}" for column in columns)
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else text[:_WIDTH] + "..."
