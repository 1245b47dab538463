"""The command ``nnabla-influence cleanse``."""

from __future__ import annotations

import argparse
import os
import re

from nnabla_influence.arguments import count_or_fraction
from nnabla_influence.commands import options
from nnabla_influence.process import show

DESCRIPTION = (
    "Write a copy of the dataset CSV with harmful rows removed or relabelled, and a list of the"
    " changes."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option."""
    # argparse takes -1e-5 for an option; later versions of Python do not.
    parser._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
    options.add_ranking(parser, required=False)
    options.add(
        parser,
        "output",
        "CSV",
        "dataset CSV to write, in the columns and order of the training CSV",
        required=True,
    )
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument(
        "-n",
        metavar="COUNT|FRACTION",
        type=count_or_fraction,
        help="remove the most harmful rows: this many, such as 100, or this fraction, such as 0.05",
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
        help="apply the decisions in this file, with the columns datasource_index, decision (keep,"
        " remove or relabel) and label (the new one)",
    )
    choice.add_argument(
        "--advice",
        metavar="FOLDER",
        help="apply what `advise` wrote into this folder: its influence.csv in place of -i, and its"
        " decisions.csv",
    )
    options.add(
        parser,
        "train",
        "CSV",
        "training CSV of the ranking, to copy its cells after a check against the ranking (default:"
        " the ranking's own cells)",
    )
    parser.add_argument(
        "--removed",
        metavar="CSV",
        help="list of removed and relabelled rows (default: beside OUTPUT, as .removed.csv)",
    )
    options.add_label_column(parser)
    parser.add_argument(
        "--allow-empty-class",
        action="store_true",
        help="allow the removal of every row of a class",
    )
    parser.set_defaults(usage_error=parser.error)


def run(parsed: argparse.Namespace) -> None:
    """Cleanse, and print the changes."""
    if (parsed.ranking is None) == (parsed.advice is None):
        parsed.usage_error("give either -i, a ranking, or --advice, a folder with a ranking in it")

    from nnabla_influence.cleansing import cleanse
    from nnabla_influence.cleansing.decisions import ADVICE

    ranking, decisions = parsed.ranking, parsed.decisions
    if parsed.advice is not None:
        ranking, decisions = (os.path.join(parsed.advice, name) for name in ADVICE)
    cleansed = cleanse(
        ranking,
        output=parsed.output,
        n=parsed.n,
        below=parsed.below,
        decisions=decisions,
        train=parsed.train,
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
