"""The tidy table of what was found of the flipped labels, and its file detection.csv."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnabla_influence.retraining.detection import Detection
from nnabla_influence.retraining.summary import mean_and_std
from nnabla_influence.retraining.tables import ORDER, typed_frame

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("seed", "batch_size", "ranking", "k", "found"),
    *("precision", "recall", "roc_auc", "flipped", "rows"),
)


@dataclass(frozen=True)
class DetectionResult:
    """What one ranking of one seed and batch size found."""

    seed: int
    batch_size: int
    ranking: str
    detection: Detection


def detection_frame(results: Iterable[DetectionResult]) -> pd.DataFrame:
    """Return one line for each ranking and k, sorted by batch size, ranking, seed and k.

    Raises:
        ValueError: Two results are of the same ranking.
    """
    results = sorted(results, key=_place)
    for one, other in zip(results, results[1:]):
        if _place(one) == _place(other):
            raise ValueError(
                f"two detections of seed {one.seed}, {one.ranking}, batch size {one.batch_size}"
            )
    lines = [
        [result.seed, result.batch_size, result.ranking, *line, *rest]
        for result in results
        for rest in [(result.detection.roc_auc, result.detection.flipped, result.detection.rows)]
        for line in zip(
            result.detection.counts,
            result.detection.found,
            result.detection.precision,
            result.detection.recall,
        )
    ]
    return typed_frame(lines, COLUMNS)


def found_at_flipped(detection: pd.DataFrame) -> pd.DataFrame:
    """Return for each batch size and ranking what stands among as many rows as are flipped.

    As many as in that seed; precision and recall are one number there. Means over the seeds;
    ``..._std`` is their standard deviation, NaN with one seed.
    """
    there = detection[detection["k"] == detection["flipped"]]
    lines = []
    for batch_size, ranking in dict.fromkeys(zip(there["batch_size"], there["ranking"])):
        of_one = there[(there["batch_size"] == batch_size) & (there["ranking"] == ranking)]
        line = [batch_size, ranking]
        for name in ("precision", "roc_auc"):
            line += mean_and_std(of_one[name].to_numpy())
        lines.append(line)
    columns = ("batch_size", "ranking", "precision", "precision_std", "roc_auc", "roc_auc_std")
    return typed_frame(lines, columns)


def _place(result: DetectionResult) -> tuple[int, int, int]:
    return result.batch_size, ORDER.index(result.ranking), result.seed
