"""Whether a ranking may be written, and with which word: signs that cost nothing, and their limits.

The limits are those of the calibration, `reproductions/trust`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnabla_influence.errors import ScoreError
from nnabla_influence.network import Definition, running_statistics
from nnabla_influence.options import Options
from nnabla_influence.ranking import RELIABLE, ROUGH, Verdict
from nnabla_influence.runs.run import Run
from nnabla_influence.tracing.trace import Trace

SMALL, LARGE = 0.01, 0.04
"""Of the spread: up to the one the first order holds, beyond the other `final` says nothing."""
STEADY, GROWN = 1.2, 2.0
"""Of the growth, likewise."""


@dataclass(frozen=True)
class Signs:
    r"""What the scores themselves say about how far to trust them.

    Attributes:
        exact: Whether each step was traced at its own parameters.
        spread: :math:`sd(score) \sqrt{N / 10} / V` over the N rows seen: about the part of the
            target that leaving out a random tenth of the rows would change.
        growth: How many times its first length the gradient had at most on its way back.
        lowest: The lowest score over V. Below -1 the loss would have to become negative.
        never_negative: Whether the loss cannot be.
    """

    exact: bool
    spread: float
    growth: float
    lowest: float
    never_negative: bool


def signs_of(traces: Sequence[Trace], target: float, *, exact: bool, never_negative: bool) -> Signs:
    """Return the signs of a ranking.

    Args:
        traces: Its traces, one for each order of the mini-batches.
        target: V, the mean loss of the validation rows.
        exact: As in `Signs`.
        never_negative: As in `Signs`.
    """
    scores = np.mean([trace.influence for trace in traces], axis=0)
    seen = scores[np.sum([trace.times_seen for trace in traces], axis=0) > 0]
    size = max(abs(target), 1e-30)
    return Signs(
        exact=exact,
        spread=float(seen.std() * math.sqrt(len(seen) / 10) / size),
        growth=max(trace.growth for trace in traces),
        lowest=float(seen.min()) / size,
        never_negative=never_negative,
    )


def judge(signs: Signs, advice: str) -> Verdict:
    """Return the word for a ranking.

    Args:
        signs: The ranking's.
        advice: What the user can do where there is no ranking.

    Raises:
        ScoreError: The ranking would be no better than chance.
    """
    refused = refusal(signs)
    if refused:
        raise ScoreError(f"no ranking: {refused}; {advice}")
    if signs.spread > SMALL:
        return Verdict(ROUGH, _WIDE.format(100 * signs.spread))
    if not signs.exact and signs.growth > STEADY:
        return Verdict(ROUGH, f"the traced gradient grew {signs.growth:.2g} times")
    return Verdict(RELIABLE)


def refusal(signs: Signs) -> str | None:
    """Return why there is no ranking; None where there is one."""
    if signs.exact:
        return None
    if signs.never_negative and signs.lowest < -1:
        return (
            f"the lowest score is {-signs.lowest:.2g} times minus the validation loss, which no"
            " row's removal could make negative"
        )
    if signs.growth > GROWN:
        return (
            f"the traced gradient grew {signs.growth:.2g} times on its way back, so the scores show"
            " that growth and not the training"
        )
    if signs.spread > LARGE:
        return (
            "the scores are too large (leaving out a tenth of the rows would change"
            f" {100 * signs.spread:.2g} % of the validation loss in one window)"
        )
    return None


def advice(definition: Definition, recorded: Run | None, options: Options) -> str:
    """Return what the user can do where `final` gives no ranking."""
    ways = []
    if not options.batch_statistics and running_statistics(definition):
        ways.append("score with the statistics of each mini-batch (--batch-statistics)")
    if recorded is not None and recorded.moments:
        ways.append("score with --method exact, since the run keeps what it needs")
    else:
        ways.append("train with `nnabla-influence train --keep sqrt` and score with --method exact")
    if options.epochs != 1:
        ways.append("score the last epoch alone")
    return " or ".join(ways)


_WIDE = "the scores are large for a first-order estimate ({:.2g} % of the validation loss)"
