"""What the figures of removal curves share: sheets of panels, axes in powers, files."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnabla_influence.retraining.styles import LOOKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# 8 inches of 120 dots are what a README shows, dot for dot.
_WIDTH, _DPI = 8.0, 120
_COLUMNS = 2
_STYLE = {
    "svg.hashsalt": "nnabla-influence",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.8,
}
# Of a panel's width: how far apart the labels of two numbers of rows must be, and how far the
# error bars of two rankings, which would hide each other.
_LABELS_APART, _BARS_APART, _MARGIN = 0.13, 0.011, 0.05


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw as these figures look, whatever the user's own matplotlib settings are."""
    from matplotlib import style as styles

    with styles.context(["default", _STYLE]):
        yield


def sheet(title: str, n_panels: int, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels, two in a line, under a title.

    pyplot and its global state are left alone.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(n_panels, _COLUMNS)
    lines = math.ceil(n_panels / columns)
    height = 1.5 + (3.7 if columns == 1 else 2.65) * lines
    room = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06, hspace=0.05, wspace=0.03)
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout=room)
    FigureCanvasAgg(figure)
    # The title is the user's: no $ in it begins a formula.
    figure.suptitle(title, fontsize=12, fontweight="bold", parse_math=False)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=share_y)
    axes = list(grid.flat)
    for unused in axes[n_panels:]:
        unused.set_axis_off()
    return figure, axes[:n_panels]


def legend(figure: Figure, panels: Sequence[Axes], caption: str) -> None:
    """Put a caption and one legend, of all that the panels show, below them and their data."""
    shown: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            shown.setdefault(label, handle)
    columns = 3 if len(shown) > 4 else 2
    below = figure.legend(
        list(shown.values()),
        list(shown),
        title=caption,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
    )
    below.get_title().set(color="0.3", multialignment="center", fontsize=9)


def log_counts(axes: Axes, counts: Sequence[int]) -> None:
    """Make the x axis that of numbers of rows: logarithmic, labelled where there are data."""
    counts = sorted(set(counts))
    low, high = math.log10(counts[0]), math.log10(counts[-1])
    margin = _MARGIN * _span(counts) if high > low else 0.2
    axes.set_xscale("log")
    axes.set_xlim(10 ** (low - margin), 10 ** (high + margin))
    labelled: list[int] = []
    for count in reversed(counts):
        far = not labelled or math.log10(labelled[-1] / count) > _LABELS_APART * _span(counts)
        if far:
            labelled.append(count)
    axes.set_xticks(sorted(labelled), [f"{count:,}" for count in sorted(labelled)])
    others = [count for count in counts if count not in labelled]
    axes.set_xticks(others, [""] * len(others), minor=True)


def beside(counts: Sequence[int], place: int, places: int, all_counts: Sequence[int]) -> np.ndarray:
    """Return the counts, moved a little, so that ``places`` error bars stand side by side."""
    offset = (place - (places - 1) / 2) * _BARS_APART * _span(all_counts)
    return np.asarray(counts, dtype=np.float64) * 10**offset


def draw(axes: Axes, ranking: str, x: np.ndarray, y: np.ndarray, errors: np.ndarray | None) -> None:
    """Draw a ranking's line, with error bars where ``errors``, as `Axes.errorbar` takes them."""
    look = LOOKS[ranking]
    axes.errorbar(
        x,
        y,
        yerr=errors,
        label=look.name,
        color=look.color,
        marker=look.marker,
        linestyle=look.line,
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.4,
        linewidth=1.6,
        elinewidth=1.1,
        capsize=2.5,
    )


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG: the same picture, the same bytes each time."""
    paths = [folder / f"{name}.{form}" for form in ("png", "svg")]
    # Neither a date nor a version of matplotlib stands in the files.
    metadata: Iterable[dict[str, Any]] = ({"Software": None}, {"Date": None, "Creator": None})
    with warnings.catch_warnings():
        # A title that the font has no signs for is shown as boxes; the tables hold it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        for path, facts in zip(paths, metadata):
            figure.savefig(path, metadata=facts)
    return paths


def _span(counts: Sequence[int]) -> float:
    """Return the decades between the fewest and the most rows; one decade where that is none."""
    return math.log10(max(counts) / min(counts)) or 1.0
