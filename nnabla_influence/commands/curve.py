"""The command ``nnabla-influence curve``."""

from __future__ import annotations

import argparse

from nnabla_influence.arguments import counts_or_fractions, numbers_from, texts
from nnabla_influence.commands import options
from nnabla_influence.options import CurveOptions
from nnabla_influence.process import show

DESCRIPTION = (
    "Measure on your own data whether removing rows helps: train, rank, remove the most harmful"
    " rows, retrain and test, for several seeds, rankings and numbers of removed rows."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option."""
    options.add_model(parser)
    for name, text in (
        ("train", "training CSV, whose rows are removed"),
        ("validation", "validation CSV, whose mean loss the rankings use"),
        ("test", "test CSV for the results; no ranking uses it"),
    ):
        text += "; {seed} in its path is replaced by the seed"
        options.add(parser, name, "CSV", text, required=True)
    options.add(
        parser,
        "output",
        "FOLDER",
        "folder to write; after an interruption the same command resumes there",
        required=True,
    )
    options.add(
        parser,
        "parameters",
        "H5",
        "parameters that every seed starts from (default: each seed draws its own)",
    )
    parser.add_argument(
        "-n",
        "--remove",
        metavar="N|FRACTION,...",
        type=counts_or_fractions,
        default=CurveOptions.removed,
        help="how many rows to remove, such as 50,100,0.1 (default: 0.01,0.02,0.05,0.1,0.2)",
    )
    parser.add_argument(
        "--rankings",
        metavar="NAME,...",
        type=texts,
        default=CurveOptions.rankings,
        help="any of final, exact-last, exact, influence-functions, loss, random (default:"
        " final,exact-last,loss,random)",
    )
    parser.add_argument(
        "--seeds",
        metavar="I,J,...|A-B",
        type=numbers_from(0),
        default=CurveOptions.seeds,
        help="seeds of initial parameters and order, one training each (default: 0-4)",
    )
    parser.add_argument(
        "--retrain",
        choices=["all", "last", "both"],
        default="all",
        help="retrain without the rows: all epochs, only the last, or both (default: %(default)s)",
    )
    options.add(
        parser,
        "batch_size",
        "N,...",
        "batch sizes of the trainings (default: the model file's)",
        type=numbers_from(1),
    )
    options.add_running_statistics(parser)
    parser.add_argument(
        "--true-label",
        metavar="COLUMN",
        help="the training CSV's column of true labels, to count the flipped labels found"
        " (default: #true_label, if it exists)",
    )
    options.add_workers(parser)
    options.add_device(parser)


def run(parsed: argparse.Namespace) -> None:
    """Compute the curves, and print the table."""
    # pandas, scipy and matplotlib take a second to import, and few commands need them.
    from nnabla_influence.progress import TerminalProgress
    from nnabla_influence.retraining.removal_curve import curve

    computed = curve(
        parsed.model,
        train=parsed.train,
        validation=parsed.validation,
        test=parsed.test,
        output=parsed.output,
        options=CurveOptions(
            seeds=parsed.seeds,
            rankings=parsed.rankings,
            removed=parsed.remove,
            protocols=("all", "last") if parsed.retrain == "both" else (parsed.retrain,),
            batch_sizes=parsed.batch_size,
            parameters=parsed.parameters,
            true_label=parsed.true_label,
            running_statistics=parsed.running_statistics,
            command=parsed.typed,
        ),
        device=parsed.device,
        jobs=parsed.scheduler or parsed.jobs,
        progress=TerminalProgress(),
    )
    for line in computed.table():
        show(line)
