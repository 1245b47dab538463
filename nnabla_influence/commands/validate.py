"""The options of ``nnabla-influence validate``, and what it calls."""

from __future__ import annotations

import argparse

from nnabla_influence.arguments import (
    count_or_fraction,
    count_or_none,
    row_numbers,
    window,
)
from nnabla_influence.process import show

DESCRIPTION = (
    "Leave rows out, retrain the window's steps without them, and tell how well rankings agree with"
    " what that does to the validation loss."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option but ``--device``."""
    parser.add_argument(
        "-m", "--model", required=True, metavar="MODEL", help="network definition of the training"
    )
    parser.add_argument(
        "--run",
        required=True,
        metavar="RUN",
        help="run folder of the training, recorded with --keep sqrt or all",
    )
    parser.add_argument(
        "-i",
        "--input",
        required=True,
        action="append",
        metavar="RANKING",
        help="ranking that is judged, as `score` writes it; give the option again for more",
    )
    parser.add_argument(
        "-t", "--input-train", metavar="CSV", help="training CSV (default: the model file's)"
    )
    parser.add_argument(
        "-v", "--input-val", metavar="CSV", help="validation CSV (default: the model file's)"
    )
    parser.add_argument(
        "--validation-rows",
        metavar="I,J,...",
        type=row_numbers,
        help="ask about the loss of these rows of the validation CSV only, numbered from 0",
    )
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="folder to write")
    parser.add_argument(
        "--window",
        default="last",
        metavar="last|all|N",
        type=window,
        help="redo the last epoch, all epochs, or the last N (default: %(default)s)",
    )
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
        help="rows of a subset, as a number or as a fraction (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        default=0,
        metavar="N",
        type=count_or_none,
        help="draws the rows and the subsets (default: %(default)s)",
    )
    parser.add_argument(
        "--no-retest",
        action="store_true",
        help="half the time: do not retrain again to see how far the truth agrees with itself",
    )


def run(parsed: argparse.Namespace) -> None:
    """Validate, and print the table."""
    # scipy and matplotlib take a second to import, and no other command needs them.
    from nnabla_influence.progress import TerminalProgress
    from nnabla_influence.retraining.agreement import Sample
    from nnabla_influence.retraining.validation import validate

    validation = validate(
        parsed.model,
        run=parsed.run,
        scores=parsed.input,
        train=parsed.input_train,
        validation=parsed.input_val,
        output=parsed.output,
        window=parsed.window,
        sample=Sample(parsed.rows, parsed.subsets, parsed.leave, parsed.seed, not parsed.no_retest),
        validation_rows=parsed.validation_rows,
        device=parsed.device,
        command=parsed.typed,
        progress=TerminalProgress(),
    )
    for line in validation.table():
        show(line)
