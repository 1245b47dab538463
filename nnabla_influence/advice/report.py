"""The folder of an advice: ranking, decisions, review page, and a page of plain words."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path

from nnabla_influence.advice.result import Advice
from nnabla_influence.cleansing import write_decisions
from nnabla_influence.cleansing.decisions import ADVICE, RELABEL, REMOVE, Decision
from nnabla_influence.files import replacing_folder
from nnabla_influence.progress import Progress
from nnabla_influence.review.page import write_page
from nnabla_influence.review.reviewed import read_reviewed

RANKING, DECISIONS = ADVICE
PAGE, MARK, NUMBERS = "review.html", "advice.html", "advice.json"
FILES = (RANKING, DECISIONS, PAGE, MARK, NUMBERS)

_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 44em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
td, th { border: 1px solid #999; padding: .2em .8em; text-align: right; }
td:first-child, th:first-child { text-align: left; }
"""


def write_report(folder: Path, advice: Advice, progress: Progress) -> None:
    """Write the folder, whole or not at all."""
    decisions = decisions_of(advice)
    with replacing_folder(folder) as temporary:
        ranking = temporary / RANKING
        advice.ranking.write(ranking)
        label = advice.label_column
        write_decisions(temporary / DECISIONS, ranking, decisions, label_column=label)
        reviewed = read_reviewed(ranking, label_column=label)
        write_page(reviewed, temporary / PAGE, proposals=decisions, progress=progress)
        (temporary / MARK).write_text("\n".join(_page(advice)) + "\n", encoding="utf-8")
        text = json.dumps(_numbers(advice), indent=1)
        (temporary / NUMBERS).write_text(f"{text}\n", encoding="utf-8")


def decisions_of(advice: Advice) -> dict[int, Decision]:
    """Return what the advice proposes, by row."""
    decisions = {int(row): Decision(REMOVE) for row in advice.removed}
    for row, label in advice.relabelled.items():
        decisions[row] = Decision(RELABEL, str(label))
    return decisions


def _numbers(advice: Advice) -> dict[str, object]:
    return {
        "removed": advice.removed.tolist(),
        "relabelled": {str(row): label for row, label in advice.relabelled.items()},
        "gains_of": "accuracy" if advice.is_accuracy else "minus the loss",
        "tried": {str(n): gain for n, gain in advice.tried.items()},
        "confirmed": {
            str(change): {"gain": gain.mean, "interval": gain.interval(), "sure": gain.is_sure}
            for change, gain in advice.confirmed.items()
        },
        "agreement": advice.agreement,
        "trainings": advice.cost.trainings,
        "seconds": advice.cost.seconds,
    }


def _page(advice: Advice) -> Iterator[str]:
    first, *others = map(html.escape, advice.lines())
    yield '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Advice</title>'
    yield f"<style>{_STYLE}</style>\n<h1>{first}</h1>"
    for line in others:
        yield f"<p>{line}</p>"
    if advice.tried:
        yield "<h2>What was tried</h2>\n<table>"
        yield f"<tr><th>Change</th><th>{advice.measure.title()}</th><th>95 % interval</th></tr>"
        for n, mean in advice.tried.items():
            gain = advice.amount(mean)
            yield f"<tr><td>remove {n} rows, first try</td><td>{gain}</td><td></td></tr>"
        for change, confirmed in advice.confirmed.items():
            yield (
                f"<tr><td>{change}, from new starts</td><td>{advice.amount(confirmed.mean)}</td>"
                f"<td>{advice.interval(confirmed)}</td></tr>"
            )
        yield "</table>"
    yield (
        f'<p>The rows, the most harmful first, with the advice as a proposal: <a href="{PAGE}">'
        f'{PAGE}</a>. The ranking: <a href="{RANKING}">{RANKING}</a>.</p>\n</html>'
    )
