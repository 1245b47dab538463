"""The command ``nnabla-influence advise``."""

from __future__ import annotations

import argparse
import os
import shlex

from nnabla_influence.arguments import count
from nnabla_influence.commands import options
from nnabla_influence.options import TARGETS, AdviceOptions
from nnabla_influence.process import show

DESCRIPTION = (
    "Find out which training rows to remove or relabel, or that none is worth it: train several"
    " times, rank, change rows, train again, and judge on rows that the ranking has not seen."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option."""
    default = AdviceOptions()
    options.add_model(parser)
    options.add(parser, "train", "CSV", "training CSV, to advise on", required=True)
    options.add(
        parser, "validation", "CSV", "validation CSV, which says what is good", required=True
    )
    options.add(
        parser,
        "output",
        "FOLDER",
        "folder to write; after an interruption the same command resumes",
        required=True,
    )
    for name, text in (
        ("trainings", "trainings that rank the rows, at least 2"),
        ("retrainings", "trainings that confirm a change, with and without it, at least 2"),
    ):
        parser.add_argument(
            f"--{name}",
            type=count,
            default=getattr(default, name),
            metavar="K",
            help=f"{text} (default: %(default)s)",
        )
    parser.add_argument(
        "--target",
        choices=TARGETS,
        default=default.target,
        help="what the validation rows are ranked by (default: %(default)s)",
    )
    options.add_workers(parser)
    options.add_device(parser)


def run(parsed: argparse.Namespace) -> None:
    """Advise, and print the advice and the next command."""
    from nnabla_influence.advice import advise
    from nnabla_influence.progress import TerminalProgress

    advice = advise(
        parsed.model,
        train=parsed.train,
        validation=parsed.validation,
        output=parsed.output,
        options=AdviceOptions(
            trainings=parsed.trainings, retrainings=parsed.retrainings, target=parsed.target
        ),
        device=parsed.device,
        jobs=parsed.scheduler or parsed.jobs,
        progress=TerminalProgress(),
    )
    for line in advice.lines():
        show(line)
    if advice.is_none:
        return
    page = os.path.join(parsed.output, "review.html")
    show(f"Look at the rows in {page}, or apply the advice as it is:")
    words = ["nnabla-influence", "cleanse", "--advice", parsed.output, "-o", "clean.csv"]
    show(f"  {shlex.join(words)}")
