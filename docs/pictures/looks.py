"""What the drawn pictures share: where they go, and their colours."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

__all__ = ["FOLDER", "HARMFUL", "HELPFUL", "NEUTRAL", "mpl", "plt"]

FOLDER = Path(__file__).resolve().parents[1] / "images"
HARMFUL, HELPFUL, NEUTRAL = "#b2182b", "#2166ac", "#666666"
