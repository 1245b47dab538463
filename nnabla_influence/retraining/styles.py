"""How a ranking looks in figures and what people call it: the same in every experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class Look:
    """Colour, marker and line style, each enough to tell a ranking; and its name for people."""

    name: str
    color: str
    marker: str
    line: Union[str, tuple[int, tuple[float, ...]]]


# The colours are Okabe and Ito's, which people with any form of colour blindness tell apart.
LOOKS = {
    "none": Look("no removal", "black", "", "-"),
    "final": Look("final parameters (Suzuki et al.)", "#0072B2", "o", "-"),
    "exact-last": Look("exact, last epoch (Hara et al.)", "#D55E00", "s", (0, (6, 1.5))),
    "exact": Look("exact, all epochs (Hara et al.)", "#009E73", "^", (0, (5, 1.5, 1, 1.5))),
    "influence-functions": Look(
        "influence functions (Koh and Liang)", "#CC79A7", "D", (0, (3, 1, 1, 1, 1, 1))
    ),
    "loss": Look("training loss", "#E69F00", "v", (0, (3, 1.5))),
    "random": Look("random", "#6E6E6E", "X", (0, (1, 1.5))),
}
