"""How many labels are flipped in each seed: their range, and what chance finds of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Flips:
    """How many rows are flipped, of how many, in each seed of a batch size.

    Attributes:
        flipped: (seeds,), rows that are flipped.
        rows: (seeds,), all rows.
    """

    flipped: np.ndarray
    rows: np.ndarray

    @property
    def differ(self) -> bool:
        """Whether the seeds differ in the number of flipped rows."""
        return len(set(self.flipped.tolist())) > 1

    @property
    def chance(self) -> float:
        """The share of flipped rows that a blind choice finds, mean over the seeds."""
        return float(np.mean(self.flipped / self.rows))


def flips_of(detection: pd.DataFrame) -> Flips:
    """Return the flips of each seed once, however many lines a seed has.

    Args:
        detection: Of `detection_frame`, the lines of one batch size.
    """
    seeds = detection.drop_duplicates("seed")
    return Flips(*(seeds[name].to_numpy(np.float64) for name in ("flipped", "rows")))


def range_words(numbers: np.ndarray) -> str:
    """Say a number, or from which to which it goes: ``7``, ``5 to 9``."""
    low, high = float(numbers.min()), float(numbers.max())
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
