"""The command ``nnabla-influence explain``."""

from __future__ import annotations

import argparse

from nnabla_influence.arguments import row_numbers
from nnabla_influence.commands import options
from nnabla_influence.process import show
from nnabla_influence.text import listed

DESCRIPTION = "Show the training rows that raise, and that lower, the loss of evaluated rows most."

_SHOWN = 5


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option."""
    options.add_model(parser)
    parser.add_argument("--run", metavar="RUN", help="run folder of the training")
    options.add(parser, "parameters", "H5", "trained parameters, if there is no run")
    options.add(parser, "train", "CSV", "training CSV (default: the model file's)")
    options.add(
        parser, "validation", "CSV", "CSV of the evaluated rows (default: the model file's)"
    )
    parser.add_argument(
        "--rows",
        metavar="I,J,...|all",
        type=row_numbers,
        required=True,
        help="the evaluated rows to explain, numbered from 0",
    )
    options.add(parser, "output", "HTML", "page to write, of at most 200 rows")
    parser.add_argument(
        "--table", metavar="CSV", help="the influence of all training rows, of at most 1000 rows"
    )
    parser.add_argument(
        "--ranking",
        metavar="CSV",
        help="all training rows ranked by their mean influence on the evaluated rows, for review"
        " and cleanse; the page then has buttons to keep, remove and relabel rows",
    )
    parser.add_argument(
        "--target",
        choices=("loss", "margin"),
        default="loss",
        help="of each row: its loss, or the margin of its class (default: %(default)s)",
    )
    options.add_attribution(parser, "auto")
    parser.add_argument(
        "--pictures", metavar="FOLDER", help="folder to write the heat maps to, as PNG files"
    )
    options.add_device(parser)
    parser.set_defaults(usage_error=parser.error)


def run(parsed: argparse.Namespace) -> None:
    """Explain, and print the first answers."""
    shown = parsed.output is not None or parsed.pictures is not None
    if not (shown or parsed.table or parsed.ranking):
        parsed.usage_error("give -o, --ranking, --table or --pictures: a file or folder to write")

    from nnabla_influence.explanation import explain
    from nnabla_influence.progress import TerminalProgress

    explanation = explain(
        parsed.model,
        rows=parsed.rows,
        run=parsed.run,
        train=parsed.train,
        validation=parsed.validation,
        parameters=parsed.parameters,
        output=parsed.output,
        table=parsed.table,
        ranking=parsed.ranking,
        target=parsed.target,
        attribution=options.attribution_of(parsed) if shown else None,
        pictures=parsed.pictures,
        device=parsed.device,
        progress=TerminalProgress(),
    )
    answers = explanation.answers
    for path in filter(None, (parsed.output, parsed.ranking, parsed.table)):
        show(f"{path}: {len(answers)} evaluated rows, {len(explanation.train)} training rows")
    if parsed.pictures is not None:
        attributions = [one for answer in answers for one in answer.attributions]
        n = sum(one.values is not None for one in attributions)
        show(f"{parsed.pictures}: {n} pictures")
    for answer in answers[:_SHOWN]:
        text = explanation.class_text
        predicted = "" if answer.predicted is None else f", predicted {text(answer.predicted)}"
        given = "" if answer.given is None else f", given {text(answer.given)}"
        against = listed(cause.row for cause in answer.opponents) or "none"
        show(
            f"row {answer.row}{given}{predicted}, loss {answer.loss:.3g}; opponents: {against};"
            f" without them {answer.loss_without:.3g}, to first order"
        )
    rough = [answer.row for answer in answers if answer.is_rough]
    if rough:
        show(
            f"rough: the influence on {listed(rough)}; solved to the end, its system (relative"
            f" residual up to {max(answer.residual for answer in answers):.2g}) could show several"
            " other rows"
        )
