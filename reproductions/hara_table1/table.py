"""The results of the cells as a tidy CSV and as Markdown tables beside the paper's numbers."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnabla_influence.files import replacing_file

Cells = Mapping[tuple[str, str, int], Mapping[str, Any]]
"""By problem, model and seed, what `cell.Cell.as_json` gives."""

PAPER_TAU = {  # SGD-influence, Koh and Liang; for "fair" the paper's are of Adult
    ("fair", "logreg"): (0.93, 0.85),
    ("mnist", "logreg"): (0.95, 0.70),
    ("fair", "dnn"): (0.75, 0.54),
    ("mnist", "dnn"): (0.45, 0.27),
}
TITLES = {
    ("fair", "logreg"): "Fair, logistic regression",
    ("mnist", "logreg"): "MNIST 1 v 7, logistic regression",
    ("fair", "dnn"): "Fair, DNN 8-8",
    ("mnist", "dnn"): "MNIST 1 v 7, DNN 8-8",
}
WHOLE = ("exact, all epochs", "final, all epochs", "Koh and Liang", "Koh and Liang, 100 steps")
LAST = ("exact, last epoch", "final, last epoch")
LARGE_DECAY = 1
"""With a larger one, the steps turn the parameters round or wipe them out."""

FACTS = (
    "features",
    "alpha",
    "test_error",
    "float32_difference",
    "damping",
    "cg_iterations",
    "cg_residual",
    "least_eigenvalue",
)


def write_results(path: Path, cells: Cells) -> None:
    """Write one line for each cell and comparison."""
    columns = ("problem", "model", "seed", "score", "truth", "tau", "jaccard")
    rows = [
        [*key, row["score"], row["truth"], _cell(row["tau"]), _cell(row["jaccard"])]
        for key, cell in cells.items()
        for row in cell["agreement"]
    ]
    _write_csv(path, columns, rows)


def write_facts(path: Path, cells: Cells) -> None:
    """Write one line for each cell: what was trained, and how well the parts were computed."""
    rows = [
        [*key, *(_cell(cell["facts"][name]) for name in FACTS), round(sum(_seconds(cell)), 1)]
        for key, cell in cells.items()
    ]
    _write_csv(path, ("problem", "model", "seed", *FACTS, "seconds"), rows)


def write_table(path: Path, cells: Cells) -> None:
    """Write the Markdown tables."""
    seeds = len({seed for _, _, seed in cells})
    moderate = {
        key: cell
        for key, cell in cells.items()
        if key[1] == "logreg" and cell["facts"]["alpha"] < LARGE_DECAY
    }
    text = "\n\n".join(
        [
            f"Mean ± standard deviation over {seeds} seeds. Written by `run.py`; every number is in"
            " `results.csv`.",
            "## Against leave-one-out over the whole run: the paper's question",
            _agreement(cells, "tau", "whole run", WHOLE, paper=True),
            "Kendall tau. The paper's two columns are of its own data: Adult where Fair stands.",
            _agreement(cells, "jaccard", "whole run", WHOLE),
            "Jaccard index of the ten lowest and ten highest rows together.",
            f"### Logistic regression with a weight decay below {LARGE_DECAY}",
            _agreement(moderate, "tau", "whole run", WHOLE, paper=True),
            f"Kendall tau over the {_counts(moderate)} seeds where cross-validation chose one.",
            "## Against leave-one-out within the last epoch",
            _agreement(cells, "tau", "last epoch", LAST),
            "Kendall tau.",
            _agreement(cells, "jaccard", "last epoch", LAST),
            "Jaccard index.",
            "## Scores of the last epoch against leave-one-out over the whole run",
            _agreement(cells, "tau", "whole run", LAST),
            "Kendall tau.",
            "## Exact scores against what they are: the derivative by the row's weight",
            _agreement(cells, "tau", "derivative, whole run", WHOLE[:1], worst=True),
            "Kendall tau with finite differences of the whole training, mean (and the worst seed).",
            _agreement(cells, "tau", "derivative, last epoch", LAST[:1], worst=True),
            "The same for the last epoch.",
            "## How it was computed",
            _computed(cells),
        ]
    )
    with replacing_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _agreement(
    cells: Cells,
    measure: str,
    truth: str,
    scores: Sequence[str],
    *,
    paper: bool = False,
    worst: bool = False,
) -> str:
    show = _mean_and_worst if worst else _mean_and_deviation
    header = ["", *scores, *(("paper, exact", "paper, Koh and Liang") if paper else ())]
    lines = []
    for column in _columns(cells):
        values = [
            [
                row[measure]
                for cell in _of(cells, column)
                for row in cell["agreement"]
                if (row["score"], row["truth"]) == (name, truth)
            ]
            for name in scores
        ]
        published = [f"{value:.2f}" for value in PAPER_TAU[column]] if paper else []
        lines.append([TITLES[column], *map(show, values), *published])
    return _markdown(header, lines)


def _computed(cells: Cells) -> str:
    def largest(name: str, form: str) -> Callable[[Sequence[Any]], str]:
        return lambda facts: form.format(max(fact[name] for fact in facts))

    def least_eigenvalue(facts: Sequence[Any]) -> str:
        known = [f["least_eigenvalue"] for f in facts if f["least_eigenvalue"] is not None]
        return f"{min(known):.3f}" if known else "not below 0"

    rows: Mapping[str, Callable[[Sequence[Any]], str]] = {
        "features": largest("features", "{}"),
        "test error, mean": lambda facts: f"{np.mean([f['test_error'] for f in facts]):.3f}",
        "weight decay, smallest to largest": lambda facts: " to ".join(
            f"{end(f['alpha'] for f in facts):.2g}" for end in (min, max)
        ),
        "Koh and Liang: damping": lambda facts: (
            "the weight decay" if facts[0]["damping"] == facts[0]["alpha"] else "1.0"
        ),
        "Koh and Liang: the Hessian's least eigenvalue": least_eigenvalue,
        "conjugate gradients: most iterations": largest("cg_iterations", "{}"),
        "conjugate gradients: largest relative residual": largest("cg_residual", "{:.1e}"),
        "nnabla's float32 from the float64 twin, parameters at most": largest(
            "float32_difference", "{:.1e}"
        ),
    }
    columns = list(_columns(cells))
    facts = {column: [cell["facts"] for cell in _of(cells, column)] for column in columns}
    lines = [[name, *(show(facts[column]) for column in columns)] for name, show in rows.items()]
    lines.append(
        [
            "seconds of a seed, mean",
            *(f"{np.mean([sum(_seconds(c)) for c in _of(cells, k)]):.1f}" for k in columns),
        ]
    )
    return _markdown(["", *(TITLES[column] for column in columns)], lines)


def _columns(cells: Cells) -> Iterable[tuple[str, str]]:
    present = {(problem, model) for problem, model, _ in cells}
    return [column for column in TITLES if column in present]


def _counts(cells: Cells) -> str:
    return " and ".join(str(len(_of(cells, column))) for column in _columns(cells))


def _of(cells: Cells, column: tuple[str, str]) -> list[Mapping[str, Any]]:
    return [cell for key, cell in cells.items() if key[:2] == column]


def _mean_and_deviation(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "diverges"
    text = f"{np.mean(known):.2f}"
    if len(known) > 1:
        text += f" ± {np.std(known, ddof=1):.2f}"
    diverged = len(values) - len(known)
    return text + (f" ({diverged} diverge)" if diverged else "")


def _mean_and_worst(values: Sequence[float]) -> str:
    return f"{np.mean(values):.4f} ({min(values):.4f})"


def _seconds(cell: Mapping[str, Any]) -> Iterable[float]:
    return list(cell["seconds"].values())


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def _markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with (
        replacing_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
