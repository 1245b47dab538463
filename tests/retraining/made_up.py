"""Results as an experiment would give them, made up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnabla_influence.retraining.detection import detect
from nnabla_influence.retraining.detection_table import DetectionResult
from nnabla_influence.retraining.plan import NONE
from nnabla_influence.retraining.tables import RANDOM, CellResult

RANKINGS = ("final", "exact-last", "loss", RANDOM)
REMOVED = (30, 60, 150, 300, 600)
GAIN = {"final": 0.012, "exact-last": 0.014, "exact": 0.016, "influence-functions": 0.011}
GAIN |= {"loss": 0.007, RANDOM: -0.001}


def cells(
    seeds: int = 3,
    rankings: Sequence[str] = RANKINGS,
    removed: Sequence[int] = REMOVED,
    protocols: Sequence[str] = ("all",),
    batch_sizes: Sequence[int] = (32,),
    classes: bool = True,
) -> list[CellResult]:
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
                    made.append(
                        CellResult(
                            seed=seed,
                            ranking=ranking,
                            n=n,
                            protocol=protocol,
                            batch_size=batch_size,
                            accuracy=accuracy if classes else None,
                            loss=loss,
                            cache_bytes=None if ranking == NONE else 1000 * len(ranking),
                            seconds=float(rng.uniform(3, 4)),
                        )
                    )
    return made


def detections(
    seeds: int = 3,
    rankings: Sequence[str] = RANKINGS,
    removed: Sequence[int] = REMOVED,
    batch_sizes: Sequence[int] = (32,),
    rows: int = 3000,
    flipped: int = 300,
) -> list[DetectionResult]:
    rng = np.random.default_rng(1)
    made = []
    for batch_size in batch_sizes:
        for seed in range(seeds):
            flips = np.zeros(rows, bool)
            flips[rng.permutation(rows)[:flipped]] = True
            for ranking in rankings:
                scores = rng.normal(size=rows) - flips * 200 * (GAIN[ranking] + 0.001)
                found = detect(scores, flips, removed)
                assert found is not None
                made.append(DetectionResult(seed, batch_size, ranking, found))
    return made
