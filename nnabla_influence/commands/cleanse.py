"""The options of ``nnabla-influence cleanse``, and what it calls."""

from __future__ import annotations

import argparse
import re

from nnabla_influence.arguments import count_or_fraction
from nnabla_influence.process import show

DESCRIPTION = (
    "Make a dataset CSV without the rows that a ranking, or a person, found harmful, and list what"
    " left it."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option."""
    # argparse takes -1e-5 for an option; later versions of Python do not.
    parser._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
    parser.add_argument(
        "-i", "--input", required=True, metavar="RANKING", help="ranking, as `score` writes it"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="CSV",
        help="dataset CSV to write, with the columns and the order of the training CSV",
    )
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument(
        "-n",
        metavar="COUNT|FRACTION",
        type=count_or_fraction,
        help="remove this many rows, such as 100, or this part of them, such as 0.05: the most"
        " harmful ones",
    )
    choice.add_argument(
        "--below",
        metavar="SCORE",
        type=_score,
        help="remove the rows whose influence is below this; 0 removes every harmful row",
    )
    choice.add_argument(
        "--decisions",
        metavar="CSV|XLSX",
        help="do what this CSV or workbook says in its columns datasource_index, decision (keep,"
        " remove or relabel) and label (the new one)",
    )
    parser.add_argument(
        "-t",
        "--input-train",
        metavar="CSV",
        help="the training CSV that the ranking is of: its cells are taken, and checked against"
        " the ranking's (default: the ranking's own cells)",
    )
    parser.add_argument(
        "--removed",
        metavar="CSV",
        help="list of what was removed or relabelled (default: beside OUTPUT, as .removed.csv)",
    )
    parser.add_argument(
        "--label-column",
        metavar="NAME",
        help="column of the labels, to count classes and to relabel (default: y, where there is"
        " one)",
    )
    parser.add_argument(
        "--allow-empty-class",
        action="store_true",
        help="go on also where every row of a class would leave it",
    )


def run(parsed: argparse.Namespace) -> None:
    """Cleanse, and print what left."""
    from nnabla_influence.cleansing import cleanse

    cleansed = cleanse(
        parsed.input,
        output=parsed.output,
        n=parsed.n,
        below=parsed.below,
        decisions=parsed.decisions,
        train=parsed.input_train,
        removed=parsed.removed,
        label_column=parsed.label_column,
        allow_empty_class=parsed.allow_empty_class,
    )
    for line in cleansed.summary():
        show(line)


def _score(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if abs(value) < float("inf"):
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
