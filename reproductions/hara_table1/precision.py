"""How far the truth depends on the precision: float64 twin against nnabla's float32 retraining.

Run ``uv run python reproductions/hara_table1/precision.py``. For seed 0 of each column it leaves
every row out by the package's own `validate`, in float32, and prints the agreement with the twin.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as in run.py

import numpy as np
from nnabla.logger import logger
from scipy.stats import kendalltau

from nnabla_influence import Sample, ValidationOptions, validate
from reproductions.hara_table1.cell import Stopwatch, prepare
from reproductions.hara_table1.leaving_out import leave_each_out
from reproductions.hara_table1.run import COLUMNS
from reproductions.hara_table1.settings import Settings, settings
from reproductions.hara_table1.table import TITLES
from reproductions.hara_table1.training import DEFINITION, layer_names


def compare(chosen: Settings, folder: Path) -> None:
    """Print a line for each window."""
    prepared = prepare(chosen, 0, folder, Stopwatch())
    names, parts = layer_names(chosen), prepared.parts
    truth = leave_each_out(prepared.runs["all"], names, parts["training"], parts["validation"])
    for window, changes in (("all", truth.whole), ("last", truth.last)):
        result = validate(
            folder / DEFINITION,
            run=prepared.runs["all"].folder,
            scores={"exact": prepared.score("all", "exact", window)},
            validation=folder / "validation.csv",
            options=ValidationOptions(
                window=window, sample=Sample(rows=chosen.n_rows, subsets=0, retest=False)
            ),
            device="cpu",
        )
        twin = changes[result.rows]
        scores = result.scores["exact"][result.rows]
        print(
            f"| {TITLES[chosen.problem, chosen.model]} | {window} |"
            f" {kendalltau(result.row_changes, twin).statistic:.3f} |"
            f" {np.abs(result.row_changes - twin).max():.1e} | {np.median(np.abs(twin)):.1e} |"
            f" {kendalltau(scores, result.row_changes).statistic:.3f} |"
            f" {kendalltau(scores, twin).statistic:.3f} |",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    logger.setLevel("WARNING")
    print(
        "| column | epochs | tau of both truths | largest difference | median change"
        " | tau of exact scores: float32 truth | float64 truth |"
    )
    print("|---|---|---|---|---|---|---|")
    for column in COLUMNS:
        with tempfile.TemporaryDirectory() as folder:
            compare(settings(*column), Path(folder))


if __name__ == "__main__":
    main()
