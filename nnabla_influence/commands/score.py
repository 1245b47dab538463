"""The command ``nnabla-influence score``."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from nnabla_influence.arguments import class_or_worst, count, minutes
from nnabla_influence.commands import options
from nnabla_influence.options import CURVATURES, METHODS, TARGETS
from nnabla_influence.process import show

if TYPE_CHECKING:
    from nnabla_influence.ranking import Ranking

DESCRIPTION = "Rank the rows of a training CSV by SGD-influence, the most harmful first."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option."""
    options.add_model(parser)
    parser.add_argument("--run", metavar="RUN", help="run folder of the training")
    options.add(parser, "parameters", "H5", "trained parameters, if there is no run")
    options.add_datasets(parser)
    options.add(parser, "output", "CSV", "ranking to write, such as influence.csv", required=True)
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="auto",
        help="exact: each step at its own parameters; final: each step at the final parameters;"
        " auto: exact if the run has checkpoints or can be replayed within --replay-budget, else"
        " final; influence-function: of the final parameters alone, without a window (default:"
        " %(default)s)",
    )
    parser.add_argument(
        "--target",
        choices=TARGETS,
        default="loss",
        help="what is averaged over the validation rows: their loss; error or q-loss, which a few"
        " hopeless rows do not decide, or the margin of their class (default: %(default)s)",
    )
    parser.add_argument(
        "--target-class",
        metavar="N|worst",
        type=class_or_worst,
        help="only the validation rows of this class; worst: of the class with the highest loss",
    )
    parser.add_argument(
        "--curvature",
        choices=CURVATURES,
        help="methods final and influence-function: the matrix by which a row's effect spreads"
        " (default: gauss-newton for influence-function, hessian for final)",
    )
    parser.add_argument(
        "--replay-budget",
        default=10,
        metavar="MINUTES",
        type=minutes,
        help="method auto: longest replay of a training without checkpoints; 0 for none (default:"
        " %(default)s)",
    )
    options.add_window(parser, "last", "trace the last epoch, all epochs, or the last N")
    options.add_running_statistics(parser)
    options.add(
        parser,
        "batch_size",
        "N",
        "batch size of the training (default: the model file's)",
        type=count,
    )
    options.add(
        parser,
        "n_trials",
        "N",
        "number of shuffled orders to average if the training's order is unknown (default: 3)",
        type=count,
    )
    parser.add_argument(
        "--chunk-size",
        type=count,
        metavar="N",
        help="examples per forward pass: more need more memory and less time; scores stay the same"
        " (default: chosen for the network)",
    )
    parser.add_argument(
        "--trainings",
        type=count,
        default=1,
        metavar="K",
        help="average over K trainings: the given one, if there is one, and new ones of the same"
        " definition (default: %(default)s)",
    )
    options.add_group_by(parser, "print")
    options.add_workers(parser)
    options.add_device(parser)


def run(parsed: argparse.Namespace) -> None:
    """Score, and print the head of the ranking."""
    from nnabla_influence.options import Options
    from nnabla_influence.progress import TerminalProgress
    from nnabla_influence.report import group_lines, summary
    from nnabla_influence.scoring import score

    scoring: Callable[..., Ranking] = score
    if parsed.trainings > 1:
        from nnabla_influence.advice.several_trainings import score_trainings

        scoring = functools.partial(score_trainings, trainings=parsed.trainings)
    if parsed.group_by is not None:
        _check_group_by(parsed)
    ranking = scoring(
        parsed.model,
        run=parsed.run,
        train=parsed.train,
        validation=parsed.validation,
        output=parsed.output,
        parameters=parsed.parameters,
        options=Options(
            method=parsed.method,
            window=parsed.window,
            validation_rows=parsed.validation_rows,
            target=parsed.target,
            target_class=parsed.target_class,
            curvature=parsed.curvature,
            batch_size=parsed.batch_size,
            n_trials=parsed.n_trials,
            running_statistics=parsed.running_statistics,
            replay_budget=parsed.replay_budget,
            chunk_size=parsed.chunk_size,
        ),
        device=parsed.device,
        jobs=parsed.scheduler or parsed.jobs,
        progress=TerminalProgress(),
    )
    for line in summary(ranking, parsed.output):
        show(line)
    if parsed.group_by is not None:
        for line in group_lines(ranking.groups(parsed.group_by)):
            show(line)


def _check_group_by(parsed: argparse.Namespace) -> None:
    """Refuse the column before the work begins."""
    from nnabla_influence.dataset import open_dataset
    from nnabla_influence.definition import load_definition
    from nnabla_influence.ranking import values_of
    from nnabla_influence.scoring.inputs import training_csv

    train = training_csv(load_definition(parsed.model, parsed.parameters), parsed.train)
    values_of(open_dataset(train, []), parsed.group_by)
