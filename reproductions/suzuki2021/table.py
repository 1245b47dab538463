"""One page over all experiments: what removal changed, beside the plain accuracies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnabla_influence.curves.results import NONE, read_results
from nnabla_influence.curves.summary import summarize
from nnabla_influence.files import replacing_file
from reproductions.suzuki2021.experiments import Experiment

TITLES: Mapping[str, str] = {
    "final": "final (Suzuki et al.)",
    "exact-last": "exact, last epoch (Hara et al.)",
    "exact": "exact, all epochs (Hara et al.)",
    "influence-functions": "influence functions (Koh and Liang)",
    "loss": "training loss",
    "random": "random",
}
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What an experiment gave.

    Attributes:
        experiment: Which.
        summary: The lines that `nnabla_influence.curves.summary.summarize` makes.
        detection: The lines of ``detection.csv``; none where no label was flipped.
    """

    experiment: Experiment
    summary: Sequence[Line]
    detection: Sequence[Line]


def write_page(output: Path, experiments: Sequence[Experiment]) -> Path:
    """Write ``table.md`` over those experiments that have results in ``output``.

    Raises:
        RunError: A ``results.csv`` is damaged.
        OutputError: The page cannot be written.
    """
    found = [e for e in experiments if (output / e.name / "results.csv").is_file()]
    path = output / "table.md"
    with replacing_file(path) as temporary:
        temporary.write_text(page([_read(output / e.name, e) for e in found]), encoding="utf-8")
    return path


def _read(folder: Path, experiment: Experiment) -> Outcome:
    import pandas as pd

    summary: Any = summarize(read_results(folder / "results.csv"))
    detection = folder / "detection.csv"
    found: Any = pd.read_csv(detection).to_dict("records") if detection.is_file() else []
    return Outcome(experiment, summary.to_dict("records"), found)


def page(outcomes: Sequence[Outcome]) -> str:
    """Return the Markdown page."""
    sections = [
        "Written by `run.py`. Accuracies are those of the test CSV, in per cent. **Paired"
        " difference**: mean over the seeds of the accuracy after removal minus that of the same"
        " seed without removal, in points, with its 95 % interval (Student's t); bold where the"
        " interval lies above zero, in italics where it lies below.",
    ]
    for outcome in outcomes:
        e = outcome.experiment
        noise = f"{e.n_flipped:,} labels flipped" if e.n_flipped else "clean"
        sections.append(f"## {e.name}: {e.n_training:,} training rows, {noise}")
        for protocol, batch_size in _distinct(outcome.summary, "protocol", "batch_size"):
            lines = {
                (line["ranking"], line["n"]): line
                for line in outcome.summary
                if (line["protocol"], line["batch_size"]) == (protocol, batch_size)
            }
            sections += _curves(e, protocol, batch_size, lines)
        if outcome.detection:
            sections += _found(outcome.detection)
    return "\n\n".join(sections) + "\n"


def _curves(
    e: Experiment, protocol: str, batch_size: int, lines: Mapping[tuple[str, int], Line]
) -> list[str]:
    plain = lines[NONE, 0]
    redone = "trained again from the start" if protocol == "all" else "last epoch done again"
    caption = (
        f"Batch size {batch_size}, {redone}; without removal"
        f" {100 * plain['accuracy_mean']:.2f} ± {100 * plain['accuracy_std']:.2f} (mean ± standard"
        f" deviation over {plain['seeds']} seeds). Paired difference by the rows removed:"
    )
    counts = sorted({n for _, n in lines} - {0})
    rankings = dict.fromkeys(ranking for ranking, _ in lines if ranking != NONE)
    heads = [f"{n:,} (as many as flipped)" if n == e.n_flipped else f"{n:,}" for n in counts]
    rows = [
        [TITLES[ranking], *(_difference(lines.get((ranking, n))) for n in counts)]
        for ranking in rankings
    ]
    return [caption, _markdown(["removed by", *heads], rows)]


def _difference(line: Line | None) -> str:
    if line is None:
        return "-"
    mean, low, high = (100 * line[f"accuracy_minus_none{end}"] for end in ("", "_low", "_high"))
    if math.isnan(low):
        return f"{mean:+.2f}"
    text = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
    return f"**{text}**" if low > 0 else f"*{text}*" if high < 0 else text


def _found(detection: Sequence[Line]) -> list[str]:
    """Return how well the rankings find the flipped rows, mean over the seeds."""
    lines = [line for line in detection if line["k"] == line["flipped"]]
    several = len(_distinct(lines, "batch_size")) > 1
    rows = []
    for ranking, batch_size in _distinct(lines, "ranking", "batch_size"):
        own = [x for x in lines if (x["ranking"], x["batch_size"]) == (ranking, batch_size)]
        precision, area = (
            sum(x[name] for x in own) / len(own) for name in ("precision", "roc_auc")
        )
        title = TITLES[ranking] + (f", batch size {batch_size}" if several else "")
        rows.append([title, f"{precision:.2f}", f"{area:.3f}"])
    return [
        "Flipped labels found, mean over the seeds:",
        _markdown(["ranking", "precision at the number of flips", "ROC AUC"], rows),
    ]


def _distinct(lines: Sequence[Line], *names: str) -> list[tuple[Any, ...]]:
    return list(dict.fromkeys(tuple(line[name] for name in names) for line in lines))


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
