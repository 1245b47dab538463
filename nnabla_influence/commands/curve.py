"""The options of ``nnabla-influence curve``, and what it calls."""

from __future__ import annotations

import argparse

from nnabla_influence.arguments import counts_or_fractions, numbers_from, texts
from nnabla_influence.process import show

DESCRIPTION = (
    "See on your own data whether removing rows helps: train, rank, remove the most harmful rows,"
    " train again and test, for several seeds, rankings and numbers of rows."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option but ``--device``, ``--jobs`` and ``--scheduler``."""
    parser.add_argument(
        "-m",
        "--model",
        required=True,
        metavar="MODEL",
        help="network definition with its training's settings (.nntxt, .prototxt, .nnp)",
    )
    for option, name, text in (
        ("-t", "train", "CSV to train on and to remove rows from"),
        ("-v", "val", "CSV whose mean loss the rankings look at"),
        ("-e", "test", "CSV that the results are measured on; no ranking looks at it"),
    ):
        parser.add_argument(
            option,
            f"--input-{name}",
            required=True,
            metavar="CSV",
            help=f"{text}; {{seed}} in its path stands for the seed, if each has its own split",
        )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FOLDER",
        help="folder to write; the same command goes on there after an interruption",
    )
    parser.add_argument(
        "-p",
        "--param",
        metavar="H5",
        help="parameters that every seed starts from (default: each seed draws its own)",
    )
    parser.add_argument(
        "-n",
        "--remove",
        metavar="N|FRACTION,...",
        type=counts_or_fractions,
        help="how many rows to remove, such as 50,100,0.1 (default: 0.01,0.02,0.05,0.1,0.2)",
    )
    parser.add_argument(
        "--rankings",
        metavar="NAME,...",
        type=texts,
        help="out of final, exact-last, exact, influence-functions, loss, random (default:"
        " final,exact-last,loss,random)",
    )
    parser.add_argument(
        "--seeds",
        metavar="I,J,...|A-B",
        type=numbers_from(0),
        default=[0, 1, 2, 3, 4],
        help="of initial parameters and order, each a training of its own (default: 0-4)",
    )
    parser.add_argument(
        "--retrain",
        choices=["all", "last", "both"],
        default="all",
        help="all: train again from the start without the rows; last: do only the last epoch again"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "-bs",
        "--batch_size",
        metavar="N,...",
        type=numbers_from(1),
        help="batch sizes of the trainings (default: the model file's)",
    )
    parser.add_argument(
        "--running-statistics",
        action="store_true",
        help="ranking final: BatchNormalization with its running statistics, in place of those of"
        " each mini-batch",
    )
    parser.add_argument(
        "--true-label",
        metavar="COLUMN",
        help="header of the training CSV's column of true labels, to see how many flipped ones are"
        " found (default: #true_label, if it is there)",
    )


def run(parsed: argparse.Namespace) -> None:
    """Compute the curves, and print the table."""
    # pandas, scipy and matplotlib take a second to import, and few commands need them.
    from nnabla_influence.progress import TerminalProgress
    from nnabla_influence.retraining.plan import DEFAULT_RANKINGS, DEFAULT_REMOVED
    from nnabla_influence.retraining.removal_curve import curve

    computed = curve(
        parsed.model,
        train=parsed.input_train,
        validation=parsed.input_val,
        test=parsed.input_test,
        output=parsed.output,
        seeds=parsed.seeds,
        rankings=parsed.rankings or DEFAULT_RANKINGS,
        removed=parsed.remove or DEFAULT_REMOVED,
        protocols=("all", "last") if parsed.retrain == "both" else (parsed.retrain,),
        batch_sizes=parsed.batch_size,
        parameters=parsed.param,
        true_label=parsed.true_label,
        running_statistics=parsed.running_statistics,
        device=parsed.device,
        jobs=parsed.jobs,
        scheduler=parsed.scheduler,
        command=parsed.typed,
        progress=TerminalProgress(),
    )
    for line in computed.table():
        show(line)
