"""The command ``nnabla-influence demo``."""

from __future__ import annotations

import argparse

from nnabla_influence.commands import options
from nnabla_influence.process import show

DESCRIPTION = (
    "Train LeNet on real digits with some wrong labels, rank the rows, advise which to remove or"
    " relabel, and show on test rows what that gains."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option."""
    options.add(
        parser,
        "output",
        "FOLDER",
        "folder for data, ranking and advice (default: %(default)s)",
        default="demo",
    )
    options.add_device(parser)


def run(parsed: argparse.Namespace) -> None:
    """Run the demo, and print what it finds."""
    from nnabla_influence.commands.demonstration import run_demo
    from nnabla_influence.progress import TerminalProgress

    for line in run_demo(parsed.output, device=parsed.device, progress=TerminalProgress()):
        show(line)
