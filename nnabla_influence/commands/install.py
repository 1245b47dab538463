"""The options of ``nnabla-influence install``, and what it calls."""

from __future__ import annotations

import argparse
import sys

from nnabla_influence.errors import InfluenceError
from nnabla_influence.process import show

DESCRIPTION = (
    "Put the plugins into a Neural Network Console: Windows NNC, or NNCD, where they are registered"
    " as well. It shows what it will change, and asks."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option."""
    parser.add_argument(
        "--console",
        required=True,
        metavar="PATH",
        help="folder neural_network_console of Windows NNC, or the home folder of NNCD's user,"
        " where nncd_bucket lies",
    )
    parser.add_argument(
        "--uninstall",
        action="store_true",
        help="take away what was installed, and put back what stood there before",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be changed, and change nothing"
    )
    parser.add_argument("--yes", action="store_true", help="do it without asking")


def run(parsed: argparse.Namespace) -> None:
    """Show the changes, ask, and make them.

    Raises:
        InfluenceError: PATH is no Console, something is in the way, or nobody agreed.
    """
    from nnabla_influence.installation import Installing, Uninstalling, recognise

    place = recognise(parsed.console)
    work = Uninstalling(place) if parsed.uninstall else Installing(place)
    for line in work.lines():
        show(line)
    if work.is_done or parsed.dry_run:
        return
    if not (parsed.yes or _agreed()):
        raise InfluenceError("not agreed to, nothing was changed")
    for line in work.do():
        show(line)


def _agreed() -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise InfluenceError(
            "nothing was changed, since there is no terminal to ask in; add --yes to make these"
            " changes"
        )
    try:
        return input("Make these changes? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
