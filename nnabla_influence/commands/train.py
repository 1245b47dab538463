"""The command ``nnabla-influence train``."""

from __future__ import annotations

import argparse

from nnabla_influence.commands import options
from nnabla_influence.process import show

DESCRIPTION = "Train a network definition as `nnabla_cli train` does, and record the run."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option."""
    options.add_model(parser)
    options.add(parser, "parameters", "H5", "parameters to start from")
    options.add(parser, "output", "RUN", "run folder to write", required=True)
    options.add_window(
        parser, "2", "record the steps of the last epoch, all steps, or those of the last N epochs"
    )
    parser.add_argument(
        "--keep",
        choices=["final", "sqrt", "all"],
        default="sqrt",
        help="checkpoints to keep for exact scores: only the final one, the square root of the"
        " number of steps (the others are replayed), or all (default: %(default)s)",
    )
    options.add_device(parser)


def run(parsed: argparse.Namespace) -> None:
    """Train, and print what was recorded."""
    from nnabla_influence.nnabla_cli.training import train
    from nnabla_influence.progress import TerminalProgress
    from nnabla_influence.runs.run import describe_kept

    recorded = train(
        parsed.model,
        parsed.output,
        parameters=parsed.parameters,
        device=parsed.device,
        window=parsed.window,
        keep=parsed.keep,
        progress=TerminalProgress(),
    )
    n_steps = len(recorded.steps)
    show(f"Recorded {n_steps} steps in {recorded.folder} ({describe_kept(recorded)})")
