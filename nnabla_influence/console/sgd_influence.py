"""The plugin "SGD Influence": the one code path behind the image and the table script."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnabla_influence.arguments import count, minutes, path_or_auto, row_numbers
from nnabla_influence.console.dialog import Dialog, choice, run_plugin, say
from nnabla_influence.console.page import write_page_of

if TYPE_CHECKING:
    from nnabla_influence.console.desktop import Result
    from nnabla_influence.ranking import Ranking

NAME = "SGD influence"
FOLDER, RANKING, PAGE = "ranking", "influence.csv", "review.html"
"""Where the ranking lies beside the picture that NNCD shows."""

PAPERS = """\
"Data Cleansing for Deep Neural Networks with Storage-efficient Approximation of
 Influence Functions"
  Kenji Suzuki, Yoshiyuki Kobayashi, Takuya Narihira (2021)
  https://arxiv.org/abs/2103.11807
"Data Cleansing for Models Trained with SGD"
  Satoshi Hara, Atsushi Nitanda, Takanori Maehara (2019)
"""


def build_parser(label: str) -> Dialog:
    """Return the plugin's parser.

    Args:
        label: The first line of the description, which is the name in the Console's menu.
    """
    parser = Dialog(
        label,
        "Ranks the rows of the training dataset by their influence on the validation loss,\n"
        "the most harmful row first. Negative: without the row the loss falls.\n\n" + PAPERS,
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
        type=path_or_auto,
        help="training dataset to rank, if not the one that the model file names (csv)",
    )
    parser.add_argument(
        "-v",
        "--input-val",
        type=path_or_auto,
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
        default="auto",
        help="exact: each step at its own parameters, for which the training is replayed; final:"
        " every step at the final ones; auto: exact if the replay is quick"
        " (option:auto,exact,final) default=auto",
    )
    parser.add_argument(
        "-rb",
        "--replay-budget",
        type=minutes,
        default=10,
        help="minutes that a replay may take, method auto (float) default=10",
    )
    parser.add_argument(
        "-bn",
        "--batch-normalization",
        default="batch",
        help="statistics of BatchNormalization, method final: those of each batch as in training,"
        " or the running ones as in use, often worse (option:batch,running) default=batch",
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
    parser.add_argument(
        "-rp",
        "--review-page",
        default="yes",
        help="write a page beside the ranking, to look at the rows in a browser and decide for each"
        " (option:yes,no) default=yes",
    )
    parser.add_argument("--rows", type=count, default=20, help=argparse.SUPPRESS)
    parser.add_desktop_options()
    return parser


def main(label: str, arguments: Sequence[str] | None = None) -> None:
    """Parse, score, and report in the Console's log.

    Args:
        label: As for `build_parser`.
        arguments: The process's by default.

    Raises:
        SystemExit: It did not succeed, as for the command line.
    """
    run_plugin(NAME, build_parser(label), _work, arguments)


def _work(parsed: argparse.Namespace, result: Result | None) -> None:
    from nnabla_influence.report import summary

    if result is not None:
        _work_for_desktop(parsed, result)
        return
    wants_page = choice(parsed.review_page, "yes", "no") == "yes"
    ranking = _score(parsed, parsed.output)
    for line in summary(ranking, parsed.output):
        say(line)
    if wants_page:
        page = Path(parsed.output).with_suffix(".html")
        if write_page_of(parsed.output, page):
            # The Console's user does not see its working folder.
            say(f"Look at the rows, and decide for each: open {page.absolute()} in a browser")


def _score(parsed: argparse.Namespace, output: str | Path) -> Ranking:
    from nnabla_influence.options import Options
    from nnabla_influence.progress import ConsoleProgress
    from nnabla_influence.scoring import score

    return score(
        parsed.model,
        run=parsed.run,
        train=parsed.input_train,
        validation=parsed.input_val,
        output=output,
        options=Options(
            method=parsed.method,
            window=parsed.window,
            running_statistics=choice(parsed.batch_normalization, "batch", "running") == "running",
            replay_budget=parsed.replay_budget,
            batch_size=parsed.batch_size or None,
            n_trials=parsed.n_trials,
            validation_rows=parsed.validation_rows,
        ),
        device=parsed.device,
        progress=ConsoleProgress(),
    )


def _work_for_desktop(parsed: argparse.Namespace, result: Result) -> None:
    from nnabla_influence.console.importing import Import
    from nnabla_influence.console.strip import strip
    from nnabla_influence.report import summary
    from nnabla_influence.review.reviewed import read_reviewed

    added = Import(result, choice(parsed.import_dataset, "yes", "no") == "yes")
    parsed.method = parsed.method.strip().lower()
    with result.files(FOLDER) as staged:
        ranking = _score(parsed, staged / RANKING)
        added.prepare(staged / RANKING, staged)
        has_page = write_page_of(staged / RANKING, staged / PAGE)
    folder = result.sidecar(FOLDER)
    path = folder / RANKING
    for line in summary(ranking, path):
        say(line)
    if has_page:
        say(f"Look at the rows, and decide for each: open {folder / PAGE} in a browser")
    reviewed = read_reviewed(path)
    harmful = int((ranking.scores.influence < 0).sum())
    heading = [
        f"{harmful} of {len(ranking)} rows are harmful:",
        "without one of them the",
        "validation loss falls.",
        *added.run(folder),
        f"CSV: {folder.name}/{RANKING}",
        *([f"Page: {folder.name}/{PAGE}"] if has_page else []),
    ]
    # The log, which names the folder, is not shown any more once there is a picture.
    closing = f"The page to decide on, for a browser: {folder / PAGE}" if has_page else ""
    worst = reviewed[: min(parsed.rows, harmful)]
    result.show(strip(heading, reviewed, worst, closing=closing))
