"""Limits on what a file that somebody sent may make of this computer's memory and time.

Each follows from what the file itself holds, and leaves room for whatever people train.
"""

from __future__ import annotations

import os

VARIABLE = "NNABLA_INFLUENCE_LIMITS"
"""An environment variable: by how much every limit is raised, such as 10."""
ADVICE = f"if you trust the file, set {VARIABLE}=10, which raises the limits tenfold"

_LEAST_BYTES = 2**30
_LEAST_VALUES = 2**27  # 11,500 x 11,500 grey pixels
_MOST_TIMES = 50
_MOST_RAISE = 1e9


def raised(limit: int) -> int:
    """Return a limit as the user set it."""
    try:
        factor = float(os.environ.get(VARIABLE, ""))
    except ValueError:
        return limit
    return int(limit * min(factor, _MOST_RAISE)) if factor > 1 else limit


def most_bytes(held: int) -> int:
    """Return into how many bytes a file of ``held`` bytes may be unpacked.

    A model of a hundred MB that is nothing but zeros packs a thousandfold, so small files may do
    that; what is larger is mostly numbers that pack badly.
    """
    return raised(max(_LEAST_BYTES, _MOST_TIMES * held))


def most_values(held: int) -> int:
    """Return into how many pixels, times channels, a picture of ``held`` bytes may be unpacked."""
    return raised(max(_LEAST_VALUES, _MOST_TIMES * held))
