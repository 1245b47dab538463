"""The plugin "SGD Influence": the one code path behind the image and the table script.

Neural Network Console builds the dialog from the text of ``-h``, whose options follow the grammar
``text (type) default=value``, and runs the script in the folder of the training's results. It
waits for that text, so nothing here imports nnabla before the work begins.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnabla_influence.arguments import row_numbers

if TYPE_CHECKING:
    from nnabla_influence.progress import Progress

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
    parser = argparse.ArgumentParser(
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
        "-bs",
        "--batch_size",
        type=int,
        default=0,
        help="batch size of the training, 0 for the model file's (int) default=0",
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
        "-vr",
        "--validation-rows",
        type=lambda text: row_numbers(text) if text else None,
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


def main(label: str, arguments: Sequence[str] | None = None) -> None:
    """Parse, score, report in the Console's log, and exit.

    Args:
        label: As for `build_parser`.
        arguments: The process's by default.
    """
    parsed = build_parser(label).parse_args(arguments)

    from nnabla_influence.errors import InfluenceError
    from nnabla_influence.progress import ConsoleProgress

    progress = ConsoleProgress()
    try:
        _score(parsed, progress)
    except InfluenceError as error:
        progress.say(f"SGD influence failed. {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        progress.say("SGD influence was stopped; nothing was written.")
        sys.exit(130)
    progress.say("SGD influence completed successfully.")


def _score(parsed: argparse.Namespace, progress: Progress) -> None:
    from nnabla_influence.report import summary
    from nnabla_influence.scoring import Options, score

    ranking = score(
        parsed.model,
        run=parsed.run or None,
        train=parsed.input_train or None,
        validation=parsed.input_val or None,
        output=parsed.output,
        options=Options(
            window=parsed.window,
            batch_size=parsed.batch_size or None,
            n_trials=parsed.n_trials,
            validation_rows=parsed.validation_rows or None,
            device=parsed.device,
        ),
        progress=progress,
    )
    for line in summary(ranking, parsed.output):
        progress.say(line)
