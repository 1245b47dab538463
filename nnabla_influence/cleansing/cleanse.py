"""The whole way from a ranking and a choice to a cleansed dataset CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path

from nnabla_influence.cleansing.decisions import (
    KEEP,
    RELABEL,
    REMOVE,
    Decided,
    Decision,
    read_decisions,
)
from nnabla_influence.cleansing.labels import Labels, listed_classes, number, read_labels
from nnabla_influence.cleansing.outputs import (
    check_not_the_training_csv,
    check_outputs,
    check_replaceable,
    default_list,
)
from nnabla_influence.cleansing.result import ClassChange, Cleansed
from nnabla_influence.cleansing.source import Source, open_source
from nnabla_influence.cleansing.writing import write_cleansed
from nnabla_influence.errors import DatasetError, InfluenceError
from nnabla_influence.files import PathLike
from nnabla_influence.wording import with_option


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
    """Write a dataset CSV without the rows that a ranking, or a person, found harmful.

    The output has the columns and the order of the training CSV; its cells are untouched, but
    relative file paths are rewritten to be right from where it lies. Beside it stands a list of
    what was removed or relabelled, which is itself a decisions CSV.

    Args:
        ranking: The ranking CSV, whole.
        output: The dataset CSV to write.
        n: Remove this many rows (an int), or this part of them (a float below 1), the most harmful
            ones. One of ``n``, ``below`` and ``decisions`` must be given.
        below: Remove the rows whose influence is below this.
        decisions: Do what this CSV says (`docs/cleanse.md`).
        train: The training CSV; by default the ranking's own columns and cells are taken.
        removed: The list to write; by default ``output`` with ``.removed.csv`` at its end.
        label_column: Variable or header cell of the label column; by default ``y``, where there is
            a single such column.
        allow_empty_class: Whether a class may lose all of its rows.

    Raises:
        InfluenceError: The choice is not one, or leaves nothing, or a class would vanish.
        DatasetError: A CSV cannot be used, or ranking and training CSV do not belong together.
        OutputError: A file cannot be written, or is one of those that are read, or may be the
            training CSV.
    """
    _check_choice(n, below, decisions)
    paths = Path(output), default_list(Path(output)) if removed is None else Path(removed)
    read = {"ranking": ranking, "training CSV": train, "decisions CSV": decisions}
    check_outputs(*paths, {name: path for name, path in read.items() if path is not None})
    source = open_source(ranking, train)
    if train is None:
        check_not_the_training_csv(paths, source)
    check_replaceable(*paths)
    labels = read_labels(source, label_column)
    notes = []
    verdict = source.ranking.verdict
    if verdict is not None and verdict.is_rough:
        notes.append(f"{ranking}: {verdict.sentence}")
    if decisions is not None:
        decided = read_decisions(decisions, source, labels)
        changes = _decided(source, decided)
        if not decided.by_row:
            notes.append(
                f"{decisions}: decides about no row; its column 'decision' is empty, or holds"
                " formulas whose results were not saved"
            )
        if decided.is_of_other_scores:
            notes.append(
                f"{decisions}: has other influences than {ranking}, but the same rows; what was"
                " decided about them is done"
            )
    else:
        changes = _scored(source, n, below)
        useful = int((source.influence[list(changes)] >= 0).sum())
        if useful:
            notes.append(
                f"{useful} of the removed rows are not harmful (influence 0 or above); --below 0"
                " removes harmful rows only"
            )
    if sum(change.action == REMOVE for change in changes.values()) == len(source):
        raise InfluenceError(
            f"all {len(source)} rows would be removed, so nothing would be left; choose fewer"
        )
    classes = () if labels is None else _class_changes(labels, changes)
    if labels is None or labels.classes is None:
        notes.append(_without_classes(labels))
    _check_vanished(classes, allow_empty_class)
    write_cleansed(*paths, source, changes, None if labels is None else labels.column)
    return Cleansed(
        output=paths[0],
        removed_list=paths[1],
        kept=tuple(
            i for i in range(len(source)) if i not in changes or changes[i].action != REMOVE
        ),
        removed=tuple(i for i, change in changes.items() if change.action == REMOVE),
        relabelled={i: change.label for i, change in changes.items() if change.label is not None},
        classes=classes,
        notes=tuple(notes),
    )


def _check_choice(n: int | float | None, below: float | None, decisions: PathLike | None) -> None:
    if sum(choice is not None for choice in (n, below, decisions)) != 1:
        raise InfluenceError("give one of n, below and decisions: what is to be removed")
    is_count = isinstance(n, Integral) and not isinstance(n, bool) and n >= 1
    if n is not None and not (is_count or (isinstance(n, float) and 0 < n < 1)):
        raise InfluenceError(
            f"n {n!r} is neither a number of rows from 1 nor a fraction between 0 and 1"
        )
    if below is not None and not math.isfinite(below):
        raise InfluenceError(f"below {below!r} is not a finite number")


def _scored(source: Source, n: int | float | None, below: float | None) -> dict[int, Decision]:
    """Return the rows to remove, the most harmful first."""
    ranking = source.ranking
    if below is not None:
        count = int((ranking.influence < below).sum())
    else:
        assert n is not None
        count = round(n * len(source)) if isinstance(n, float) else int(n)
        if count == 0:
            raise InfluenceError(
                f"{n} of the {len(source)} rows of {ranking.dataset.path} is no row; choose more"
            )
        if count > len(source):
            raise InfluenceError(
                f"{n} rows cannot be removed, since {ranking.dataset.path} ranks {len(source)};"
                " choose fewer"
            )
    return {index: Decision(REMOVE) for index in ranking.order[:count].tolist()}


def _decided(source: Source, decided: Decided) -> dict[int, Decision]:
    """Return the rows to remove or relabel, the most harmful first."""
    changed = {row: made for row, made in decided.by_row.items() if made.action != KEEP}
    return {row: changed[row] for row in source.ranking.order.tolist() if row in changed}


def _class_changes(labels: Labels, changes: Mapping[int, Decision]) -> tuple[ClassChange, ...]:
    counts = {value: [0, 0, 0, 0] for value in labels.classes or ()}
    if not counts:
        return ()
    for index, value in enumerate(labels.values):
        assert value is not None
        counts[value][0] += 1
        change = changes.get(index)
        if change is None:
            continue
        counts[value][1 if change.action == REMOVE else 2] += 1
        if change.action == RELABEL and change.label is not None:
            counts[number(change.label)][3] += 1  # type: ignore[index]
    assert labels.classes is not None
    return tuple(ClassChange(labels.classes[value], *count) for value, count in counts.items())


def _check_vanished(classes: tuple[ClassChange, ...], allowed: bool) -> None:
    vanished = [change for change in classes if change.left == 0]
    if not vanished or allowed:
        return
    names = listed_classes(change.name for change in vanished)
    rows = sum(change.rows for change in vanished)
    raise DatasetError(
        f"{'class' if len(vanished) == 1 else 'the classes'} {names} ({rows} rows) would vanish;"
        f" choose fewer rows, or allow it {with_option('--allow-empty-class', 'allow-empty-class')}"
    )


def _without_classes(labels: Labels | None) -> str:
    if labels is None:
        return (
            "whether a class vanishes is not known, since there is no single column 'y'; name the"
            f" column of the labels {with_option('--label-column', 'label-column')}"
        )
    return (
        f"the column {labels.column.cell!r} holds numbers or text, not classes, so none were"
        f" counted; name another one {with_option('--label-column', 'label-column')}"
    )
