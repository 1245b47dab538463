"""What every plugin does alike: its dialog's grammar, empty fields, what is said where, its end.

Neural Network Console builds the dialog from the text of ``-h``, whose options follow the grammar
``text (type) default=value``, and runs the script in the folder of the training's results. It
waits for that text, so nothing here imports nnabla before the work begins. (The text comes on
Python 3.8 too; the work needs a later one.)

NNCD, the desktop version, makes its own dialog (`registration`) and says that it called.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from nnabla_influence.console.registration import DESKTOP
from nnabla_influence.errors import InfluenceError
from nnabla_influence.process import INTERRUPTED, import_nnabla, tidy_process
from nnabla_influence.text import one_line, printable
from nnabla_influence.wording import in_dialog

if TYPE_CHECKING:
    from nnabla_influence.console.desktop import Result


class FieldError(InfluenceError):
    """A field of the dialog holds what it cannot."""


class Dialog(argparse.ArgumentParser):
    """A plugin's parser.

    Args:
        label: The first line of the description, which is the name in the Console's menu.
        text: The rest of the description.
    """

    def __init__(self, label: str, text: str):
        super().__init__(
            description=f"{label}\n\n{text}", formatter_class=argparse.RawTextHelpFormatter
        )

    def add_desktop_options(self) -> None:
        """Add what only NNCD passes; the Console's dialog does not show it."""
        for name, default in (("--import-dataset", "yes"), ("--console", "")):
            self.add_argument(name, default=default, help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments; `run_plugin` says it where the Console shows it."""
        raise FieldError(message)


def run_plugin(
    name: str,
    dialog: Dialog,
    work: Callable[[argparse.Namespace, Result | None], None],
    arguments: Sequence[str] | None = None,
) -> None:
    """Parse, work, and report in the Console's log.

    Args:
        name: What the log calls the plugin.
        dialog: Its options.
        work: What it does with them; gets where NNCD shows a result, or None.
        arguments: The process's by default.

    Raises:
        SystemExit: It did not succeed, as for the command line.
    """
    with tidy_process():
        arguments = sys.argv[1:] if arguments is None else arguments
        with _result(arguments) as result, in_dialog(_fields(dialog, arguments, result)):
            failure, code = None, 1
            try:
                kept = without_empty(arguments) if result is None else _pairs(arguments)
                parsed = dialog.parse_args(kept)
                # The log is blank until there is a line, and nnabla, whose logger writes the
                # others, takes its time.
                print(f"{name} starts ...", flush=True)
                if result is not None:
                    result.check_name()
                import_nnabla()
                _check_python()
                work(parsed, result)
            except (KeyboardInterrupt, SystemExit) as error:
                code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else int(error.code or 0)
                if code:  # not for the help
                    say(f"{name} was stopped; nothing was written.")
                sys.exit(code)
            except FieldError as error:
                failure, code = str(error), 2
            except Exception as error:
                failure = one_line(error)
            if failure is not None:
                say(f"{name} failed: {failure}")
                if result is not None:
                    result.show_failure(f"{name} failed", failure)
                sys.exit(code)
        say(f"{name} completed successfully.")


def say(message: str) -> None:
    """Show one line to the Console's user."""
    try:
        from nnabla_influence.progress import ConsoleProgress
    except ImportError:  # without nnabla there is its log neither
        print(printable(message), file=sys.stderr, flush=True)
    else:
        ConsoleProgress().say(message)


def without_empty(arguments: Sequence[str]) -> list[str]:
    """Drop options whose field was left empty in the dialog."""
    kept: list[str] = []
    for argument in arguments:
        if not argument.strip() and kept and kept[-1].startswith("-"):
            kept.pop()
        else:
            kept.append(argument)
    return kept


def choice(chosen: str, *known: str) -> str:
    """Return a word of a drop-down, as a person may have typed it.

    Raises:
        InfluenceError: It is none.
    """
    word = chosen.strip().lower()
    if word not in known:
        raise InfluenceError(f"{chosen!r} is none of {', '.join(known)}")
    return word


@contextmanager
def _result(arguments: Sequence[str]) -> Iterator[Result | None]:
    """Yield where NNCD shows a result, if it was NNCD that called."""
    named = dict(zip(arguments[::2], arguments[1::2]))
    if named.get("--console") != DESKTOP or "--output" not in named:
        yield None
        return
    from nnabla_influence.console.desktop import Result
    from nnabla_influence.console.parent import end_with_parent

    with Result(Path(named["--output"])) as result:
        end_with_parent(result.remove_unfinished)
        yield result


def _fields(dialog: Dialog, arguments: Sequence[str], result: Result | None) -> Iterator[str]:
    """Yield the names of the fields that the user sees: NNCD passes every one of its own."""
    if result is not None:
        yield from (name[2:] for name in arguments[::2])
        return
    for action in dialog._actions:
        if action.help != argparse.SUPPRESS:
            yield from (name[2:] for name in action.option_strings if name.startswith("--"))


def _pairs(arguments: Sequence[str]) -> list[str]:
    """Tie NNCD's values to their options, as they may begin with a dash; drop empty ones."""
    pairs = zip(arguments[::2], arguments[1::2])
    return [f"{name}={value}" for name, value in pairs if value.strip()]


def _check_python() -> None:
    if sys.version_info < (3, 9):  # noqa: UP036 (a Console may bring an older one)
        raise InfluenceError(
            "this needs Python 3.9 or 3.10, but the Console's is"
            f" {sys.version_info.major}.{sys.version_info.minor}; install nnabla-influence with"
            " another Python, and use its command on the model file"
        )
