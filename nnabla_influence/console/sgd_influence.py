"""The plugin "SGD Influence": the one code path behind the image and the table script."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnabla_influence.arguments import count, minutes, row_numbers
from nnabla_influence.console.dialog import Dialog, choice, run_plugin, say
from nnabla_influence.errors import InfluenceError

if TYPE_CHECKING:
    from nnabla_influence.console.desktop import Result
    from nnabla_influence.files import PathLike
    from nnabla_influence.ranking import Ranking

NAME = "SGD influence"
FOLDER, RANKING, PAGE = "ranking", "influence.csv", "review.html"
"""Where the ranking lies beside the image that NNCD shows."""

_PAGE_MARK = b'id="review-data"'
PAPERS = """\
"Data Cleansing for Deep Neural Networks with Storage-efficient Approximation of
 Influence Functions"
  Kenji Suzuki, Yoshiyuki Kobayashi, Takuya Narihira (2021)
  https://arxiv.org/abs/2103.11807
"Data Cleansing for Models Trained with SGD"
  Satoshi Hara, Atsushi Nitanda, Takanori Maehara (2019)
"""


def build_parser(label: str) -> Dialog:
    """Return the plugin's parser."""
    parser = Dialog(
        label,
        "Ranks the rows of the training dataset by their influence on the validation loss,\n"
        "the most harmful row first. Negative: without the row the loss falls.\n\n" + PAPERS,
    )
    add = parser.add_field
    parser.add_model()
    add("-bs --batch_size", "batch size of the training, 0 for the model file's", "int", 0, int)
    parser.add_datasets("rank")
    add("-o --output", "ranking to write", "csv", RANKING)
    text = "shuffled orders to average if the training's order is unknown"
    add("-nt --n_trials", text, "int", 3, int)
    add("-w --window", "number of last epochs to trace", "int", 1, int)
    add(
        "-me --method",
        "exact: each step at its own parameters, which replays the training; final: every step"
        " at the final parameters; auto: exact if the replay is quick",
        "option:auto,exact,final",
        "auto",
    )
    text = "longest replay in minutes for method auto"
    add("-rb --replay-budget", text, "float", 10, minutes)
    add(
        "-bn --batch-normalization",
        "statistics of BatchNormalization for method final: of each batch as in training, or"
        " the running ones as in inference, often worse",
        "option:batch,running",
        "batch",
    )
    add(
        "-vr --validation-rows",
        "use only these validation rows for the loss, such as 3,17; the first is 0",
        "text",
        parse=row_numbers,
    )
    add("-r --run", "folder of the recorded training, if any", "dir")
    parser.add_device()
    text = "write a page beside the ranking, for reviewing the rows in a browser"
    add("-rp --review-page", text, "option:yes,no", "yes")
    parser.add_argument("--rows", type=count, default=20, help=argparse.SUPPRESS)
    parser.add_desktop_options()
    return parser


def main(label: str, arguments: Sequence[str] | None = None) -> None:
    """Run the plugin as `run_plugin` does."""
    run_plugin(NAME, build_parser(label), _work, arguments)


def _work(parsed: argparse.Namespace, result: Result | None) -> None:
    if result is not None:
        _work_for_desktop(parsed, result)
        return
    output = Path(parsed.output)
    has_page = choice(parsed.review_page, "yes", "no") == "yes"
    ranking = _score(parsed, output)
    # The Console's user does not see its working folder.
    page = output.with_suffix(".html").absolute()
    _report(ranking, output, page if has_page and _write_page(output, page) else None)


def _work_for_desktop(parsed: argparse.Namespace, result: Result) -> None:
    from nnabla_influence.console.dataset_page import DatasetEntry
    from nnabla_influence.console.strip import strip
    from nnabla_influence.review.reviewed import read_reviewed

    entry = DatasetEntry(result, choice(parsed.import_dataset, "yes", "no") == "yes")
    parsed.method = parsed.method.strip().lower()
    with result.files(FOLDER) as staged:
        ranking = _score(parsed, staged / RANKING)
        entry.write_copy(staged / RANKING, staged)
        has_page = _write_page(staged / RANKING, staged / PAGE)
    folder = result.sidecar(FOLDER)
    _report(ranking, folder / RANKING, folder / PAGE if has_page else None)
    harmful = int((ranking.scores.influence < 0).sum())
    heading = [
        f"{harmful} of {len(ranking)} rows are harmful:",
        "without one of them the",
        "validation loss falls.",
        *entry.add(folder),
        f"CSV: {folder.name}/{RANKING}",
        *([f"Page: {folder.name}/{PAGE}"] if has_page else []),
    ]
    # The log, which names the folder, is hidden once there is an image.
    closing = f"The review page, for a browser: {folder / PAGE}" if has_page else ""
    reviewed = read_reviewed(folder / RANKING)
    worst = reviewed[: min(parsed.rows, harmful)]
    result.show(strip(heading, reviewed, worst, closing=closing))


def _score(parsed: argparse.Namespace, output: Path) -> Ranking:
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


def _report(ranking: Ranking, output: Path, page: Path | None) -> None:
    from nnabla_influence.report import summary

    for line in summary(ranking, output):
        say(line)
    if page is not None:
        say(f"To review the rows, open {page} in a browser")


def _write_page(ranking: Path, page: Path) -> bool:
    """Write the review page of a ranking, and return whether that worked: it may fail.

    The user did not choose its name, so it replaces nothing but a review page.
    """
    from nnabla_influence.files import check_output
    from nnabla_influence.progress import ConsoleProgress
    from nnabla_influence.review.page import write_page
    from nnabla_influence.review.reviewed import read_reviewed

    try:
        check_output(page, [ranking], _is_page, "a review page")
        written = write_page(read_reviewed(ranking), page, progress=ConsoleProgress())
    except (InfluenceError, OSError) as error:
        say(f"No review page was written: {error}")
        return False
    if written.missing:
        say(f"{written.missing} images are not on the review page: {written.first_problem}")
    return True


def _is_page(path: PathLike) -> bool:
    return _PAGE_MARK in Path(path).read_bytes()
