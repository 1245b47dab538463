"""The results as Markdown tables."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from nnabla_influence.files import replacing_file

FIELDS = (
    *("case", "data", "noise", "network", "draw", "accuracy"),
    *("change", "order", "wrong_labels", "right"),
)
VARIANT_DRAWS = (40, 41)
"""Of the digits: on the first, variants were looked at; the second says if that holds."""

SEED, RANDOM, INFLUENCE = "another seed", "random", "influence"
LESS_DAMPED = "less damped"
RIVALS = (
    "gradients",
    "nearest, predicted class",
    "loss, predicted class",
    "loss",
    "nearest, other class",
)
"""What else could order the training rows; the first two for LeNet, too."""
OWN = (LESS_DAMPED, "influence, 2 %", "influence, relabelled")
LESS_DAMPED_2 = "less damped, 2 %"
VARIANTS = (
    "less damped, predicted class",
    "less damped, on the margin",
    "less damped, mean of 3 trainings",
    "still less damped",
    "more damped",
    "damped by 1 / sum of rates",
    "gradients",
    "exact, all steps",
    "final, all steps",
)


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What is known of a training.

    Attributes:
        cell: Data, noise and network.
        draw: Of the cell.
        accuracy: Of the test rows, in percent.
        right: By change and order of the rows, whether each evaluated row is right after it, float
            (R,); mean over trainings, where the change was drawn several times.
        wrong_labels: By change, of the removed rows in percent.
    """

    cell: tuple[str, str, str]
    draw: int
    accuracy: float
    right: Mapping[tuple[str, str], np.ndarray]
    wrong_labels: Mapping[str, float]


Cases = Sequence[CaseResult]


def read_results(path: Path) -> list[CaseResult]:
    """Read ``results.csv``."""
    lines: dict[str, dict[tuple[str, str], dict[str, str]]] = {}
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            lines.setdefault(line["case"], {})[line["change"], line["order"]] = line
    return [_case(list(of_case.values())) for of_case in lines.values()]


def _case(lines: Sequence[Mapping[str, str]]) -> CaseResult:
    drawn: dict[tuple[str, str], list[np.ndarray]] = {}
    found: dict[str, list[float]] = {}
    for line in lines:
        change = line["change"]
        if change.startswith((SEED, RANDOM)):
            change = change.rsplit(" ", 1)[0]
        right = np.array([float(one) for one in line["right"]])
        drawn.setdefault((change, line["order"]), []).append(right)
        if line["wrong_labels"]:
            found.setdefault(change, []).append(float(line["wrong_labels"]))
    first = lines[0]
    return CaseResult(
        cell=(first["data"], first["noise"], first["network"]),
        draw=int(first["draw"]),
        accuracy=float(first["accuracy"]),
        right={key: np.mean(several, axis=0) for key, several in drawn.items()},
        wrong_labels={change: float(np.mean(several)) for change, several in found.items()},
    )


def write_table(results: Path, path: Path) -> None:
    """Write the tables of ``results.csv``."""
    known = read_results(results)
    cases = [case for case in known if case.draw not in VARIANT_DRAWS]
    cells = {", ".join(cell): _of(cases, cell) for cell in sorted({case.cell for case in cases})}
    groups = {**cells, **{f"all of {data}": _all_of(cases, data) for data in ("digits", "fashion")}}
    changes = (INFLUENCE, *OWN, *RIVALS, RANDOM)
    text = [
        "Written by `run.py` from `results.csv`. Wrongly predicted test rows that are right after a"
        " retraining, in percent; in brackets the exact 95 % interval of so many rows, as if they"
        " were independent, though those of a training share it.",
        "## The bars",
        "Without the top 1 % of opponents at least 50, without a random 1 % less than 10.",
        _markdown(
            [
                *("", "trainings", "rows", "test accuracy"),
                *("opponents", "random"),
                *("opponents, new order", "random, new order", "another seed"),
            ],
            [
                [
                    name,
                    str(len(some)),
                    str(sum(len(case.right[SEED, "new"]) for case in some)),
                    f"{np.mean([case.accuracy for case in some]):.1f}",
                    _share(some, INFLUENCE, "kept"),
                    _share(some, RANDOM, "kept", bare=True),
                    _share(some, INFLUENCE, "new"),
                    _share(some, RANDOM, "new", bare=True),
                    _share(some, SEED, "new", bare=True),
                ]
                for name, some in groups.items()
            ],
        ),
        "## Only rows that are wrong from every other seed",
        _markdown(
            ["", "rows", "opponents", "random", "opponents, new order", "random, new order"],
            [
                [
                    name,
                    str(sum(int(_stubborn(case).sum()) for case in some)),
                    *(
                        _share(some, change, order, stubborn=True, bare=change == RANDOM)
                        for order in ("kept", "new")
                        for change in (INFLUENCE, RANDOM)
                    ),
                ]
                for name, some in groups.items()
            ],
        ),
        "## What else could be removed",
        _markdown(
            ["", *changes],
            [
                [name, *(_share(some, change, "kept", bare=True) for change in changes)]
                for name, some in groups.items()
            ],
        ),
        "Influence minus each, mean over the trainings that have both and its 95 % interval"
        " (Student t):",
        _markdown(
            ["", *changes[1:]],
            [
                [name, *(_difference(some, change) for change in changes[1:])]
                for name, some in (
                    *((f"all of {data}", _all_of(cases, data)) for data in ("digits", "fashion")),
                    *((network, _all_of(cases, network)) for network in ("MLP", "LeNet")),
                    *((noise, _all_of(cases, noise)) for noise in ("flips", "pairs")),
                    ("all", cases),
                )
            ],
        ),
        "## Wrong labels among the rows removed",
        _markdown(
            ["", *changes],
            [
                [name, *(_wrong_labels(some, change) for change in changes)]
                for name, some in groups.items()
            ],
        ),
        "## Variants of the influence, on the digits and the MLP",
        _variants([case for case in known if case.draw in VARIANT_DRAWS]),
    ]
    with replacing_file(path) as temporary:
        temporary.write_text("\n\n".join(text) + "\n", encoding="utf-8")


def _of(cases: Cases, cell: tuple[str, str, str]) -> list[CaseResult]:
    return [case for case in cases if case.cell == cell]


def _all_of(cases: Cases, name: str) -> list[CaseResult]:
    return [case for case in cases if name in case.cell]


def _stubborn(case: CaseResult) -> np.ndarray:
    """Return which rows no other seed predicts rightly."""
    return np.asarray(case.right[SEED, "new"] == 0)


def _share(
    cases: Cases, change: str, order: str, *, stubborn: bool = False, bare: bool = False
) -> str:
    known = [case for case in cases if (change, order) in case.right]
    if not known:
        return "-"
    right = np.concatenate(
        [case.right[change, order][_stubborn(case) if stubborn else slice(None)] for case in known]
    )
    if not len(right):
        return "-"
    if bare:
        return f"{100 * right.mean():.0f}"
    interval = stats.binomtest(round(right.sum()), len(right)).proportion_ci()
    return f"{100 * right.mean():.0f} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def _difference(cases: Cases, change: str) -> str:
    both = [c for c in cases if (change, "kept") in c.right and (INFLUENCE, "kept") in c.right]
    differences = np.array(
        [100 * (c.right[INFLUENCE, "kept"] - c.right[change, "kept"]).mean() for c in both]
    )
    if len(differences) < 2:
        return "-"
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    half = error * stats.t.ppf(0.975, len(differences) - 1)
    mean = differences.mean()
    return f"{mean:+.0f} [{mean - half:.0f}, {mean + half:.0f}]"


def _wrong_labels(cases: Cases, change: str) -> str:
    known = [case.wrong_labels[change] for case in cases if change in case.wrong_labels]
    return f"{np.mean(known):.0f}" if known else "-"


def _variants(cases: Cases) -> str:
    looked, confirmed = ([c for c in cases if c.draw == draw] for draw in VARIANT_DRAWS)
    return _markdown(
        ["", "first draw", "second draw", "wrong labels among the rows removed"],
        [
            [
                change,
                _share(looked, change, "kept"),
                _share(confirmed, change, "kept"),
                _wrong_labels(cases, change),
            ]
            for change in (INFLUENCE, LESS_DAMPED, LESS_DAMPED_2, *VARIANTS, RANDOM)
        ],
    )


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
