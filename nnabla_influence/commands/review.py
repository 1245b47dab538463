"""The command ``nnabla-influence review``."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nnabla_influence.arguments import count, count_or_none
from nnabla_influence.commands import options
from nnabla_influence.process import show
from nnabla_influence.text import listed

if TYPE_CHECKING:
    from nnabla_influence.cleansing import Decision
    from nnabla_influence.review.reviewed import Reviewed
    from nnabla_influence.review.thumbnails import Pictures

DESCRIPTION = (
    "Write a page or a workbook of a ranking's rows, the most harmful first, to decide which rows"
    " to keep, remove or relabel."
)

_ALL = -1
_DECISIONS = "decisions.csv"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option."""
    options.add_ranking(parser)
    options.add(parser, "output", "HTML", "review page to write, one file")
    parser.add_argument(
        "--xlsx", metavar="XLSX", help="workbook to write, with thumbnails beside the rows"
    )
    parser.add_argument(
        "--thumbnails",
        default="1000",
        metavar="K|all",
        type=_thumbnails,
        help="show pictures of the K most harmful rows (default: %(default)s)",
    )
    parser.add_argument(
        "--class-names",
        metavar="FILE|A,B,C",
        help="names of the classes 0, 1, 2, ...: separated by commas, a text file with one name on"
        " each line, or a CSV of numbers and names (default: from the label's header, such as"
        " y:label;cat;dog)",
    )
    options.add_label_column(parser)
    options.add_group_by(parser, "show")
    parser.add_argument(
        "--proposals",
        metavar="CSV|XLSX",
        help="show the decisions in this file as proposals, each for the reviewer to accept",
    )
    parser.add_argument(
        "--title", metavar="TEXT", help="heading of the page (default: the ranking's name)"
    )
    options.add_attribution(parser, "none")
    parser.add_argument(
        "--rows-explained",
        default=20,
        metavar="K",
        type=count,
        help="explain the K most harmful rows (default: %(default)s)",
    )
    options.add(parser, "model", "MODEL", f"to explain rows: {options.MODEL_HELP}")
    parser.add_argument("--run", metavar="RUN", help="to explain rows: run folder of the training")
    options.add(
        parser, "parameters", "H5", "to explain rows: trained parameters, if there is no run"
    )
    options.add_device(parser)
    parser.set_defaults(usage_error=parser.error)


def run(parsed: argparse.Namespace) -> None:
    """Write page and workbook, and print what they hold and the next command."""
    if parsed.output is None and parsed.xlsx is None:
        parsed.usage_error("give -o for a page, --xlsx for a workbook, or both")
    attribution = options.attribution_of(parsed)
    given = [parsed.model, parsed.run, parsed.parameters]
    if attribution is None and any(given):
        parsed.usage_error("-m, --run and -p explain rows; add --explain, or omit them")
    if attribution is not None and (parsed.model is None or parsed.output is None):
        parsed.usage_error("--explain needs the model, -m, and the page that shows it, -o")

    from nnabla_influence.progress import TerminalProgress
    from nnabla_influence.review.page import check_outputs
    from nnabla_influence.review.reviewed import read_reviewed

    check_outputs(
        parsed.ranking, page=parsed.output, workbook=parsed.xlsx, proposals=parsed.proposals
    )
    reviewed = read_reviewed(
        parsed.ranking,
        label_column=parsed.label_column,
        class_names=parsed.class_names,
        group_by=parsed.group_by,
    )
    proposals = None if parsed.proposals is None else _proposals(parsed)
    thumbnails = len(reviewed) if parsed.thumbnails == _ALL else parsed.thumbnails
    progress = TerminalProgress()
    if parsed.output is not None:
        from nnabla_influence.review.page import write_page

        attributions = []
        if attribution is not None:
            from nnabla_influence.explanation.ranked_rows import attribute_ranked

            attributions = attribute_ranked(
                reviewed,
                attribution,
                parsed.model,
                n_rows=parsed.rows_explained,
                run=parsed.run,
                parameters=parsed.parameters,
                device=parsed.device,
                progress=progress,
            )
        pictures = write_page(
            reviewed,
            parsed.output,
            thumbnails=thumbnails,
            title=parsed.title,
            proposals=proposals,
            attributions=attributions,
            progress=progress,
        )
        if attribution is not None:
            show(_about_attributions(sum(map(bool, attributions))))
        for line in _about_page(parsed.output, pictures, reviewed):
            show(line)
    if parsed.xlsx is not None:
        from nnabla_influence.review.workbook import write_workbook

        write_workbook(
            reviewed, parsed.xlsx, thumbnails=thumbnails, proposals=proposals, progress=progress
        )
        shown = min(thumbnails, len(reviewed)) if reviewed.image_columns else 0
        show(f"{parsed.xlsx}: {len(reviewed)} rows, the most harmful first; {_pictured(shown)}")
    for line in (*_notes(reviewed), *_next_command(parsed)):
        show(line)


def _proposals(parsed: argparse.Namespace) -> Mapping[int, Decision]:
    from nnabla_influence.cleansing.decisions import read_decisions
    from nnabla_influence.cleansing.labels import read_labels
    from nnabla_influence.cleansing.rows import open_rows

    rows = open_rows(parsed.ranking, None)
    labels = read_labels(rows, parsed.label_column)
    return read_decisions(parsed.proposals, rows, labels).by_row


def _about_page(page: str, made: Pictures, reviewed: Reviewed) -> Iterator[str]:
    yield (
        f"{page}: {len(reviewed)} rows, the most harmful first; {_pictured(len(made.rows))};"
        f" {os.path.getsize(page) / 1e6:.1f} MB"
    )
    missing, problem = made.missing, made.first_problem
    if missing:
        pictures = "1 picture" if missing == 1 else f"{missing} pictures"
        where = "" if made.count else " (is the ranking where `score` wrote it?)"
        yield f"{pictures} could not be shown{where}, the first of them: {problem}"


def _about_attributions(n_rows: int) -> str:
    if n_rows:
        return f"explained: the first {n_rows} rows"
    return (
        "explained: no rows, since Grad-CAM does not suit the network; where it predicts a class,"
        " --explain lime does"
    )


def _pictured(n_rows: int) -> str:
    return f"thumbnails of the first {n_rows}" if n_rows else "no thumbnails"


def _notes(reviewed: Reviewed) -> Iterator[str]:
    if reviewed.verdict is not None and reviewed.verdict.is_rough:
        yield reviewed.verdict.sentence
    if reviewed.unseen:
        yield (
            f"not judged: {reviewed.unseen} of {len(reviewed)} rows, which are not in the window or"
            " are ignored by the loss; their influence of 0 has no meaning"
        )
    nameless = [c.value for c in reviewed.classes if c.name is None]
    if 0 < len(nameless) < len(reviewed.classes):
        yield f"the classes {listed(nameless)} have no name and are shown as numbers"
    if reviewed.label_column is None:
        yield (
            "no labels are shown, since the ranking has no single column 'y'; give the label column"
            " with --label-column"
        )


def _next_command(parsed: argparse.Namespace) -> Iterator[str]:
    clean = os.fspath(Path(parsed.ranking).parent / "clean.csv")
    words = ["nnabla-influence", "cleanse", "-i", parsed.ranking, "-o", clean]
    if parsed.label_column is not None:
        words += ["--label-column", parsed.label_column]
    made = {parsed.output: _DECISIONS, parsed.xlsx: parsed.xlsx}
    for output, decisions in made.items():
        if output is not None:
            saved = "it" if output == decisions else "the decisions"
            yield f"Decide in {output} what to keep, remove or relabel, save {saved}, and run:"
            yield f"  {shlex.join([*words, '--decisions', decisions])}"


def _thumbnails(text: str) -> int:
    if text == "all":
        return _ALL
    try:
        return count_or_none(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number of rows from 0 nor all"
        ) from None
