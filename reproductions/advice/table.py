"""The results as Markdown tables: the bars that were set beforehand, then every mean."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from nnabla_influence.files import replacing_file
from reproductions.advice.baselines import BASELINES
from reproductions.advice.cases import CHOSEN_ON, DATA, NOISES, SETTINGS

FIELDS = (
    *("case", "data", "noise", "draw", "training", "change"),
    *("n", "bad", "accuracies", "seconds", "claimed"),
)
GRID = (0.025, 0.05, 0.1, 0.15, 0.2)
"""Parts of the rows that are removed by the advice's order, to find the best one in hindsight."""

RIVALS = (*BASELINES, "validation too")
COLUMNS = ("truth", "truth, relabelled", "advice", "order, as many", *RIVALS)
"""Changes whose gains are shown."""
OWN = ("advice, removed", "advice, relabelled")
"""The rows that the advice would change, all treated alike."""


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What is known of a case.

    Attributes:
        data: Of `cases.DATA`.
        noise: Of `cases.NOISES`.
        training: Name of the setting.
        accuracies: By change, test accuracy of each of the judge's trainings, in points.
        n: By change, how many rows it changes.
        bad: By change, how many of them are bad.
        seconds: That the advice took; None where it was not asked.
        claimed: What it says that it gains, in points; None where it says nothing.
    """

    data: str
    noise: str
    training: str
    accuracies: Mapping[str, np.ndarray]
    n: Mapping[str, int]
    bad: Mapping[str, int]
    seconds: float | None
    claimed: float | None

    def gains(self, change: str, over: str = "nothing") -> np.ndarray | None:
        """Return what a change gains over another one from each start; None if not known."""
        if change not in self.accuracies or over not in self.accuracies:
            return None
        return self.accuracies[change] - self.accuracies[over]

    def gain(self, change: str, over: str = "nothing") -> float | None:
        """Return the mean of `gains`."""
        gains = self.gains(change, over)
        return None if gains is None else float(gains.mean())

    def best_gain(self) -> float | None:
        """Return the gain of the best n in the advice's order, 0 included.

        Which n is best is found for each start by the others, since the greatest of several noisy
        figures is too high.
        """
        changes = [change for change in self.accuracies if change.startswith("order, ")]
        if not changes:
            return None
        gains = np.array([np.zeros_like(self.accuracies["nothing"]), *map(self.gains, changes)])
        n_starts = gains.shape[1]
        if n_starts == 1:
            return float(gains.max())
        found = []
        for start in range(n_starts):
            best = np.delete(gains, start, axis=1).mean(1).argmax()
            found.append(gains[best, start])
        return float(np.mean(found))


Cases = Sequence[CaseResult]


def read_results(path: Path) -> list[CaseResult]:
    """Read ``results.csv``."""
    lines: dict[str, dict[str, dict[str, str]]] = {}
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            lines.setdefault(line["case"], {})[line["change"]] = line
    results = []
    for changes in lines.values():
        first, advice = next(iter(changes.values())), changes.get("advice", {})
        results.append(
            CaseResult(
                data=first["data"],
                noise=first["noise"],
                training=first["training"],
                accuracies={
                    change: np.array(line["accuracies"].split(), float)
                    for change, line in changes.items()
                },
                n={change: int(line["n"]) for change, line in changes.items()},
                bad={change: int(line["bad"]) for change, line in changes.items()},
                seconds=_optional(advice.get("seconds")),
                claimed=_optional(advice.get("claimed")),
            )
        )
    return results


def write_table(results: Path, path: Path) -> None:
    """Write the tables of ``results.csv``."""
    cases = read_results(results)
    chosen = [case for case in cases if case.data in CHOSEN_ON]
    confirming = [case for case in cases if case.data not in CHOSEN_ON]
    parts = {
        f"chosen on: {', '.join(CHOSEN_ON)}": chosen,
        "confirmed on: the others": confirming,
        "all": cases,
    }
    text = [
        "Written by `run.py` from `results.csv`. Gains are of test accuracy over training on all"
        " rows as they are, in points: mean over the cases and its 95 % interval.",
        "## The bars",
        _markdown(["", *parts], _bars(list(parts.values()))),
        "## The advice against its rivals, all data sets",
        _by_noise(cases, [("advice", other) for other in ("order, as many", *RIVALS)]),
        "## Removed or relabelled: the advice's own rows",
        _by_noise(cases, [(OWN[1], OWN[0]), ("advice", OWN[0]), ("advice", OWN[1])]),
        "## Of the gain of the best n in hindsight",
        _markdown(
            ["", *parts],
            [
                [noise, *(_of_best(_where(part, noise=noise)) for part in parts.values())]
                for noise in NOISES[1:]
            ],
        ),
    ]
    for title, some in (("the data sets that confirm", confirming), ("all data sets", cases)):
        groups = {noise: _where(some, noise=noise) for noise in NOISES}
        groups["all that are not clean"] = [case for case in some if case.noise != "clean"]
        text += [f"## By kind of noise, {title}", _gains(groups)]
    text += [
        "## By solver, all that are not clean",
        _gains({s.name: _where(parts["all"], training=s.name, clean=False) for s in SETTINGS}),
        "## By data set and kind of noise",
        _gains(
            {
                f"{data}, {noise}": _where(cases, data=data, noise=noise)
                for data in DATA
                for noise in NOISES
            }
        ),
        "## Bad rows among as many rows as are bad, by each order (%)",
        _found(cases),
    ]
    with replacing_file(path) as temporary:
        temporary.write_text("\n\n".join(text) + "\n", encoding="utf-8")


def _where(
    cases: Cases,
    data: str | None = None,
    noise: str | None = None,
    training: str | None = None,
    clean: bool = True,
) -> list[CaseResult]:
    return [
        case
        for case in cases
        if data in (None, case.data)
        and noise in (None, case.noise)
        and training in (None, case.training)
        and (clean or case.noise != "clean")
    ]


def _bars(parts: Sequence[Cases]) -> list[list[str]]:
    figures: dict[str, Callable[[Cases], str]] = {
        "cases": lambda cases: str(len(cases)),
        "advice gains 0 or more": lambda cases: _not_worse(cases, allowed=0),
        "advice is not worse beyond the judge's chance (97.5 %)": _not_worse,
        '"none" where nothing is bad': _none_where_clean,
        "of the best n's gain, all that are not clean": _of_best,
        "the gain that it claims minus the real one": _overclaimed,
        "advice minus all rows, both with the validation rows in training": (
            lambda cases: _mean(_differences(cases, "advice, validation too", "validation too"))
        ),
        "its rows relabelled minus removed, systematic noise": lambda cases: _mean(
            _differences(_where(cases, noise="systematic"), *OWN[::-1])
        ),
        "seconds of an advice, median": _seconds,
    }
    return [[name, *map(figure, parts)] for name, figure in figures.items()]


def _advised(cases: Cases) -> list[CaseResult]:
    return [case for case in cases if case.seconds is not None]


def _differences(cases: Cases, change: str, other: str) -> Iterator[float | None]:
    return (case.gain(change, over=other) for case in cases)


def _not_worse(cases: Cases, allowed: float = 1.96) -> str:
    """Return for how many the gain is above -``allowed`` standard errors of such gains."""
    gains = [gains for case in cases if (gains := case.gains("advice")) is not None]
    # Of all changed cases together, since three trainings say little of their own spread.
    spreads = [each.var(ddof=1) / len(each) for each in gains if len(each) > 1 and each.any()]
    error = float(np.sqrt(np.mean(spreads))) if spreads else 0.0
    return _percent([bool(each.mean() >= -allowed * error) for each in gains])


def _none_where_clean(cases: Cases) -> str:
    return _percent([case.n["advice"] == 0 for case in _advised(_where(cases, noise="clean"))])


def _of_best(cases: Cases) -> str:
    pairs = [(c.gain("advice"), c.best_gain()) for c in _where(cases, clean=False)]
    known = np.array([pair for pair in pairs if None not in pair], float)
    if not len(known):
        return "-"
    advice, best = known.mean(0)
    share = f"{100 * advice / best:.0f} %" if best > 0 else "-"
    return f"{share} ({advice:+.2f} of {best:+.2f})"


def _overclaimed(cases: Cases) -> str:
    claims = [(c.claimed, c.gain("advice")) for c in _advised(cases) if c.n["advice"]]
    return _mean(
        None if claimed is None or real is None else claimed - real for claimed, real in claims
    )


def _seconds(cases: Cases) -> str:
    known = [case.seconds for case in cases if case.seconds is not None]
    return f"{np.median(known):.0f}" if known else "-"


def _by_noise(cases: Cases, pairs: Sequence[tuple[str, str]]) -> str:
    """Return a table of the differences of pairs of changes."""
    groups = {noise: _where(cases, noise=noise) for noise in NOISES}
    groups["all"] = list(cases)
    return _markdown(
        ["", *(f"{one} minus {other}" for one, other in pairs)],
        [
            [name, *(_mean(_differences(some, *pair)) for pair in pairs)]
            for name, some in groups.items()
        ],
    )


def _gains(groups: Mapping[str, Cases]) -> str:
    return _markdown(
        ["", "cases", "accuracy", *COLUMNS],
        [
            [
                name,
                str(len(cases)),
                f"{np.mean([case.accuracies['nothing'].mean() for case in cases]):.1f}",
                *(_mean(case.gain(column) for case in cases) for column in COLUMNS),
            ]
            for name, cases in groups.items()
            if cases
        ],
    )


def _found(cases: Cases) -> str:
    orders = ("advice", "order, as many", *BASELINES)
    rows = []
    for noise in NOISES[1:]:
        shares = []
        for order in orders:
            some = [c for c in _where(cases, noise=noise) if c.n.get(order)]
            found = [100 * c.bad[order] / c.n[order] for c in some]
            shares.append(f"{np.mean(found):.0f}" if found else "-")
        rows.append([noise, *shares])
    return _markdown(["", "advice (of its rows)", *orders[1:]], rows)


def _mean(values: Iterable[float | None]) -> str:
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return "-"
    if len(known) == 1:
        return f"{known[0]:+.2f}"
    error = known.std(ddof=1) / np.sqrt(len(known))
    half = error * stats.t.ppf(0.975, len(known) - 1)
    return f"{known.mean():+.2f} [{known.mean() - half:.2f}, {known.mean() + half:.2f}]"


def _percent(holds: Sequence[bool]) -> str:
    return f"{100 * np.mean(holds):.0f} % of {len(holds)}" if holds else "-"


def _optional(text: str | None) -> float | None:
    return float(text) if text else None


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
