"""The command line: parse, call, report.

Exit codes: 0 done, 1 a failure that the user can act on (one line), 2 wrong usage, 130
interrupted, 143 terminated, 129 left by its terminal. Results go to standard output, everything
else to standard error.
"""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from nnabla_influence import __version__
from nnabla_influence.commands import (
    advise,
    cleanse,
    curve,
    demo,
    explain,
    install,
    review,
    score,
    train,
    validate,
)
from nnabla_influence.commands.options import without_aliases
from nnabla_influence.errors import InfluenceError
from nnabla_influence.process import INTERRUPTED, import_nnabla, tidy_process
from nnabla_influence.text import one_line, printable

# nnabla needs most of a second to import; the commands import what they need when they run.
COMMANDS = {
    "demo": demo,
    "advise": advise,
    "train": train,
    "score": score,
    "validate": validate,
    "cleanse": cleanse,
    "curve": curve,
    "review": review,
    "explain": explain,
    "install": install,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command in ``arguments``, by default the process's; exit with a code as above."""
    with tidy_process():
        typed = sys.argv[1:] if arguments is None else arguments
        parsed = build_parser().parse_args(without_aliases(typed))
        parsed.typed = ["nnabla-influence", *typed]
        prog = f"nnabla-influence {parsed.name}"
        # nnabla greets at import; warnings and its level 99 still come through.
        logging.disable(logging.INFO)
        try:
            import_nnabla()
            COMMANDS[parsed.name].run(parsed)
        except KeyboardInterrupt:
            print(f"{prog}: interrupted; nothing half-written is left", file=sys.stderr)
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            raise
        except Exception as error:
            if parsed.debug:
                for line in traceback.format_exc().split("\n"):
                    print(printable(line), file=sys.stderr)
            known = isinstance(error, InfluenceError)
            hint = "" if known else "; run again with --debug and report the traceback"
            sys.exit(f"{prog}: {one_line(error)}{hint}")
        finally:
            logging.disable(logging.NOTSET)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser: argparse.ArgumentParser = _Parser(
        prog="nnabla-influence",
        description="Which of my training examples make my model worse? Network definition and"
        " dataset CSV in, the training rows ranked by SGD-influence out.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="name", required=True, metavar="COMMAND"
    )
    for name, command in COMMANDS.items():
        added = commands.add_parser(name, help=command.DESCRIPTION, description=command.DESCRIPTION)
        added.add_argument("--debug", action="store_true", help="show the traceback of a failure")
        command.add_options(added)
    return parser
