"""The tables of a removal curve: results.csv, summary.csv and detection.csv, as DataFrames.

Two trainings of the same seed share their initial parameters, the order of their mini-batches and
often their data. What differs from seed to seed cancels in the difference of the two, so the
interval around the mean of these differences is much narrower than the spread of the accuracies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata, t

from nnabla_influence.options import PROTOCOLS, RANDOM, RANKINGS
from nnabla_influence.retraining.plan import NONE

ORDER = (NONE, *RANKINGS)
METRICS = ("accuracy", "loss")
PARTNERS = (NONE, RANDOM)
CONFIDENCE = 0.95

# Seconds stand last: all else is the same in two runs of one experiment.
RESULTS_TYPES = {
    "seed": "int64",
    "ranking": "object",
    "n": "int64",
    "protocol": "object",
    "batch_size": "int64",
    "accuracy": "float64",
    "loss": "float64",
    "cache_bytes": "Int64",
    "seconds": "float64",
}
_GROUP = ["protocol", "batch_size", "ranking", "n"]
_PLACE = {name: place for names in (PROTOCOLS, ORDER) for place, name in enumerate(names)}


def results_frame(lines: Iterable[Sequence[Any]]) -> pd.DataFrame:
    """Return retrainings as a table, sorted by protocol, batch size, ranking, n and seed.

    Args:
        lines: Of each retraining, the columns of `RESULTS_TYPES`; ``ranking`` is ``"none"`` and
            ``n`` 0 where nothing is removed, ``accuracy`` None where no class is predicted.
    """
    frame = pd.DataFrame(list(lines), columns=list(RESULTS_TYPES), dtype=object)
    return _sorted(frame.astype(RESULTS_TYPES), [*_GROUP, "seed"])


def write_table(path: Path, frame: pd.DataFrame) -> None:
    r"""Write a table as CSV: lines end in ``\n``, floats read back exactly, missing is empty.

    A loss that is not a number is not missing: it is ``nan``.
    """
    if "loss" in frame:
        frame = frame.assign(loss=frame["loss"].map(str))
    frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def read_results(path: Path) -> pd.DataFrame:
    """Read a results.csv as `results_frame` made it."""
    missing = {"accuracy": [""], "cache_bytes": [""], "loss": ["nan"]}
    frame = pd.read_csv(
        path,
        keep_default_na=False,
        na_values=missing,
        float_precision="round_trip",
        dtype={"cache_bytes": "Int64"},
    )
    return _sorted(frame.astype(RESULTS_TYPES), [*_GROUP, "seed"])


def summarize(results: pd.DataFrame) -> pd.DataFrame:
    """Summarize the retrainings of `results_frame` over their seeds.

    A difference is that of two retrainings of one seed, protocol and batch size: the one without
    removal (``..._minus_none``), or with as many random rows removed (``..._minus_random``), is
    subtracted. Its interval is Student's t over the differences. A seed without the partner is not
    in the difference; ``pairs_...`` counts those that are.

    Returns:
        One line for each protocol, batch size, ranking and n. NaN is what is not defined: an
        accuracy of a network that predicts no class, spread and intervals of one seed, differences
        without a pair.
    """
    ordered = _sorted(results, [*_GROUP, "seed"]).set_index("seed")
    groups = dict(iter(ordered.groupby(_GROUP, sort=False)))
    lines = []
    for group, own in groups.items():
        line = dict(zip(_GROUP, group))
        line["seeds"] = len(own)
        for metric in METRICS:
            line[f"{metric}_mean"], line[f"{metric}_std"] = mean_and_std(own[metric])
        protocol, batch_size, ranking, n = group
        for partner in PARTNERS:
            other = groups.get((protocol, batch_size, partner, 0 if partner == NONE else n))
            # No removal is compared with nothing, and random removal not with itself.
            if other is None or ranking in (NONE, partner):
                other = own.iloc[:0]
            pairs = [seed for seed in own.index if seed in other.index]
            line[f"pairs_{partner}"] = len(pairs)
            for metric in METRICS:
                with np.errstate(invalid="ignore"):
                    differences = (own[metric][pairs] - other[metric][pairs]).to_numpy()
                name = f"{metric}_minus_{partner}"
                line[name], line[f"{name}_low"], line[f"{name}_high"] = _interval(differences)
        lines.append(line)
    return pd.DataFrame(lines)


def detect(scores: np.ndarray, flipped: np.ndarray, counts: Iterable[int]) -> pd.DataFrame:
    """Count the flipped rows among the most harmful ones.

    Args:
        scores: (N,), most harmful = lowest; equal scores are in the order of their rows.
        flipped: (N,), bool, at least one.
        counts: The k to look at, each from 1 to N; the number of flipped rows is added.

    Returns:
        A line for each k with ``k``, ``found`` (flipped rows among the k most harmful),
        ``precision`` (found / k), ``recall`` (found / flipped), ``roc_auc`` (the chance that a
        flipped row, drawn at random, is ranked before another one, ties counting half; NaN where
        every row is flipped), ``flipped`` and ``rows``.
    """
    n_rows, n_flipped = len(scores), int(flipped.sum())
    k = np.array(sorted({*map(int, counts), n_flipped}))
    found = np.cumsum(flipped[np.argsort(scores, kind="stable")])[k - 1]
    return pd.DataFrame(
        {
            "k": k,
            "found": found,
            "precision": found / k,
            "recall": found / n_flipped,
            "roc_auc": _roc_auc(scores, flipped),
            "flipped": n_flipped,
            "rows": n_rows,
        }
    )


def detection_frame(found: dict[tuple[int, int, str], pd.DataFrame]) -> pd.DataFrame | None:
    """Return the tables of `detect` as one, sorted by batch size, ranking, seed and k.

    Args:
        found: By seed, batch size and ranking.

    Returns:
        The table, or None where no flips are known.
    """
    if not found:
        return None
    frame = pd.concat(found, names=["seed", "batch_size", "ranking"])
    return _sorted(frame.reset_index(level=[0, 1, 2]), ["batch_size", "ranking", "seed", "k"])


def found_at_flipped(detection: pd.DataFrame) -> pd.DataFrame:
    """Return for each batch size and ranking what is found among as many rows as are flipped.

    As many as in that seed; precision and recall are equal there. Means over the seeds; ``..._std``
    is their standard deviation, NaN with one seed.
    """
    at_flipped = detection[detection["k"] == detection["flipped"]]
    lines = []
    for (batch_size, ranking), of_one in at_flipped.groupby(["batch_size", "ranking"], sort=False):
        line = {"batch_size": batch_size, "ranking": ranking}
        for name in ("precision", "roc_auc"):
            line[name], line[f"{name}_std"] = mean_and_std(of_one[name])
        lines.append(line)
    return pd.DataFrame(lines)


def mean_and_std(values: pd.Series | np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation (of the sample: N - 1); NaN where there are too few.

    A value that is not finite makes them so too; pandas' own would ignore it.
    """
    values = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = float(values.mean()) if len(values) else math.nan
        std = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return mean, std


def _interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Return the mean with the ends of its 95 % interval, Student's t; NaN where too few."""
    mean, std = mean_and_std(differences)
    if not math.isfinite(std):
        return mean, math.nan, math.nan
    count = len(differences)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * std / math.sqrt(count)
    return mean, mean - half, mean + half


def _roc_auc(scores: np.ndarray, flipped: np.ndarray) -> float:
    """Return the area under the curve by the sum of the flipped rows' ranks (Mann and Whitney)."""
    n_flipped = int(flipped.sum())
    n_others = len(scores) - n_flipped
    if n_others == 0:
        return math.nan
    others_first = rankdata(scores)[flipped].sum() - n_flipped * (n_flipped + 1) / 2
    return float(1 - others_first / (n_flipped * n_others))


def _sorted(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    def places(column: pd.Series) -> pd.Series:
        return column.map(_PLACE) if column.name in ("ranking", "protocol") else column

    return frame.sort_values(by, key=places, ignore_index=True)
