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
from nnabla_influence.arguments import count, window
from nnabla_influence.commands import cleanse, curve, install, review, score, validate
from nnabla_influence.errors import InfluenceError
from nnabla_influence.process import (
    INTERRUPTED,
    import_nnabla,
    show,
    tidy_process,
)
from nnabla_influence.text import one_line, printable


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that ``arguments`` (by default the process's) ask for.

    Raises:
        SystemExit: It did not succeed; the exit code is one of the module's.
    """
    with tidy_process():
        parsed = build_parser().parse_args(arguments)
        parsed.typed = ["nnabla-influence", *(sys.argv[1:] if arguments is None else arguments)]
        prog = f"nnabla-influence {parsed.name}"
        # nnabla greets at import; warnings and its level 99 still come through.
        logging.disable(logging.INFO)
        try:
            import_nnabla()
            parsed.command(parsed)
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
            hint = "" if known else "; run again with --debug and report what it shows"
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
    _add_demo(commands)
    _add_train(commands)
    _add_score(commands)
    _add_validate(commands)
    _add_cleanse(commands)
    _add_curve(commands)
    _add_review(commands)
    _add_install(commands)
    return parser


def _add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help_text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help_text, description=help_text)
    parser.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add_command(
        commands,
        "demo",
        "Train LeNet on real digits of which some labels were flipped, rank the rows, and show how"
        " many of the flipped ones are found.",
    )
    parser.add_argument(
        "-o",
        "--output",
        default="demo",
        metavar="FOLDER",
        help="where to put data, run and influence.csv (default: %(default)s)",
    )
    _add_device(parser)
    parser.set_defaults(command=_demo)


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add_command(
        commands,
        "train",
        "Train a network definition as `nnabla_cli train` does, and record the run.",
    )
    parser.add_argument(
        "-c", "--config", required=True, metavar="NET", help="network definition (.nntxt, .nnp)"
    )
    parser.add_argument("-p", "--param", metavar="H5", help="start from these parameters")
    parser.add_argument("-o", "--output", required=True, metavar="RUN", help="run folder to write")
    parser.add_argument(
        "--window",
        default="2",
        metavar="last|all|N",
        type=window,
        help="record the steps of the last epoch, all, or those of the last N epochs (default:"
        " %(default)s)",
    )
    parser.add_argument(
        "--keep",
        choices=["final", "sqrt", "all"],
        default="sqrt",
        help="checkpoints to keep for exact scores: none but the final state, as many as the square"
        " root of the steps (those between are replayed), or all (default: %(default)s)",
    )
    _add_device(parser)
    parser.set_defaults(command=_train)


def _add_score(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add_command(commands, "score", score.DESCRIPTION)
    score.add_options(parser)
    _add_workers(parser)
    _add_device(parser)
    parser.set_defaults(command=score.run)


def _add_validate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add_command(commands, "validate", validate.DESCRIPTION)
    validate.add_options(parser)
    _add_device(parser)
    parser.set_defaults(command=validate.run)


def _add_cleanse(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add_command(commands, "cleanse", cleanse.DESCRIPTION)
    cleanse.add_options(parser)
    parser.set_defaults(command=cleanse.run)


def _add_curve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add_command(commands, "curve", curve.DESCRIPTION)
    curve.add_options(parser)
    _add_workers(parser)
    _add_device(parser)
    parser.set_defaults(command=curve.run)


def _add_review(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add_command(commands, "review", review.DESCRIPTION)
    review.add_options(parser)
    parser.set_defaults(command=review.run)


def _add_install(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add_command(commands, "install", install.DESCRIPTION)
    install.add_options(parser)
    parser.set_defaults(command=install.run)


def _add_workers(parser: argparse.ArgumentParser) -> None:
    workers = parser.add_mutually_exclusive_group()
    workers.add_argument(
        "--jobs",
        type=count,
        default=1,
        metavar="N",
        help="worker processes on this machine (default: %(default)s, this process)",
    )
    workers.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="a Dask scheduler, such as tcp://host:8786, whose workers do it in their place",
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda[:N]",
        help="where to compute; auto takes a GPU if it really works (default: %(default)s)",
    )


# nnabla takes most of a second to import; the commands import what they need when they run.


def _demo(parsed: argparse.Namespace) -> None:
    from nnabla_influence.commands.demo import run_demo
    from nnabla_influence.progress import TerminalProgress

    for line in run_demo(parsed.output, device=parsed.device, progress=TerminalProgress()):
        show(line)


def _train(parsed: argparse.Namespace) -> None:
    from nnabla_influence.nnabla_cli.training import train
    from nnabla_influence.progress import TerminalProgress
    from nnabla_influence.runs.storage import describe_kept

    run = train(
        parsed.config,
        parsed.output,
        parameters=parsed.param,
        device=parsed.device,
        window=parsed.window,
        keep=parsed.keep,
        progress=TerminalProgress(),
    )
    show(f"Recorded {len(run.steps)} steps in {run.folder} ({describe_kept(run)})")
