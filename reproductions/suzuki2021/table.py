"""One page over all experiments: where removal helped; each one's own ``table.md`` has the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnabla_influence.files import replacing_file
from nnabla_influence.retraining.plan import NONE
from nnabla_influence.retraining.report import NAMES
from nnabla_influence.retraining.tables import ORDER, read_results, summarize
from reproductions.suzuki2021.experiments import Experiment

REDONE = {"all": "all", "last": "last epoch"}
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What an experiment gave.

    Attributes:
        experiment: Which.
        summary: The lines that `nnabla_influence.retraining.tables.summarize` makes.
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
    flipped = [outcome for outcome in outcomes if outcome.experiment.n_flipped]
    clean = [outcome for outcome in outcomes if not outcome.experiment.n_flipped]
    sections = [
        "Written by `run.py`; every number is in the experiments' own folders. Accuracies are those"
        " of the test CSV. A *difference* is the mean over the seeds of the accuracy after removal"
        " minus that of the same seed without removal, in percentage points, with its 95 % interval"
        " (Student's t); bold where the interval lies wholly on one side of 0.",
    ]
    if flipped:
        sections += [
            "## Removing as many rows as labels are flipped",
            _differences(flipped),
            "## Flipped labels found",
            "Share of flipped rows among as many first ones of the ranking as are flipped (%), and"
            " ROC AUC; means over the seeds.",
            _found(flipped),
        ]
    if clean:
        sections += ["## Clean data", _differences(clean)]
    return "\n\n".join(sections) + "\n"


def _differences(outcomes: Sequence[Outcome]) -> str:
    rankings = _rankings([line for outcome in outcomes for line in outcome.summary])
    rows = []
    for outcome in outcomes:
        e = outcome.experiment
        lines = {
            (line["protocol"], line["batch_size"], line["n"], line["ranking"]): line
            for line in outcome.summary
        }
        for protocol, batch_size, n in dict.fromkeys(sorted(key[:3] for key in lines)):
            if n == 0 or (e.n_flipped and n != e.n_flipped):
                continue
            plain = lines[protocol, batch_size, 0, NONE]
            rows.append(
                [
                    e.name,
                    str(batch_size),
                    REDONE[protocol],
                    str(plain["seeds"]),
                    f"{n:,} of {e.n_training:,}",
                    _level(plain),
                    *(_difference(lines.get((protocol, batch_size, n, r))) for r in rankings),
                ]
            )
    head = ["experiment", "batch", "retrained", "seeds", "removed", "no removal (%)"]
    return _markdown([*head, *(NAMES[ranking] for ranking in rankings)], rows)


def _level(line: Line) -> str:
    mean, std = 100 * line["accuracy_mean"], 100 * line["accuracy_std"]
    return f"{mean:.2f}" if math.isnan(std) else f"{mean:.2f} ± {std:.2f}"


def _difference(line: Line | None) -> str:
    if line is None:
        return ""
    mean, low, high = (100 * line[f"accuracy_minus_none{end}"] for end in ("", "_low", "_high"))
    if math.isnan(low):
        return f"{mean:+.2f}"
    text = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def _found(outcomes: Sequence[Outcome]) -> str:
    rankings = _rankings([line for outcome in outcomes for line in outcome.detection])
    rows = []
    for outcome in outcomes:
        lines = [line for line in outcome.detection if line["k"] == line["flipped"]]
        for batch_size in sorted({line["batch_size"] for line in lines}):
            cells = []
            for ranking in rankings:
                key = (batch_size, ranking)
                own = [line for line in lines if (line["batch_size"], line["ranking"]) == key]
                cells.append(
                    f"{100 * _mean(own, 'precision'):.0f}; {_mean(own, 'roc_auc'):.3f}"
                    if own
                    else ""
                )
            rows.append([outcome.experiment.name, str(batch_size), *cells])
    return _markdown(["experiment", "batch", *(NAMES[ranking] for ranking in rankings)], rows)


def _rankings(lines: Sequence[Line]) -> list[str]:
    there = {line["ranking"] for line in lines} - {NONE}
    return [ranking for ranking in ORDER if ranking in there]


def _mean(lines: Sequence[Line], name: str) -> float:
    return sum(line[name] for line in lines) / len(lines)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
