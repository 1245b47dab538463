"""The scores that are judged: rankings on disk, or arrays in memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Union

import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.errors import DatasetError, ScoreError
from nnabla_influence.files import PathLike
from nnabla_influence.ranking import RESULT_COLUMNS, Ranking, read_ranking

ScoreSources = Union[PathLike, Sequence[PathLike], Mapping[str, Union[PathLike, np.ndarray]]]

_COMPARED = 100


def read_scores(
    given: ScoreSources, train: Dataset, times_seen: np.ndarray
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the scores by name, each of shape ``(N,)`` in the order of the training CSV.

    Args:
        given: A ranking CSV, several, or by name ranking CSVs and arrays of scores.
        train: The training CSV that was scored.
        times_seen: How often the validated window saw each row, ``(N,)``.

    Returns:
        The scores, and what the user should know about them.

    Raises:
        DatasetError: A ranking cannot be read, or is another CSV's.
        ScoreError: Scores are too few, too many, or not finite.
    """
    scores: dict[str, np.ndarray] = {}
    notes: list[str] = []
    if not isinstance(given, Mapping):
        paths = [given] if isinstance(given, (str, os.PathLike)) else list(given)
        stems = Counter(Path(path).stem for path in paths)
        given = {Path(p).stem if stems[Path(p).stem] == 1 else str(p): p for p in paths}
    if not given:
        raise ScoreError("no scores are given; name a ranking with -i")
    for name, source in given.items():
        if isinstance(source, np.ndarray):
            if source.shape != (len(train),) or not np.isfinite(source).all():
                raise ScoreError(
                    f"scores {name!r} of shape {source.shape} are not {len(train)} finite numbers,"
                    " one for each row of the training CSV"
                )
            scores[name] = source.astype(np.float64)
            continue
        ranking = read_ranking(source)
        position = _positions(ranking, train)
        scores[name] = ranking.scores.influence[position]
        seen = ranking.scores.times_seen
        if seen is not None and not np.array_equal(seen[position], times_seen):
            notes.append(
                f"{source}: was scored on another window than the one that is validated (its"
                " times_seen differ), so it predicts another change"
            )
    return scores, notes


def _positions(ranking: Ranking, train: Dataset) -> np.ndarray:
    """Return where each row of the training CSV stands in the ranking, ``(N,)``."""
    path = ranking.dataset.path
    assert ranking.indices is not None
    if len(ranking) != len(train) or ranking.indices.max() >= len(train):
        raise DatasetError(
            f"{path}: ranks {len(ranking)} rows up to datasource_index {ranking.indices.max()}, but"
            f" {train.path} has {len(train)}; give a whole ranking of the CSV that was trained on"
        )
    columns = [c for c in ranking.dataset.columns if c.name not in RESULT_COLUMNS]
    kept = [c for c in train.columns if c.name not in RESULT_COLUMNS]
    if [c.cell for c in columns] != [c.cell for c in kept]:
        raise DatasetError(
            f"{path}: has other columns than {train.path}; give a ranking of the CSV that was"
            " trained on"
        )
    for row in np.unique(np.linspace(0, len(ranking) - 1, _COMPARED).astype(int)).tolist():
        index = int(ranking.indices[row])
        ranked, cells = ranking.cells(row), train.cells(index)
        for one, other in zip(columns, kept):
            cell, original = ranked[one.position], cells[other.position]
            # Relative paths are right from where the ranking lies.
            if cell != original and not (
                train.is_file(other.position, original)
                and ranking.dataset.file_of(cell) == train.file_of(original)
            ):
                raise DatasetError(
                    f"{ranking.dataset.place(row, one.cell)}: {cell[:60]!r} is not the"
                    f" {original[:60]!r} of row {index} of {train.path}; give a ranking of the CSV"
                    " that was trained on"
                )
    return np.argsort(ranking.indices)
