"""Whether a ranking is written, and how far it can be trusted, from signs that cost nothing.

The limits are those of the calibration, `reproductions/trust`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnabla_influence.definition import Definition, running_statistics, seed_random_layers
from nnabla_influence.errors import ScoreError
from nnabla_influence.influence.trace import Trace
from nnabla_influence.options import Options
from nnabla_influence.ranking import RELIABLE, ROUGH, Verdict
from nnabla_influence.scoring.replay import NO_REPLAY, NOT_ASKED, TOO_LONG, more_time

SMALL, LARGE = 0.01, 0.03
"""Of the spread: below the one the first order holds, above the other `final` means nothing."""
GROWN = 2.0
"""Of the growth: above it `final` means nothing, and exact scores are rough."""


@dataclass(frozen=True)
class Signs:
    r"""What a trace itself shows about how far its scores can be trusted.

    Attributes:
        exact: Whether each step was traced at its own parameters.
        spread: :math:`sd(score) \sqrt{N / 10} / V` over the N rows seen: about the part of the
            target V that leaving out a random tenth of the rows would change.
        growth: The largest length of the traced gradient over its first one.
        chosen: Whether the target is the loss of rows that the user chose. Right scores can be
            large relative to the loss of a few rows.
        lowest: The lowest score over V. Below -1 the loss would have to become negative.
        never_negative: Whether the loss cannot be negative.
    """

    exact: bool
    spread: float
    growth: float
    chosen: bool
    lowest: float
    never_negative: bool


def signs_of(
    traces: Sequence[Trace],
    target: float,
    *,
    exact: bool,
    chosen: bool,
    never_negative: bool,
) -> Signs:
    """Return the signs of a ranking from its traces and V, the mean loss of the validation rows."""
    scores = np.mean([trace.influence for trace in traces], axis=0)
    seen = scores[np.sum([trace.times_seen for trace in traces], axis=0) > 0]
    size = max(abs(target), 1e-30)
    return Signs(
        exact=exact,
        spread=float(seen.std() * math.sqrt(len(seen) / 10) / size),
        growth=max(trace.growth for trace in traces),
        chosen=chosen,
        lowest=float(seen.min()) / size,
        never_negative=never_negative,
    )


def judge(signs: Signs, advice: str, *, any_verdict: bool = False) -> Verdict:
    """Return the verdict on a ranking; ``any_verdict`` is described in `Options`.

    Raises:
        ScoreError: The ranking would be no better than chance; it ends with the advice.
    """
    refused = _refusal(signs)
    if refused and any_verdict:
        return Verdict(ROUGH, "no better than chance perhaps")
    if refused:
        raise ScoreError(f"no ranking is written: {refused}; {advice}")
    reason = _doubt(signs)
    return Verdict(RELIABLE) if reason is None else Verdict(ROUGH, reason)


def _refusal(signs: Signs) -> str | None:
    if signs.never_negative and signs.lowest < -1 and not signs.chosen:
        return (
            f"the lowest score is {-signs.lowest:.2g} times minus the validation loss, and no row"
            " can make that loss negative"
        )
    if not math.isfinite(signs.spread) or not math.isfinite(signs.growth):
        return "the traced gradient grew without bound"
    if signs.exact:
        return None
    if signs.growth > GROWN:
        return (
            f"the traced gradient grew {signs.growth:.2g} times, so the scores reflect that growth"
        )
    if signs.never_negative and signs.spread > LARGE and not signs.chosen:
        return (
            "the scores are too large to be right (leaving out a tenth of the rows would move the"
            f" validation loss by {_percent(signs.spread)})"
        )
    return None


def _doubt(signs: Signs) -> str | None:
    if signs.spread > SMALL and not signs.never_negative:
        return "large scores"  # beside a mean loss that can be 0
    if signs.spread > SMALL:
        return f"leaving out a tenth of the rows moves the loss by about {_percent(signs.spread)}"
    if signs.growth > GROWN:
        return f"the traced gradient grew {signs.growth:.2g} times"
    if not signs.exact:
        return "method final - exact scores can be different"
    return None


def _percent(part: float) -> str:
    return f"{100 * part:.2g} %" if part < 1 else f"{100 * part:.0f} %"


def advice(definition: Definition, options: Options, why: str) -> str:
    """Return what the user can do where no ranking is written; ``why`` is the `Method`'s."""
    ways = []
    if seed_random_layers(copy.deepcopy(definition.proto)):
        ways.append("give the random layers a Seed and train again, for exact scores")
    elif options.method == "final":
        ways.append("choose method auto, which traces exactly where that is possible")
    elif why in (TOO_LONG, NOT_ASKED):
        ways.append(more_time())
    elif why == NO_REPLAY:
        ways.append("record the training with checkpoints (nnabla-influence train, Recorder)")
    if options.running_statistics and running_statistics(definition):
        ways.append("use the batch statistics of BatchNormalization")
    if options.epochs != 1:
        ways.append("score the last epoch alone")
    ways.append("train with a learning rate that falls towards the end")
    return ", or ".join(ways)
