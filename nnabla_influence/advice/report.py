"""The folder of an advice: ranking, decisions, review page, and a page of plain words."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path

from nnabla_influence.advice.result import Advice
from nnabla_influence.cleansing.decisions import RELABEL, REMOVE, Decision
from nnabla_influence.files import replacing_folder
from nnabla_influence.progress import Progress

RANKING, DECISIONS, PAGE, MARK = "influence.csv", "decisions.csv", "review.html", "advice.html"
FILES = (RANKING, DECISIONS, PAGE, MARK, "advice.json")


def write_report(folder: Path, advice: Advice, progress: Progress) -> None:
    """Write the folder, whole or not at all."""
    with replacing_folder(folder) as temporary:
        advice.ranking.write(temporary / RANKING)
        # TODO(D): decisions, review page
        text = "\n".join(_page(advice))
        (temporary / MARK).write_text(text, encoding="utf-8")
        (temporary / "advice.json").write_text(json.dumps(_numbers(advice), indent=1) + "\n")


def decisions_of(advice: Advice) -> dict[int, Decision]:
    """Return the decisions that the advice proposes, by row."""
    removed = {int(row): Decision(REMOVE) for row in advice.removed}
    relabelled = {row: Decision(RELABEL, str(label)) for row, label in advice.relabelled.items()}
    return {**removed, **relabelled}


def _numbers(advice: Advice) -> dict[str, object]:
    return {
        "removed": advice.removed.tolist(),
        "relabelled": {str(row): label for row, label in advice.relabelled.items()},
        "tried": {str(n): gain for n, gain in advice.tried.items()},
        "confirmed": {
            str(change): {"gain": gain.mean, "interval": gain.interval()}
            for change, gain in advice.confirmed.items()
        },
        "of": "accuracy" if advice.is_accuracy else "loss",
        "trainings": advice.cost.trainings,
        "seconds": advice.cost.seconds,
    }


def _page(advice: Advice) -> Iterator[str]:
    yield "<!doctype html><html lang=en><meta charset=utf-8><title>Advice</title>"
    for line in advice.lines():
        yield f"<p>{html.escape(line)}</p>"
    yield "</html>"
