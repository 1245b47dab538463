"""The options of ``nnabla-influence score``, and what it calls."""

from __future__ import annotations

import argparse

from nnabla_influence.arguments import count, minutes, row_numbers, window
from nnabla_influence.process import show

DESCRIPTION = "Rank the rows of a training CSV by SGD-influence, the most harmful first."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option but ``--device``, ``--jobs`` and ``--scheduler``."""
    parser.add_argument(
        "-m",
        "--model",
        required=True,
        metavar="MODEL",
        help="network definition with its training's settings (.nnp, .nntxt, .prototxt)",
    )
    parser.add_argument(
        "--run", metavar="RUN", help="run folder of the training: its parameters and steps count"
    )
    parser.add_argument(
        "-p", "--param", metavar="H5", help="trained parameters, where there is no run"
    )
    parser.add_argument(
        "-t",
        "--input-train",
        metavar="CSV",
        help="training CSV to rank (default: the one that the model file names)",
    )
    parser.add_argument(
        "-v",
        "--input-val",
        metavar="CSV",
        help="validation CSV (default: the one that the model file names)",
    )
    parser.add_argument(
        "--validation-rows",
        metavar="I,J,...",
        type=row_numbers,
        help="ask about the loss of these rows of the validation CSV only, numbered from 0",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="CSV",
        help="ranking to write, such as influence.csv",
    )
    parser.add_argument(
        "--method",
        choices=["auto", "exact", "final"],
        default="auto",
        help="exact: each step at its own parameters; final: every step at the final ones; auto:"
        " exact where the run keeps checkpoints or the training can be replayed in time (default:"
        " %(default)s)",
    )
    parser.add_argument(
        "--replay-budget",
        default=10,
        metavar="MINUTES",
        type=minutes,
        help="method auto: replay a training without checkpoints if that takes no longer; 0: never"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "--window",
        default="last",
        metavar="last|all|N",
        type=window,
        help="trace the last epoch, all epochs, or the last N (default: %(default)s)",
    )
    parser.add_argument(
        "--running-statistics",
        action="store_true",
        help="method final: BatchNormalization with its running statistics, in place of those of"
        " each mini-batch (exact always has these)",
    )
    parser.add_argument(
        "-bs",
        "--batch_size",
        type=count,
        metavar="N",
        help="batch size of the training (default: the model file's)",
    )
    parser.add_argument(
        "-nt",
        "--n_trials",
        type=count,
        metavar="N",
        help="shuffled orders to average where the training's order is not known (default: 3)",
    )
    parser.add_argument(
        "--chunk-size",
        type=count,
        metavar="N",
        help="examples in the network at once: memory against speed, never the numbers"
        " (default: what suits the network)",
    )


def run(parsed: argparse.Namespace) -> None:
    """Score, and print what stands at the top."""
    from nnabla_influence.options import Options
    from nnabla_influence.progress import TerminalProgress
    from nnabla_influence.report import summary
    from nnabla_influence.scoring import score

    ranking = score(
        parsed.model,
        run=parsed.run,
        train=parsed.input_train,
        validation=parsed.input_val,
        output=parsed.output,
        parameters=parsed.param,
        options=Options(
            method=parsed.method,
            window=parsed.window,
            validation_rows=parsed.validation_rows,
            batch_size=parsed.batch_size,
            n_trials=parsed.n_trials,
            running_statistics=parsed.running_statistics,
            replay_budget=parsed.replay_budget,
            chunk_size=parsed.chunk_size,
        ),
        device=parsed.device,
        jobs=parsed.jobs,
        scheduler=parsed.scheduler,
        progress=TerminalProgress(),
    )
    for line in summary(ranking, parsed.output):
        show(line)
