"""One cell of the experiment, a problem, a model and a seed: scores, truth and their agreement."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from nnabla_influence import Options
from nnabla_influence.definition import load_definition
from nnabla_influence.errors import ScoreError
from nnabla_influence.runs.run import Run
from nnabla_influence.scoring import score
from reproductions.hara_table1 import data as samples
from reproductions.hara_table1.koh_liang import koh_liang
from reproductions.hara_table1.leaving_out import Layers, error, layers, leave_each_out
from reproductions.hara_table1.settings import Settings
from reproductions.hara_table1.training import DEFINITION, layer_names, train

COMPARISONS = (
    ("exact, all epochs", "whole run"),
    ("final, all epochs", "whole run"),
    ("Koh and Liang", "whole run"),
    ("Koh and Liang, 100 steps", "whole run"),
    ("exact, last epoch", "last epoch"),
    ("final, last epoch", "last epoch"),
    ("exact, last epoch", "whole run"),
    ("final, last epoch", "whole run"),
    ("exact, all epochs", "derivative, whole run"),
    ("exact, last epoch", "derivative, last epoch"),
)
"""Which scores are judged by which truth."""

EXTREMES = 10


@dataclass(frozen=True, eq=False)
class Cell:
    """What was found.

    Attributes:
        scores: By name, (n,); None where the trace diverges.
        truths: By name, (n,).
        facts: Numbers and notes about the computation.
        seconds: What took how long.
    """

    scores: Mapping[str, np.ndarray | None]
    truths: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]
    seconds: Mapping[str, float]

    def agreement(self) -> list[dict[str, Any]]:
        """Return tau and Jaccard of every comparison; None where there are no scores."""
        rows = []
        for of_scores, of_truth in COMPARISONS:
            scores, truth = self.scores[of_scores], self.truths[of_truth]
            row: dict[str, Any] = {"score": of_scores, "truth": of_truth}
            row["tau"] = None if scores is None else float(kendalltau(scores, truth).statistic)
            row["jaccard"] = None if scores is None else jaccard(scores, truth)
            rows.append(row)
        return rows

    def as_json(self) -> dict[str, Any]:
        """Return everything, as JSON can hold it."""
        return {
            "agreement": self.agreement(),
            "facts": dict(self.facts),
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            "scores": {k: None if v is None else v.tolist() for k, v in self.scores.items()},
            "truths": {name: values.tolist() for name, values in self.truths.items()},
        }


def jaccard(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the paper's Jaccard index: of the ten lowest and the ten highest rows together."""
    orders = np.argsort(scores), np.argsort(truth)
    first, second = ({*order[:EXTREMES], *order[-EXTREMES:]} for order in orders)
    return len(first & second) / len(first | second)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A problem drawn and trained, in a folder.

    Attributes:
        folder: Holds the definition, the runs and the CSVs.
        parts: ``training``, ``validation`` and ``test`` rows.
        alpha: The weight decay.
        runs: By what they keep: ``all`` and ``sqrt``.
    """

    folder: Path
    parts: Mapping[str, samples.Part]
    alpha: float
    runs: Mapping[str, Run]

    def score(self, keep: str, method: str, window: str) -> np.ndarray:
        """Score by the package, (n,)."""
        ranking = score(
            self.folder / DEFINITION,
            run=self.runs[keep].folder,
            validation=self.folder / "validation.csv",
            options=Options(method=method, window=window, any_verdict=True),
            device="cpu",
        )
        return ranking.scores.influence


class Stopwatch:
    """Notes what took how long."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Time the block."""
        started = time.perf_counter()
        yield
        self.seconds[what] = time.perf_counter() - started


def prepare(settings: Settings, seed: int, folder: Path, timed: Stopwatch) -> Prepared:
    """Draw and train."""
    parts = samples.draw(settings.problem, seed, settings.n_rows)
    training = parts["training"]
    for name in ("training", "validation"):
        samples.write(parts[name], folder / f"{name}.csv")
    alpha = settings.weight_decay(training.x, training.y, seed)
    runs = {}
    for keep in ("all", "sqrt"):
        with timed(f"train, keep {keep}"):
            runs[keep] = train(settings, training, alpha, seed, folder, keep)
    return Prepared(folder, parts, alpha, runs)


def compute(settings: Settings, seed: int) -> Cell:
    """Draw, train, score and leave out.

    Raises:
        AssertionError: A run with some of the states gives other scores than one with all.
    """
    timed = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(settings, seed, Path(folder), timed)
        scores, notes = _scores(prepared, timed)
        parts, run = prepared.parts, prepared.runs["all"]
        with timed("Koh and Liang"):
            functions = koh_liang(
                load_definition(prepared.folder / DEFINITION),
                run,
                parts["training"],
                parts["validation"],
                prepared.alpha if settings.damping is None else settings.damping,
                find_least=settings.damping is not None,
            )
        names = layer_names(settings)
        with timed("leave one out"):
            truth = leave_each_out(run, names, parts["training"], parts["validation"])
        recorded = layers(run.parameters(), names)
    return Cell(
        scores={
            **scores,
            "Koh and Liang": functions.influence,
            "Koh and Liang, 100 steps": functions.descended,
        },
        truths={
            "whole run": truth.whole,
            "last epoch": truth.last,
            "derivative, whole run": truth.whole_slope,
            "derivative, last epoch": truth.last_slope,
        },
        facts={
            "features": parts["training"].x.shape[1],
            "alpha": prepared.alpha,
            "test_error": error(truth.final, parts["test"]),
            "float32_difference": largest_difference(recorded, truth.final),
            "damping": functions.damping,
            "cg_iterations": functions.iterations,
            "cg_residual": functions.residual,
            "least_eigenvalue": functions.least_eigenvalue,
            "notes": notes,
        },
        seconds=timed.seconds,
    )


def _scores(prepared: Prepared, timed: Stopwatch) -> tuple[dict[str, np.ndarray | None], list[str]]:
    scores: dict[str, np.ndarray | None] = {}
    notes: list[str] = []
    for method in ("exact", "final"):
        for epochs, window in (("all epochs", "all"), ("last epoch", "last")):
            name = f"{method}, {epochs}"
            with timed(name):
                try:
                    scores[name] = prepared.score("all", method, window)
                except ScoreError as diverged:  # far from the end, final parameters can mislead
                    scores[name] = None
                    notes.append(f"{name}: {diverged}")
    with timed("exact, all epochs, keep sqrt"):
        replayed = prepared.score("sqrt", "exact", "all")
    exact = scores["exact, all epochs"]
    if exact is None or replayed.tobytes() != exact.tobytes():
        raise AssertionError("keep sqrt gives other scores than keep all")
    return scores, notes


def largest_difference(one: Layers, other: Layers) -> float:
    """Return how far apart two networks' parameters are."""
    pairs = [arrays for layer in zip(one, other) for arrays in zip(*layer)]
    return max(float(np.abs(a - b).max()) for a, b in pairs)
