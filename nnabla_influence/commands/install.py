"""The command ``nnabla-influence install``."""

from __future__ import annotations

import argparse
import sys

from nnabla_influence.errors import InfluenceError
from nnabla_influence.process import show

DESCRIPTION = (
    "Install the plugins into Neural Network Console: Windows NNC, or NNCD, where they are also"
    " registered. It shows the changes and asks before it makes them."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option."""
    parser.add_argument(
        "--console",
        required=True,
        metavar="PATH",
        help="folder neural_network_console of Windows NNC, or the home folder of NNCD's user, the"
        " one with nncd_bucket",
    )
    parser.add_argument(
        "--uninstall", action="store_true", help="remove everything that was installed"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show the changes without making them"
    )
    parser.add_argument("--yes", action="store_true", help="make the changes without asking")


def run(parsed: argparse.Namespace) -> None:
    """Show the changes, ask, and make them."""
    from nnabla_influence.console.installation import Installation
    from nnabla_influence.console.places import recognise

    place = recognise(parsed.console)
    work = Installation(place, remove=parsed.uninstall)
    for line in work.lines():
        show(line)
    if work.is_done or parsed.dry_run:
        return
    if not (parsed.yes or _agreed()):
        raise InfluenceError("cancelled; nothing was changed")
    for line in work.apply():
        show(line)


def _agreed() -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise InfluenceError(
            "nothing was changed, since there is no terminal to ask in; add --yes to agree"
        )
    try:
        return input("Make these changes? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
