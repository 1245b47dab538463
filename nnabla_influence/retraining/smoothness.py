r"""A quick check of exact scores: is the training smooth in the weights of its rows?

A score is the slope of the loss in a row's weight, and tells what leaving the row out does only as
far as the loss follows that slope. Engstrom et al. ("Optimizing ML Training with Metagradient
Descent", 2025, arXiv 2503.13751, definition 2) measure that with two more trainings, as *empirical
metasmoothness*. Let :math:`f(z)` be the result of the training with weights z, and v the direction
in which a tenth of the rows lose their weight. Then

.. math:: \hat S = \sum_i \frac{|\Delta_i(z)|}{\|\Delta(z)\|_1}\,
    \mathrm{sign}\,\Delta_i(z)\;\mathrm{sign}\,\Delta_i(z + hv), \qquad
    \Delta(z) = \frac{f(z + hv) - f(z)}{h},

which is 1 where both steps move everything the same way, and -1 where the second one turns back.
Their f are the trained parameters; here it is the loss of each validation row, with h = 1/2: the
tenth has the weights 1, .5 and 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nnabla_influence.files import PathLike
from nnabla_influence.options import ValidationOptions
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.ranking import read_ranking
from nnabla_influence.retraining.validation import open_setup

PART = 0.1
_LIMITS = (
    (0.7, "fine", "both halves of the rows' weight move the losses alike", "70, 0 and 0"),
    (0.3, "doubtful", "the halves of the rows' weight agree in part", "34, 13 and 0"),
    (-1.0, "not to be trusted", "the halves of the rows' weight disagree", "4, 15 and 8"),
)
"""The least smoothness, the word, its reason, and how many windows of small networks had an LDS of
.8 or more, of .5 to .8, and below."""


@dataclass(frozen=True)
class Smoothness:
    """Of a run's window, from -1 to 1; None where no scores are exact.

    Attributes:
        value: The empirical metasmoothness.
        n_rows: How many rows lost their weight.
        notes: What the reader should know.
    """

    value: float | None
    n_rows: int
    notes: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield the lines for the terminal."""
        yield from self.notes
        if self.value is None:
            return
        word, reason, rates = next(rest for least, *rest in _LIMITS if self.value >= least)
        yield (
            f"Exact scores: {word}. Metasmoothness {self.value:.2f}: {reason} ({self.n_rows} rows,"
            " at weight .5 and left out)"
        )
        yield (
            f"Measured elsewhere, on small networks that were {word}: {rates} of them had an LDS of"
            " .8 or more, of .5 to .8, and below .5; without --quick, validate measures yours"
        )


def quick_check(
    model: PathLike,
    *,
    run: PathLike,
    rankings: Sequence[PathLike],
    train: PathLike | None = None,
    validation: PathLike | None = None,
    options: ValidationOptions | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Smoothness:
    """Check exact scores by two retrainings of the window, with a tenth of the rows at less weight.

    Args:
        model: Network definition with its optimizer section.
        run: Run folder of the training, recorded with ``keep="sqrt"`` or ``"all"``.
        rankings: CSVs. Those that are not exact get a note only.
        train: The training CSV; by default the one that the model file names.
        validation: The validation CSV; likewise.
        options: See `ValidationOptions`; of the sample, only the seed counts.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: Where to report progress.

    Raises:
        InfluenceError: Something that the user can fix; see `nnabla_influence.errors`.
    """
    options, progress = options or ValidationOptions(), progress or SilentProgress()
    setup = open_setup(model, run, rankings, train, validation, options, device, progress)
    inexact = [path for path in rankings if not _is_exact(path)]
    notes = setup.notes + tuple(
        f"{path}: there is no quick check yet of scores that are not exact; without --quick,"
        " validate measures them"
        for path in inexact
    )
    if len(inexact) == len(rankings):
        return Smoothness(None, 0, notes)
    seen = setup.seen
    rows = np.random.default_rng([options.sample.seed, 3]).permutation(seen)
    rows = rows[: max(round(PART * len(seen)), 1)]
    progress.say(f"Quick check: {len(setup.steps)} steps are retrained three times")
    with without_futile_imports():
        retraining = setup.retraining(setup.start())
        whole = setup.losses(retraining.base(progress))
        with progress.stage("Retraining", 2, "retrainings") as stage:
            found = []
            for weight in (0.5, 0.0):
                found.append(setup.losses(retraining.without(rows.tolist(), weight)))
                stage.update()
    return Smoothness(metasmoothness(whole, *found), len(rows), notes)


def _is_exact(ranking: PathLike) -> bool:
    orders = read_ranking(ranking).orders
    return orders is not None and "exact" in orders.origin.split()


def metasmoothness(whole: np.ndarray, half: np.ndarray, without: np.ndarray) -> float:
    """Return the empirical metasmoothness of results at weight 1, .5 and 0, (n,) each."""
    first, second = half - whole, without - half
    return float((first * np.sign(second)).sum() / np.abs(first).sum())
