"""A ranking's rows for review, in the order of harm."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from nnabla_influence.cleansing.rows import picked
from nnabla_influence.dataset.harmless import restored
from nnabla_influence.files import PathLike
from nnabla_influence.ranking import Groups, Ranking, Verdict, read_ranking
from nnabla_influence.review.classes import Class, find_classes, number_text
from nnabla_influence.review.columns import (
    Columns,
    readable_names,
    short_name,
    sort_columns,
    unique_name,
)


@dataclass(frozen=True)
class ReviewedRow:
    """One row of a ranking.

    Attributes:
        rank: Its place in the order of harm, from 1.
        datasource_index: Its number in the CSV that was trained with.
        influence: Change of the mean validation loss without the row; negative for a harmful row.
        influence_std: Its standard deviation over shuffled orders; None without such.
        influence_se: Its standard error as a mean over several trainings; None without such.
        harmful_in: In how many of these trainings the row is harmful, or None.
        loss: The row's own loss, or None.
        times_seen: How often the window saw the row, or None; 0 means that it is not judged.
        given: Its label: a class's value, or else the cell's text; None without a label column.
        predicted: The network's prediction in the same form, or None.
        suggested: The best other label in the same form, or None.
        relabel_gain: First-order fall of the target if the row had that label, or None.
        images: The files of its image columns, absolute, whether they exist or not.
        features: Its cells of the other columns.
        comments: Its cells of the comment columns, as the training CSV has them.
        files: The cells of its image columns, likewise.
    """

    rank: int
    datasource_index: int
    influence: float
    influence_std: float | None
    influence_se: float | None
    harmful_in: int | None
    loss: float | None
    times_seen: int | None
    given: str | None
    predicted: str | None
    suggested: str | None
    relabel_gain: float | None
    images: tuple[Path, ...]
    features: tuple[str, ...]
    comments: tuple[str, ...]
    files: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Reviewed(Sequence[ReviewedRow]):
    """A ranking's rows in the order of harm, read from the file as they are asked for.

    Attributes:
        path: The ranking, absolute.
        image_columns: Names of its image columns.
        feature_names: Names of its features.
        comment_names: Header cells of its comments.
        label_column: What `cleanse` knows its label column by, such as ``y``; None without one.
        classes: The values that labels and predictions have, ascending; none where they are not
            all whole numbers.
        orders: Which orders of the mini-batches were traced: ``recorded``, ``replayed`` or
            ``shuffled``; or ``5 trainings``; None where it is not known.
        method: ``final``, ``exact`` or ``influence-function``, with what else it was asked, such
            as ``final gauss-newton error``; None where it is not known.
        why: Why it is that method, in a few words; empty where it is not known.
        verdict: How far the ranking can be trusted; None where it is not known.
        groups: Sums over groups of its rows, if they were asked for.
    """

    path: Path
    image_columns: tuple[str, ...]
    feature_names: tuple[str, ...]
    comment_names: tuple[str, ...]
    label_column: str | None
    classes: tuple[Class, ...]
    orders: str | None
    method: str | None
    why: str
    verdict: Verdict | None
    groups: Groups | None
    _ranking: Ranking
    _columns: Columns

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._ranking)

    def __iter__(self) -> Iterator[ReviewedRow]:
        """Yield the rows, the most harmful first.

        Raises:
            DatasetError: The ranking has changed since it was opened.
        """
        return self._rows(range(len(self)))

    @overload
    def __getitem__(self, place: int) -> ReviewedRow: ...
    @overload
    def __getitem__(self, place: slice) -> list[ReviewedRow]: ...
    def __getitem__(self, place: int | slice) -> ReviewedRow | list[ReviewedRow]:
        """Return the row of rank ``place + 1``, or the rows of several ranks."""
        if isinstance(place, slice):
            return list(self._rows(range(len(self))[place]))
        return next(self._rows([range(len(self))[place]]))

    @property
    def rows(self) -> np.ndarray:
        """Numbers of the file's rows in the order of harm, (N,)."""
        return self._ranking.rows

    @property
    def unseen(self) -> int:
        """How many rows are not in the window; their influence is 0, which has no meaning."""
        seen = self._ranking.scores.times_seen
        return 0 if seen is None else int((seen == 0).sum())

    @property
    def groups_of_rows(self) -> list[int]:
        """The place of each row's group in `groups`, in the order of harm; empty without groups."""
        return [] if self.groups is None else self.groups.of_rows[self._ranking.rows].tolist()

    @property
    def has_predictions(self) -> bool:
        """Whether the ranking says what the network predicts."""
        return self._ranking.scores.predicted is not None

    @property
    def has_losses(self) -> bool:
        """Whether the ranking has the rows' own losses."""
        return self._ranking.scores.loss is not None

    def _rows(self, places: Sequence[int]) -> Iterator[ReviewedRow]:
        ranking, columns = self._ranking, self._columns
        scores, indices, numbers = ranking.scores, ranking.order, ranking.rows
        images, features, comments = map(
            picked, (columns.images, columns.features, columns.comments)
        )
        folder = str(self.path.parent)
        label = None if columns.label is None else columns.label.position
        given_of = _text_of if not self.classes else _class_of
        rows = numbers[np.asarray(places, np.int64)]
        for place, row, cells in zip(places, rows, ranking.dataset.iter_cells(rows)):
            files = images(cells)
            yield ReviewedRow(
                rank=place + 1,
                datasource_index=int(indices[place]),
                influence=float(scores.influence[row]),
                influence_std=_float(scores.influence_std, row),
                influence_se=_float(scores.influence_se, row),
                harmful_in=_count(scores.harmful_in, row),
                loss=_float(scores.loss, row),
                times_seen=_count(scores.times_seen, row),
                given=None if label is None else given_of(cells[label]),
                predicted=_label(scores.predicted, row),
                suggested=_label(scores.suggested_label, row),
                relabel_gain=_float(scores.relabel_gain, row),
                images=tuple(
                    Path(os.path.normpath(os.path.join(folder, cell.replace("\\", "/"))))
                    for cell in files
                ),
                features=tuple(features(cells)),
                comments=tuple(map(restored, columns.comments, comments(cells))),
                files=tuple(map(restored, columns.images, files)),
            )


def read_reviewed(
    ranking: PathLike,
    *,
    label_column: str | None = None,
    class_names: PathLike | None = None,
    group_by: str | None = None,
) -> Reviewed:
    """Read a ranking for review.

    Args:
        ranking: The CSV, as `score` writes it; columns may have been added at the end.
        label_column: As for `find_label`.
        class_names: As for `read_class_names`; by default those in the label's header cell.
        group_by: The column that groups the rows, as for `Ranking.groups`.

    Raises:
        DatasetError: The ranking, the names or the column cannot be used.
        ScoreError: Every influence is zero.
    """
    read = read_ranking(ranking)
    columns = sort_columns(read.dataset, read.rows.tolist(), label_column)
    orders, method = _origin([] if read.orders is None else read.orders.origin.split())
    return Reviewed(
        path=read.dataset.path,
        image_columns=tuple(map(short_name, columns.images)),
        feature_names=readable_names(columns.features),
        comment_names=tuple(c.cell for c in columns.comments),
        label_column=None if columns.label is None else unique_name(columns.label, read.dataset),
        classes=find_classes(read, columns.label, class_names),
        orders=orders,
        method=method,
        why="" if read.orders is None else read.orders.why,
        verdict=read.verdict,
        groups=None if group_by is None else read.groups(group_by),
        _ranking=read,
        _columns=columns,
    )


def _origin(words: list[str]) -> tuple[str | None, str | None]:
    """Return the orders, or trainings, and the method in the words of `Orders.origin`."""
    if not words or words[0] == "influence-function":
        return None, " ".join(words) or None
    n = 2 if words[1:2] == ["trainings"] else 1
    return " ".join(words[:n]), " ".join(words[n:]) or "final"


def _class_of(cell: str) -> str:
    return str(int(float(cell)))


def _text_of(cell: str) -> str:
    return cell.strip()


def _float(values: np.ndarray | None, row: int) -> float | None:
    return None if values is None else float(values[row])


def _count(values: np.ndarray | None, row: int) -> int | None:
    return None if values is None else int(values[row])


def _label(values: np.ndarray | None, row: int) -> str | None:
    return None if values is None else number_text(float(values[row]))
