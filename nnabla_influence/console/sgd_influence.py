"""The plugin "SGD Influence": the one code path behind the image and the table script.

Neural Network Console builds the dialog from the text of ``-h``, whose options follow the grammar
``text (type) default=value``, and runs the script in the folder of the training's results. It
waits for that text, so nothing here imports nnabla before the work begins. (The text comes on
Python 3.8 too; the work needs a later one.)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from nnabla_influence.arguments import row_numbers
from nnabla_influence.errors import InfluenceError
from nnabla_influence.process import INTERRUPTED, import_nnabla, one_line, tidy_process

PAPERS = """\
"Data Cleansing for Deep Neural Networks with Storage-efficient Approximation of
 Influence Functions"
  Kenji Suzuki, Yoshiyuki Kobayashi, Takuya Narihira (2021)
  https://arxiv.org/abs/2103.11807
"Data Cleansing for Models Trained with SGD"
  Satoshi Hara, Atsushi Nitanda, Takanori Maehara (2019)
"""


def build_parser(label: str) -> argparse.ArgumentParser:
    """Return the plugin's parser.

    Args:
        label: The first line of the description, which is the name in the Console's menu.
    """
    parser = _Parser(
        description=f"{label}\n\n"
        "Ranks the rows of the training dataset by their influence on the validation loss,\n"
        "the most harmful row first. Negative: without the row the loss falls.\n\n" + PAPERS,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "-m",
        "--model",
        default="results.nnp",
        help="model file of the training (model) default=results.nnp",
    )
    parser.add_argument(
        "-bs",
        "--batch_size",
        type=int,
        default=0,
        help="batch size of the training, 0 for the model file's (int) default=0",
    )
    parser.add_argument(
        "-t",
        "--input-train",
        help="training dataset to rank, if not the one that the model file names (csv)",
    )
    parser.add_argument(
        "-v",
        "--input-val",
        help="validation dataset, if not the one that the model file names (csv)",
    )
    parser.add_argument(
        "-o",
        "--output",
        default="influence.csv",
        help="ranking to write (csv) default=influence.csv",
    )
    parser.add_argument(
        "-nt",
        "--n_trials",
        type=int,
        default=3,
        help="shuffled orders to average if the training's order is not known (int) default=3",
    )
    parser.add_argument(
        "-w",
        "--window",
        type=int,
        default=1,
        help="number of last epochs to trace (int) default=1",
    )
    parser.add_argument(
        "-me",
        "--method",
        default="final",
        help="final: every step at the final parameters; exact: each step at its own, for which the"
        " training is done again (option:final,exact) default=final",
    )
    parser.add_argument(
        "-bn",
        "--batch-normalization",
        default="running",
        help="statistics of BatchNormalization, method final: running as in use, or those of each"
        " batch as in training, often better (option:running,batch) default=running",
    )
    parser.add_argument(
        "-vr",
        "--validation-rows",
        type=row_numbers,
        help="rows of the validation dataset to ask about, such as 3,17, if not all (text)",
    )
    parser.add_argument("-r", "--run", help="folder of the recorded training, if any (dir)")
    parser.add_argument(
        "-d",
        "--device",
        default="auto",
        help="where to compute (option:auto,cpu,cuda) default=auto",
    )
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong where the Console shows it."""

    def error(self, message: str) -> NoReturn:
        _say(f"SGD influence failed: {message}")
        sys.exit(2)


def main(label: str, arguments: Sequence[str] | None = None) -> None:
    """Parse, score, and report in the Console's log.

    Args:
        label: As for `build_parser`.
        arguments: The process's by default.

    Raises:
        SystemExit: It did not succeed, as for the command line.
    """
    with tidy_process():
        arguments = sys.argv[1:] if arguments is None else arguments
        parsed = build_parser(label).parse_args(_without_empty(arguments))
        try:
            import_nnabla()
            _check_python()
            _score(parsed)
        except KeyboardInterrupt:
            _say("SGD influence was stopped; nothing was written.")
            sys.exit(INTERRUPTED)
        except Exception as error:
            _say(f"SGD influence failed: {one_line(error)}")
            sys.exit(1)
        _say("SGD influence completed successfully.")


def _without_empty(arguments: Sequence[str]) -> list[str]:
    """Drop options whose field was left empty in the dialog."""
    kept: list[str] = []
    for argument in arguments:
        if not argument.strip() and kept and kept[-1].startswith("-"):
            kept.pop()
        else:
            kept.append(argument)
    return kept


def _check_python() -> None:
    if sys.version_info < (3, 9):  # noqa: UP036 (a Console may bring an older one)
        raise InfluenceError(
            "this needs Python 3.9 or 3.10, but the Console's is"
            f" {sys.version_info.major}.{sys.version_info.minor}; install nnabla-influence with"
            " another Python, and use its command on the model file"
        )


def _say(message: str) -> None:
    from nnabla_influence.progress import ConsoleProgress

    ConsoleProgress().say(message)


def _choice(chosen: str, known: Sequence[str]) -> str:
    if chosen not in known:
        raise InfluenceError(f"{chosen!r} is none of {', '.join(known)}")
    return chosen


def _score(parsed: argparse.Namespace) -> None:
    from nnabla_influence.options import Options
    from nnabla_influence.progress import ConsoleProgress
    from nnabla_influence.report import summary
    from nnabla_influence.scoring import score

    ranking = score(
        parsed.model,
        run=parsed.run,
        train=parsed.input_train,
        validation=parsed.input_val,
        output=parsed.output,
        options=Options(
            method=parsed.method,
            window=parsed.window,
            batch_statistics=_choice(parsed.batch_normalization, ("running", "batch")) == "batch",
            batch_size=parsed.batch_size or None,
            n_trials=parsed.n_trials,
            validation_rows=parsed.validation_rows,
            device=parsed.device,
        ),
        progress=ConsoleProgress(),
    )
    for line in summary(ranking, parsed.output):
        _say(line)
