"""The command ``nnabla-influence validate``."""

from __future__ import annotations

import argparse

from nnabla_influence.arguments import count_or_fraction, count_or_none
from nnabla_influence.commands import options
from nnabla_influence.process import show

DESCRIPTION = (
    "Leave rows out, retrain, and report how well the scores predict the change in validation loss."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option."""
    options.add_model(parser)
    parser.add_argument(
        "--run",
        required=True,
        metavar="RUN",
        help="run folder of the training, recorded with --keep sqrt or all",
    )
    options.add(
        parser,
        "ranking",
        "RANKING",
        "ranking written by `score`; repeat the option to compare several",
        required=True,
        action="append",
    )
    options.add_datasets(parser)
    result = parser.add_mutually_exclusive_group(required=True)
    options.add(result, "output", "FOLDER", "folder to write")
    result.add_argument(
        "--quick",
        action="store_true",
        help="instead, say by two retrainings whether exact scores can be trusted",
    )
    options.add_window(parser, "last", "retrain the last epoch, all epochs, or the last N")
    parser.add_argument(
        "--rows",
        metavar="N",
        type=count_or_none,
        help="rows to leave out one at a time (default: 50, or all if there are fewer)",
    )
    parser.add_argument(
        "--subsets",
        default=50,
        metavar="N",
        type=count_or_none,
        help="random subsets to leave out, for the LDS (default: %(default)s)",
    )
    parser.add_argument(
        "--leave",
        default=0.1,
        metavar="K|FRACTION",
        type=count_or_fraction,
        help="rows of a subset, as a number or a fraction (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        default=0,
        metavar="N",
        type=count_or_none,
        help="seed that draws the rows and subsets (default: %(default)s)",
    )
    parser.add_argument(
        "--no-retest",
        action="store_true",
        help="do not retrain a second time to measure how reproducible the changes are; halves the"
        " time",
    )
    options.add_device(parser)


def run(parsed: argparse.Namespace) -> None:
    """Validate, and print the table."""
    # scipy and matplotlib take a second to import, and no other command needs them.
    from nnabla_influence.options import Sample, ValidationOptions
    from nnabla_influence.progress import TerminalProgress
    from nnabla_influence.retraining.smoothness import quick_check
    from nnabla_influence.retraining.validation import validate

    chosen = ValidationOptions(
        window=parsed.window,
        validation_rows=parsed.validation_rows,
        sample=Sample(parsed.rows, parsed.subsets, parsed.leave, parsed.seed, not parsed.no_retest),
        command=parsed.typed,
    )
    shared = {
        "run": parsed.run,
        "train": parsed.train,
        "validation": parsed.validation,
        "options": chosen,
        "device": parsed.device,
        "progress": TerminalProgress(),
    }
    if parsed.quick:
        lines = quick_check(parsed.model, rankings=parsed.ranking, **shared).lines()
    else:
        lines = validate(
            parsed.model, scores=parsed.ranking, output=parsed.output, **shared
        ).table()
    for line in lines:
        show(line)
