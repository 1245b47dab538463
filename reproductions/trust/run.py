"""Calibrate the verdict on a ranking: what its signs say, against exact scores and retraining.

Run ``uv run python reproductions/trust/run.py``. Each training's lines are appended to
``results.csv`` as soon as they are known; trainings that are there are not done again. Then
``table.md`` is written, with the verdict of the code as it is.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # started as a script, it would see this folder only

import numpy as np
from nnabla.logger import logger
from scipy.stats import spearmanr

from nnabla_influence import Options, Sample, TerminalProgress, ValidationOptions, validate
from nnabla_influence.errors import InfluenceError
from nnabla_influence.nnabla_cli.training import train
from nnabla_influence.ranking import RELIABLE, Verdict
from nnabla_influence.scoring import score
from nnabla_influence.scoring.verdict import Signs
from reproductions.trust.table import FIELDS, write_table
from reproductions.trust.trainings import Kind, trainings, write_training

METHODS = {
    "exact": Options(method="exact"),
    "final, batch": Options(method="final"),
    "final, running": Options(method="final", running_statistics=True),
}
WINDOWS: tuple[str, ...] = ("last", "all")
RETRAINED = 5
"""Of every so many trainings one is done again, without each of `SUBSETS` tenths of its rows."""
SUBSETS = 30


def main() -> None:
    """Compute what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=HERE, help="folder (default: this one)")
    parser.add_argument("--part", default="0/1", help="i/n: every n-th training, from the i-th")
    parsed = parser.parse_args()
    part, parts = map(int, parsed.part.split("/"))
    results = parsed.output / "results.csv"
    done = set()
    if results.is_file():
        with results.open(newline="") as file:
            done = {line["training"] for line in csv.DictReader(file)}
    else:
        results.write_text(",".join(FIELDS) + "\n")
    kinds = trainings()[part::parts]
    with TerminalProgress().stage("Calibration", len(kinds), "trainings") as stage:
        for kind in kinds:
            if kind.name not in done:
                lines = list(compute(kind))
                with results.open("a", newline="") as file:
                    csv.DictWriter(file, FIELDS).writerows(lines)
            stage.update()
    write_table(results, parsed.output / "table.md")


def compute(kind: Kind) -> Iterator[dict[str, object]]:
    """Train, and yield a line for each window and method."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        definition = write_training(folder, kind)
        run = train(definition, folder / "run", keep="all", window="all", device="cpu")
        for window in WINDOWS:
            found = {
                method: _scored(definition, run.folder, dataclasses.replace(o, window=window))
                for method, o in METHODS.items()
                if kind.normalized or method != "final, batch"
            }
            scores = {name: it.scores for name, it in found.items() if it.scores is not None}
            truth = found["exact"]
            lds = {}
            if kind.seed % RETRAINED == 0 and scores:
                sample = Sample(rows=0, subsets=SUBSETS, leave=0.1, retest=False)
                retrained = validate(
                    definition,
                    run=run.folder,
                    scores=scores,
                    options=ValidationOptions(window=window, sample=sample),
                    device="cpu",
                )
                lds = {name: it.lds for name, it in retrained.subset_agreements.items()}
            for method, it in found.items():
                spearman = math.nan
                if it.scores is not None and truth.scores is not None:
                    seen = it.seen
                    spearman = float(spearmanr(it.scores[seen], truth.scores[seen]).statistic)
                yield {
                    "training": kind.name,
                    "seed": kind.seed,
                    "window": window,
                    "method": method,
                    "spearman": f"{spearman:.3f}",
                    "lds": f"{lds.get(method, math.nan):.3f}",
                    "spread": "" if it.signs is None else f"{it.signs.spread:.3g}",
                    "growth": "" if it.signs is None else f"{it.signs.growth:.3g}",
                    "lowest": "" if it.signs is None else f"{it.signs.lowest:.3g}",
                    "problem": it.problem,
                }


@dataclass(frozen=True, eq=False)
class _Scored:
    scores: np.ndarray | None = None
    seen: np.ndarray | None = None
    signs: Signs | None = None
    problem: str = ""


def _scored(definition: Path, run: Path, options: Options) -> _Scored:
    """Return the scores of a ranking that nobody judges, which rows are seen, and the signs."""
    found: list[Signs] = []

    def unjudged(signs: Signs, advice: str, *, any_verdict: bool) -> Verdict:
        found.append(signs)
        return Verdict(RELIABLE)

    with (
        mock.patch("nnabla_influence.scoring.scoring.judge", unjudged),
        mock.patch("nnabla_influence.influence.trace.GROWTH_LIMIT", math.inf),
    ):
        try:
            ranking = score(definition, run=run, options=options, device="cpu")
        except InfluenceError as error:
            return _Scored(problem=str(error).split(";")[0].replace("\n", " "))
    scores = ranking.scores
    assert scores.times_seen is not None
    return _Scored(scores.influence, scores.times_seen > 0, found[0])


if __name__ == "__main__":
    logger.setLevel("WARNING")  # nnabla tells of every file that it reads
    main()
