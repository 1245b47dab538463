"""The plugin "Explain": why the network answers an evaluated row as it does."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnabla_influence.arguments import path_or_auto
from nnabla_influence.console.dialog import Dialog, choice, run_plugin, say
from nnabla_influence.console.evaluated_row import add_row_fields, evaluated_row
from nnabla_influence.text import listed

if TYPE_CHECKING:
    from nnabla_influence.console.desktop import Result
    from nnabla_influence.console.explained import Explained
    from nnabla_influence.explanation import Explanation

NAME = "Explain"
FOLDER, RANKING, PAGE = "explanation", "explain.csv", "explain.html"
"""Where the ranking lies beside the image that NNCD shows."""

_OPPONENTS = 5


def build_parser(label: str, *, of_table: bool = False) -> Dialog:
    """Return the plugin's parser."""
    parser = Dialog(
        label,
        "Why is this answer wrong? Shows the training rows that raise, and that lower, the loss\n"
        "of one evaluated row most, and where the network looked in a picture.\n",
    )
    parser.add_model()
    add_row_fields(parser, of_table=of_table)
    text = "training dataset, if not the one that the model file names"
    parser.add_field("-t --input-train", text, "csv", parse=path_or_auto)
    text = "ranking to write; the page lies beside it"
    parser.add_field("-o --output", text, "csv", RANKING)
    parser.add_device()
    parser.add_desktop_options()
    return parser


def main(label: str, arguments: Sequence[str] | None = None, *, of_table: bool = False) -> None:
    """Run the plugin as `run_plugin` does."""
    run_plugin(NAME, build_parser(label, of_table=of_table), _work, arguments)


def _work(parsed: argparse.Namespace, result: Result | None) -> None:
    evaluated, row = evaluated_row(parsed, result)
    if result is not None:
        _work_for_desktop(parsed, result, evaluated, row)
        return
    output = Path(parsed.output)
    # The Console's user does not see its working folder.
    page = output.with_suffix(".html").absolute()
    explanation = _explain(parsed, evaluated, row, output, page)
    _report(_explained(explanation), explanation, output, page)


def _work_for_desktop(
    parsed: argparse.Namespace, result: Result, evaluated: Path, row: int
) -> None:
    from nnabla_influence.console.dataset_page import DatasetEntry
    from nnabla_influence.console.strip import strip
    from nnabla_influence.review.reviewed import read_reviewed

    entry = DatasetEntry(result, choice(parsed.import_dataset, "yes", "no") == "yes")
    with result.files(FOLDER) as staged:
        explanation = _explain(parsed, evaluated, row, staged / RANKING, staged / PAGE)
        entry.write_copy(staged / RANKING, staged)
    folder = result.sidecar(FOLDER)
    explained = _explained(explanation)
    _report(explained, explanation, folder / RANKING, folder / PAGE)
    (answer,) = explanation.answers
    rough = " (rough)" if answer.is_rough else ""
    heading = [
        f"Index {row + 1}, loss {answer.loss:.3g}.",
        "The training rows that",
        f"raise it most{rough}.",
        *entry.add(folder),
        f"Page: {folder.name}/",
        PAGE,
    ]
    # The log, which names the folder, is hidden once there is an image.
    closing = f"The page, for a browser: {folder / PAGE}"
    reviewed = read_reviewed(folder / RANKING)
    worst = [one for one in reviewed[:_OPPONENTS] if one.influence < 0]
    tiles = explained.tiles()
    result.show(strip(heading, reviewed, worst, closing=closing, before=tiles))


def _explain(
    parsed: argparse.Namespace, evaluated: Path, row: int, ranking: Path, page: Path
) -> Explanation:
    from nnabla_influence.explanation import explain
    from nnabla_influence.options import AttributionOptions
    from nnabla_influence.progress import ConsoleProgress

    return explain(
        parsed.model,
        rows=[row],
        train=parsed.input_train,
        validation=evaluated,
        output=page,
        ranking=ranking,
        attribution=AttributionOptions("auto"),
        device=parsed.device,
        progress=ConsoleProgress(),
    )


def _explained(explanation: Explanation) -> Explained:
    from nnabla_influence.console.explained import Explained

    (answer,) = explanation.answers
    return Explained(
        explanation.validation,
        explanation.label,
        explanation.class_names,
        answer.row,
        answer.given,
        answer.predicted,
        answer.attributions,
    )


def _report(explained: Explained, explanation: Explanation, ranking: Path, page: Path) -> None:
    (answer,) = explanation.answers
    for line in explained.lines():
        say(line)
    if answer.opponents:
        rows = listed(cause.row for cause in answer.opponents)
        say(
            f"Its loss is {answer.loss:.3g}; without its strongest opponents, the training rows"
            f" {rows}, it would be {answer.loss_without:.3g}, to first order"
        )
    if answer.is_rough:
        say(f"Rough: the order can be another (relative residual {answer.residual:.2g})")
    say(f"{ranking}: {len(explanation.train)} training rows by their influence on this row")
    say(f"To see the page, and to decide on the rows, open {page} in a browser (row {answer.row})")
