"""Results as an experiment would give them, made up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nnabla_influence.options import RANDOM
from nnabla_influence.retraining.plan import NONE
from nnabla_influence.retraining.tables import detect, detection_frame, results_frame

RANKINGS = ("final", "exact-last", "loss", RANDOM)
REMOVED = (30, 60, 150, 300, 600)
GAIN = {"final": 0.012, "exact-last": 0.014, "exact": 0.016, "influence-functions": 0.011}
GAIN |= {"loss": 0.007, RANDOM: -0.001}
PLAIN = {"seed": 0, "ranking": NONE, "n": 0, "protocol": "all", "batch_size": 32}
PLAIN |= {"accuracy": 0.9, "loss": 0.3, "cache_bytes": None, "seconds": 1.5}


def frame(*lines: dict) -> pd.DataFrame:
    """Return a table of results; each line says what differs from `PLAIN`."""
    return results_frame([tuple({**PLAIN, **line}.values()) for line in lines])


def results(
    seeds: int = 3,
    rankings: Sequence[str] = RANKINGS,
    removed: Sequence[int] = REMOVED,
    protocols: Sequence[str] = ("all",),
    batch_sizes: Sequence[int] = (32,),
    classes: bool = True,
) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    made = []
    for protocol in protocols:
        for batch_size in batch_sizes:
            for seed in range(seeds):
                base = 0.905 - batch_size / 20000 + 0.006 * rng.normal()
                for ranking, n in [(NONE, 0), *((r, n) for r in rankings for n in removed)]:
                    place = np.log(max(n, 1)) / np.log(max(removed))
                    gain = GAIN.get(ranking, 0) * (place - max(place - 0.85, 0) * 8)
                    accuracy = float(np.round(base + gain + 0.002 * rng.normal(), 4))
                    loss = float(1.2 - accuracy + 0.01 * rng.normal())
                    line = {"seed": seed, "ranking": ranking, "n": n, "protocol": protocol}
                    line |= {"batch_size": batch_size, "loss": loss, "seconds": rng.uniform(3, 4)}
                    made.append({**line, "accuracy": accuracy if classes else None})
    return frame(*made)


def detections(
    seeds: Sequence[int] = (0, 1, 2),
    removed: Sequence[int] = REMOVED,
    rows: int = 3000,
    flipped: int = 300,
) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    made = {}
    for seed in seeds:
        flips = np.zeros(rows, bool)
        flips[rng.permutation(rows)[:flipped]] = True
        for ranking in RANKINGS:
            scores = rng.normal(size=rows) - flips * 200 * (GAIN[ranking] + 0.001)
            made[seed, 32, ranking] = detect(scores, flips, removed)
    found = detection_frame(made)
    assert found is not None
    return found
