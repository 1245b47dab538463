"""The scatter plot: what the scores say against what retraining gave."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnabla_influence.retraining.agreement import RowAgreement, SubsetAgreement
from nnabla_influence.retraining.sampling import subset_sums
from nnabla_influence.retraining.validation_result import Validation

_INCHES = 4.2
_NAME = 30


def write_scatter(path: Path, validation: Validation) -> None:
    """Draw one column for each of the scores: single rows above, subsets below.

    pyplot and its global state are left alone.
    """
    n_lines = bool(len(validation.rows)) + bool(validation.subsets)
    n_columns = len(validation.scores)
    figure = Figure(figsize=(_INCHES * n_columns + 0.6, _INCHES * n_lines + 0.6), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_lines, n_columns, squeeze=False)
    words = f'"{validation.question.words}"\nline: the score says what happens'
    figure.suptitle(words, fontsize=10)
    for column, (name, scores) in enumerate(validation.scores.items()):
        # A name is the user's: no $ in it begins a formula.
        shown = name[-_NAME:].replace("$", r"\$")
        line = 0
        rows = validation.row_agreements.get(name)
        if rows is not None:
            _draw(axes[line][column], validation.row_changes, scores[validation.rows])
            axes[line][column].set_title(f"{shown}: {_row_words(rows)}", fontsize=9)
            axes[line][column].set_xlabel("true change of the validation loss without the row")
            axes[line][column].set_ylabel("influence (the change that the score says)")
            line += 1
        subsets = validation.subset_agreements.get(name)
        if subsets is not None:
            sums = subset_sums(scores, validation.subsets)
            _draw(axes[line][column], validation.subset_changes, sums)
            axes[line][column].set_title(f"{shown}: {_subset_words(subsets)}", fontsize=9)
            size = len(validation.subsets[0])
            axes[line][column].set_xlabel(f"true change of the validation loss without {size} rows")
            axes[line][column].set_ylabel("sum of their influences")
    with warnings.catch_warnings():
        # A name that the font has no signs for is shown as boxes; the files hold it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.tight_layout()
        figure.savefig(path)


def _draw(axes: Axes, truth: np.ndarray, said: np.ndarray) -> None:
    # A line of slope 1 through the origin, where the score has the right size too.
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
    axes.axhline(0, color="0.9", linewidth=0.8, zorder=0)
    axes.axvline(0, color="0.9", linewidth=0.8, zorder=0)
    axes.scatter(truth, said, s=14, alpha=0.7, linewidths=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter("{x:.3g}")
    axes.tick_params(labelsize=8)


def _row_words(agreement: RowAgreement) -> str:
    return f"tau {agreement.kendall_tau:.2f}, slope {agreement.slope:.2f}"


def _subset_words(agreement: SubsetAgreement) -> str:
    return f"LDS {agreement.lds:.2f} [{agreement.low:.2f}, {agreement.high:.2f}]"
