"""From a ranking and a choice to a cleansed dataset CSV, and the summary of what was done."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

from nnabla_influence.cleansing.decisions import (
    KEEP,
    RELABEL,
    REMOVE,
    Decision,
    Decisions,
    read_decisions,
)
from nnabla_influence.cleansing.labels import LabelColumn, number, read_labels
from nnabla_influence.cleansing.output import (
    check_not_the_training_csv,
    check_outputs,
    default_list,
    write_cleansed,
)
from nnabla_influence.cleansing.rows import TrainingRows, open_rows
from nnabla_influence.errors import DatasetError, InfluenceError
from nnabla_influence.files import PathLike
from nnabla_influence.text import listed, with_option

_SHOWN_CLASSES = 20


@dataclass(frozen=True)
class ClassChange:
    """What happened to a class.

    Attributes:
        name: The class, as the dataset writes it.
        rows: Its rows before.
        removed: How many of them were removed.
        relabelled: How many of them were given another label.
        gained: How many rows of other classes were given this one.
    """

    name: str
    rows: int
    removed: int
    relabelled: int
    gained: int

    @property
    def left(self) -> int:
        """Its rows afterwards."""
        return self.rows - self.lost + self.gained

    @property
    def lost(self) -> int:
        """How many of its rows were removed or given another label."""
        return self.removed + self.relabelled


@dataclass(frozen=True)
class Cleansed:
    """What a cleansing did.

    Attributes:
        output: The cleansed dataset CSV.
        removed_list: The CSV that lists the removed and relabelled rows.
        kept: datasource_index of the rows that the output holds, in its order, relabelled ones
            included.
        removed: datasource_index of the removed rows, the most harmful first.
        relabelled: By datasource_index the new label, the most harmful row first.
        classes: What happened to each class; empty where the labels are not classes.
        notes: What the user should know besides.
    """

    output: Path
    removed_list: Path
    kept: tuple[int, ...]
    removed: tuple[int, ...]
    relabelled: Mapping[int, str]
    classes: tuple[ClassChange, ...]
    notes: tuple[str, ...]

    def summary(self) -> Iterator[str]:
        """Yield lines to print."""
        n_rows = len(self.kept) + len(self.removed)
        if not self.removed and not self.relabelled:
            yield f"{self.output}: all {n_rows} rows; nothing was removed or relabelled"
        else:
            yield (
                f"{self.output}: {len(self.kept)} of {n_rows} rows; {len(self.removed)} removed,"
                f" {len(self.relabelled)} relabelled (listed in {self.removed_list})"
            )
            yield from self._class_table()
        yield from self.notes

    def _class_table(self) -> Iterator[str]:
        changed = [c for c in self.classes if c.lost or c.gained]
        worst = sorted(changed, key=lambda c: -c.lost / c.rows)[:_SHOWN_CLASSES]
        shown = [c for c in changed if c in worst]
        titles = ("class", "rows", "removed", "relabelled", "gained", "left")
        cells = [(c.name, c.rows, c.removed, c.relabelled, c.gained, c.left) for c in shown]
        widths = [max(map(len, map(str, column))) for column in zip(titles, *cells)]
        for line in [titles, *cells] if shown else []:
            yield "  ".join(str(cell).rjust(width) for cell, width in zip(line, widths))
        if len(shown) < len(changed):
            yield f"{len(changed) - len(shown)} more classes lost a smaller part of their rows"
        for change in shown:
            if 2 * change.lost >= change.rows:
                yield (
                    f"class {change.name} loses {change.lost} of its {change.rows} rows; review"
                    " them before you train without them"
                )


def cleanse(
    ranking: PathLike,
    *,
    output: PathLike,
    n: int | float | None = None,
    below: float | None = None,
    decisions: PathLike | None = None,
    train: PathLike | None = None,
    removed: PathLike | None = None,
    label_column: str | None = None,
    allow_empty_class: bool = False,
) -> Cleansed:
    """Write a copy of the training CSV with harmful rows removed or relabelled.

    The output has the columns and the order of the training CSV; its cells are unchanged, but
    relative file paths are rewritten to be right from the output's folder. Beside it is written a
    list of the removed and relabelled rows, which is itself a decisions CSV.

    Args:
        ranking: The ranking CSV, whole.
        output: The dataset CSV to write.
        n: Remove this many rows (an int), or this part of them (a float below 1), the most harmful
            ones. One of ``n``, ``below`` and ``decisions`` must be given.
        below: Remove the rows whose influence is below this.
        decisions: Remove and relabel the rows as this CSV or workbook says (`docs/cleanse.md`).
        train: The training CSV; by default the ranking's own columns and cells are used.
        removed: The list to write; by default ``output`` with ``.removed.csv`` at its end.
        label_column: Variable or header cell of the label column; by default ``y``, where there is
            a single such column.
        allow_empty_class: Whether a class may lose all of its rows.

    Raises:
        InfluenceError: The choice is wrong, or removes all rows.
        DatasetError: A CSV cannot be used, ranking and training CSV do not belong together, or a
            class would lose all of its rows.
        OutputError: A file cannot be written, is one of those that are read, or may be the
            training CSV.
    """
    _check_choice(n, below, decisions)
    paths = Path(output), default_list(Path(output)) if removed is None else Path(removed)
    check_outputs(*paths, (ranking, train, decisions))
    rows = open_rows(ranking, train)
    if train is None:
        check_not_the_training_csv(*paths, rows)
    labels = read_labels(rows, label_column)
    notes = []
    verdict = rows.ranking.verdict
    if verdict is not None and verdict.is_rough:
        notes.append(f"{ranking}: {verdict.sentence}")
    if decisions is not None:
        decided = read_decisions(decisions, rows, labels)
        changes = _decided(rows, decided)
        notes += _decision_notes(ranking, decisions, decided)
    else:
        changes = _scored(rows, n, below)
        useful = int((rows.influence[list(changes)] >= 0).sum())
        if useful:
            notes.append(
                f"{useful} of the removed rows are not harmful (influence 0 or above); --below 0"
                " removes harmful rows only"
            )
    gone = tuple(i for i, change in changes.items() if change.action == REMOVE)
    if len(gone) == len(rows):
        raise InfluenceError(f"all {len(rows)} rows would be removed; choose fewer")
    classes = () if labels is None else _class_changes(labels, changes)
    if labels is None or labels.classes is None:
        notes.append(_without_classes(labels))
    _check_empty(classes, allow_empty_class)
    write_cleansed(*paths, rows, changes, None if labels is None else labels.column)
    return Cleansed(
        output=paths[0],
        removed_list=paths[1],
        kept=tuple(sorted({*range(len(rows))} - {*gone})),
        removed=gone,
        relabelled={i: change.label for i, change in changes.items() if change.label is not None},
        classes=classes,
        notes=tuple(notes),
    )


def _check_choice(n: int | float | None, below: float | None, decisions: PathLike | None) -> None:
    if sum(choice is not None for choice in (n, below, decisions)) != 1:
        raise InfluenceError("give exactly one of n, below and decisions")
    is_count = isinstance(n, Integral) and not isinstance(n, bool) and n >= 1
    if n is not None and not (is_count or (isinstance(n, float) and 0 < n < 1)):
        raise InfluenceError(
            f"n {n!r} must be a number of rows from 1 or a fraction between 0 and 1"
        )
    if below is not None and not math.isfinite(below):
        raise InfluenceError(f"below {below!r} is not a finite number")


def _scored(rows: TrainingRows, n: int | float | None, below: float | None) -> dict[int, Decision]:
    """Return the rows to remove, the most harmful first."""
    ranking = rows.ranking
    if below is not None:
        count = int((ranking.influence < below).sum())
    else:
        assert n is not None
        count = round(n * len(rows)) if isinstance(n, float) else int(n)
    return {index: Decision(REMOVE) for index in ranking.order[:count].tolist()}


def _decided(rows: TrainingRows, decided: Decisions) -> dict[int, Decision]:
    """Return the rows to remove or relabel, the most harmful first."""
    changed = {row: made for row, made in decided.by_row.items() if made.action != KEEP}
    return {row: changed[row] for row in rows.ranking.order.tolist() if row in changed}


def _decision_notes(ranking: PathLike, path: PathLike, decided: Decisions) -> Iterator[str]:
    if not decided.by_row:
        yield (
            f"{path}: has no decisions; its column 'decision' is empty, or holds formulas whose"
            " results were not saved"
        )
    if not decided.are_checked:
        yield (
            f"{path}: may belong to another ranking than {ranking}: it has rows without the"
            " ranking's id or influence"
        )


def _class_changes(labels: LabelColumn, changes: Mapping[int, Decision]) -> tuple[ClassChange, ...]:
    if labels.classes is None:
        return ()
    rows = Counter(labels.values)
    lost = Counter((labels.values[i], change.action) for i, change in changes.items())
    gained = Counter(number(change.label) for change in changes.values() if change.label)
    return tuple(
        ClassChange(name, rows[v], lost[v, REMOVE], lost[v, RELABEL], gained[v])
        for v, name in labels.classes.items()
    )


def _check_empty(classes: tuple[ClassChange, ...], allowed: bool) -> None:
    empty = [change for change in classes if change.left == 0]
    if not empty or allowed:
        return
    names = listed(change.name for change in empty)
    rows = sum(change.rows for change in empty)
    raise DatasetError(
        f"{'class' if len(empty) == 1 else 'classes'} {names} ({rows} rows) would have no rows;"
        f" choose fewer rows, or allow it {with_option('--allow-empty-class', 'allow-empty-class')}"
    )


def _without_classes(labels: LabelColumn | None) -> str:
    option = with_option("--label-column", "label-column")
    if labels is None:
        return (
            "classes were not counted, since there is no single column 'y'; name the column of the"
            f" labels {option}"
        )
    return (
        f"classes were not counted, since the column {labels.column.cell!r} holds numbers or text;"
        f" name another one {option}"
    )
