"""Mean, spread and paired differences over the seeds, and their file summary.csv.

Two trainings of the same seed share their initial parameters, the order of their mini-batches and
often their data. What differs from seed to seed cancels in the difference of the two, so the
interval around the mean of these differences is much narrower than the spread of the accuracies.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnabla_influence.retraining.plan import NONE, PROTOCOLS
from nnabla_influence.retraining.tables import ORDER, RANDOM, typed_frame

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("accuracy", "loss")
PARTNERS = (NONE, RANDOM)
CONFIDENCE = 0.95
COLUMNS = (
    *("protocol", "batch_size", "ranking", "n", "seeds"),
    *(f"{metric}_{what}" for metric in METRICS for what in ("mean", "std")),
    *(
        name
        for partner in PARTNERS
        for name in (
            f"pairs_{partner}",
            *(
                f"{metric}_minus_{partner}{end}"
                for metric in METRICS
                for end in ("", "_low", "_high")
            ),
        )
    ),
)
_Group = tuple[str, int, str, int]


def summarize(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarize the trainings of `results_frame` over their seeds.

    A difference is that of two trainings of one seed, protocol and batch size: the cell's own and
    the one without removal (``..._minus_none``), or with as many random rows removed
    (``..._minus_random``). Its interval is Student's t over the differences. A seed without the
    partner is left out of the difference; ``pairs_...`` counts those that are in it.

    Returns:
        One line for each protocol, batch size, ranking and n, with `COLUMNS`; NaN is what cannot be
        told: an accuracy of a network that predicts no class, spread and intervals of one seed,
        differences without a pair.
    """
    groups: dict[_Group, dict[int, tuple[float, ...]]] = defaultdict(dict)
    for seed, ranking, n, protocol, batch_size, *values in frame[
        ["seed", "ranking", "n", "protocol", "batch_size", *METRICS]
    ].itertuples(index=False, name=None):
        groups[protocol, batch_size, ranking, n][seed] = tuple(values)
    lines = [_line(groups, group) for group in sorted(groups, key=_place)]
    return typed_frame(lines, COLUMNS)


def mean_and_std(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation (of the sample: N - 1); NaN where there are too few.

    A value that is not finite makes them so too, rather than being left out without a word.
    """
    values = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = float(values.mean()) if len(values) else math.nan
        std = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return mean, std


def mean_and_interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean with the ends of its 95 % interval, Student's t; NaN where too few."""
    from scipy.stats import t

    mean, std = mean_and_std(differences)
    if not math.isfinite(std):
        return mean, math.nan, math.nan
    count = len(differences)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * std / math.sqrt(count)
    return mean, mean - half, mean + half


def _line(groups: dict[_Group, dict[int, tuple[float, ...]]], group: _Group) -> list[object]:
    protocol, batch_size, ranking, n = group
    own = groups[group]
    seeds = sorted(own)
    line: list[object] = [*group, len(seeds)]
    for metric in range(len(METRICS)):
        line += mean_and_std([own[seed][metric] for seed in seeds])
    for partner in PARTNERS:
        other = (protocol, batch_size, partner, 0 if partner == NONE else n)
        # Neither no removal nor random removal is compared with itself, nor the one with random.
        compared = ranking not in (NONE, partner) and other in groups
        pairs = [seed for seed in seeds if compared and seed in groups[other]]
        line.append(len(pairs))
        for metric in range(len(METRICS)):
            with np.errstate(invalid="ignore"):
                differences = [own[s][metric] - groups[other][s][metric] for s in pairs]
            line += mean_and_interval(differences)
    return line


def _place(group: _Group) -> tuple[int, int, int, int]:
    protocol, batch_size, ranking, n = group
    return PROTOCOLS.index(protocol), batch_size, ORDER.index(ranking), n
