"""What all plugins share: the grammar of their dialogs, the log, and how they end.

Windows NNC builds a dialog from the text of ``-h``, whose options follow the grammar
``text (type) default=value``, and runs the script in the folder of the training's results. It
waits for that text, so nothing here imports nnabla before the work begins; and the text works on
Python 3.8, too.

NNCD has its own dialog (`registration`), and passes ``--console desktop``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from nnabla_influence.arguments import path_or_auto
from nnabla_influence.console.registration import DESKTOP
from nnabla_influence.errors import InfluenceError
from nnabla_influence.process import INTERRUPTED, import_nnabla, tidy_process
from nnabla_influence.text import in_dialog, one_line, printable

if TYPE_CHECKING:
    from nnabla_influence.console.desktop import Result


class FieldError(InfluenceError):
    """A field of the dialog has an invalid value."""


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

    def add_field(
        self,
        names: str,
        text: str,
        kind: str,
        default: object = None,
        parse: Callable[[str], object] = str,
    ) -> None:
        """Add a field.

        Args:
            names: Its short and its long option.
            text: What it means.
            kind: How Windows NNC fills it in: ``csv``, ``int``, ``option:yes,no`` and others.
            default: Its initial value; None for an empty field.
            parse: Reads the value.
        """
        text = f"{text} ({kind})" + ("" if default is None else f" default={default}")
        self.add_argument(*names.split(), default=default, type=parse, help=text)

    def add_model(self) -> None:
        """Add the field of the training's model file."""
        self.add_field("-m --model", "model file of the training", "model", "results.nnp")

    def add_datasets(self, purpose: str) -> None:
        """Add the fields of the training and the validation CSV."""
        text = "dataset{}, if not the one that the model file names"
        for names, which in (
            ("-t --input-train", f"training {text.format(f' to {purpose}')}"),
            ("-v --input-val", f"validation {text.format('')}"),
        ):
            self.add_field(names, which, "csv", parse=path_or_auto)

    def add_device(self) -> None:
        """Add the field of the device."""
        text = "device; auto uses a GPU if one is usable"
        self.add_field("-d --device", text, "option:auto,cpu,cuda", "auto")

    def add_desktop_options(self) -> None:
        """Add the options that only NNCD passes; Windows NNC's dialog does not show them."""
        self.add_argument("--import-dataset", default="yes", help=argparse.SUPPRESS)
        self.add_argument("--console", default="", help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments; `run_plugin` reports it in the Console's log."""
        raise FieldError(message)


def run_plugin(
    name: str,
    dialog: Dialog,
    work: Callable[[argparse.Namespace, Result | None], None],
    arguments: Sequence[str] | None = None,
) -> None:
    """Parse, work, and report in the Console's log.

    Args:
        name: The plugin's, in the log.
        dialog: Its options.
        work: Called with their values, and with NNCD's result or None.
        arguments: The process's by default.

    Raises:
        SystemExit: It failed; the code is the command line's.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    values = _desktop_values(arguments)
    with tidy_process():
        with _result(values) as result, in_dialog(_fields(dialog, values)):
            try:
                # A value may begin with a dash.
                joined = [f"{option}={value}" for option, value in values.items() if value.strip()]
                parsed = dialog.parse_args(joined or _without_empty(arguments))
                # The log is blank until there is a line, and nnabla, whose logger writes the
                # others, takes a while to import.
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
            except Exception as error:
                failure = one_line(error)
                say(f"{name} failed: {failure}")
                if result is not None:
                    result.show_failure(f"{name} failed", failure)
                sys.exit(2 if isinstance(error, FieldError) else 1)
        say(f"{name} completed successfully.")


def say(message: str) -> None:
    """Write one line to the Console's log."""
    try:
        from nnabla_influence.progress import ConsoleProgress
    except ImportError:  # without nnabla there is no logger of nnabla's either
        print(printable(message), file=sys.stderr, flush=True)
    else:
        ConsoleProgress().say(message)


def _without_empty(arguments: Sequence[str]) -> list[str]:
    """Drop options whose field was left empty in the dialog."""
    kept: list[str] = []
    for argument in arguments:
        if not argument.strip() and kept and kept[-1].startswith("-"):
            kept.pop()
        else:
            kept.append(argument)
    return kept


def choice(value: str, *known: str) -> str:
    """Return a word of a drop-down, whatever its case and spaces.

    Raises:
        InfluenceError: It is not one of the known words.
    """
    word = value.strip().lower()
    if word not in known:
        raise InfluenceError(f"{value!r} must be {' or '.join(known)}")
    return word


def _desktop_values(arguments: Sequence[str]) -> dict[str, str]:
    """Return NNCD's values by option: it passes every one; none where Windows NNC calls."""
    named = dict(zip(arguments[::2], arguments[1::2]))
    return named if named.get("--console") == DESKTOP and "--output" in named else {}


@contextmanager
def _result(values: Mapping[str, str]) -> Iterator[Result | None]:
    """Yield where NNCD shows a result, if it was NNCD that called."""
    if not values:
        yield None
        return
    from nnabla_influence.console.desktop import Result
    from nnabla_influence.lifeline import end_with_application

    with Result(Path(values["--output"])) as result:
        end_with_application(result.remove_unfinished)
        yield result


def _fields(dialog: Dialog, values: Mapping[str, str]) -> list[str]:
    """Return the names of the fields that the user sees."""
    shown = (action for action in dialog._actions if action.help != argparse.SUPPRESS)
    names = values or [name for action in shown for name in action.option_strings]
    return [name[2:] for name in names if name.startswith("--")]


def _check_python() -> None:
    if sys.version_info < (3, 9):  # noqa: UP036 (a Console may bring an older one)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise InfluenceError(
            f"this needs Python 3.9 or 3.10, but the Console's is {version}; install"
            " nnabla-influence with another Python, and use its command on the model file"
        )
