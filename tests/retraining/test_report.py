"""The words and tables at the end, against the numbers that went in; the folder."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from nnabla_influence.retraining.plan import NONE
from nnabla_influence.retraining.removal_curve import Curve, write_results
from nnabla_influence.retraining.report import summary_lines, summary_markdown
from nnabla_influence.retraining.tables import read_results, summarize
from tests.retraining import made_up

Gains = dict[tuple[str, int], list[float]]


def lines_with(gains: Gains, **more) -> list[dict]:
    """Trainings with these accuracies (or losses) above that of their seed without removal."""
    n_seeds = max(len(values) for values in gains.values())
    level = [0.5 + seed / 10 for seed in range(n_seeds)]
    return [
        {"seed": seed, "ranking": ranking, "n": n}
        | {"accuracy": level[seed] + value, "loss": 1 + value, **more}
        for (ranking, n), values in {(NONE, 0): [0.0] * n_seeds, **gains}.items()
        for seed, value in enumerate(values)
    ]


def summary_of(lines: list[dict]):
    return summarize(made_up.frame(*lines))


def lines_of(lines: list[dict], detection=None) -> list[str]:
    return summary_lines(summary_of(lines), detection)


TWO_SEEDS = (
    "The intervals of two seeds mean little, since two differences are often close by"
    " chance; use at least five seeds."
)
ONE_WITHOUT_WIDTH = (
    "1 of {} intervals has no width: the seeds agree by chance; use more seeds, or more test rows."
)


# Differences .01 and .03: mean .02, half an interval t * sd / sqrt(2) = 12.7062 * .01 = .127062;
# .0100 and .0102: mean .0101, half an interval .00127062.
GAINS = {
    ("final", 5): [0.01, 0.03],
    ("final", 1200): [0.01, 0.0102],
    ("loss", 5): [-0.01, -0.0102],
    ("loss", 1200): [0.0, 0.0],
    ("random", 5): [0.01, -0.01],
    ("random", 1200): [0.0, 0.02],
}


def test_the_terminal():
    assert lines_of(lines_with(GAINS)) == [
        "Trained again from the start, batch size 32, 2 seeds",
        "Test accuracy (%), mean +- standard deviation over the seeds:",
        "removed rows          final           loss         random",
        "0             55.00 +- 7.07  55.00 +- 7.07  55.00 +- 7.07",
        "5             57.00 +- 8.49  53.99 +- 7.06  55.00 +- 5.66",
        "1,200         56.01 +- 7.09  55.00 +- 7.07  56.00 +- 8.49",
        "Difference to no removal of the same seed, in percentage points, mean [95 % interval];"
        " between ** where the interval lies wholly on one side of 0:",
        "removed rows                     final                      loss                  random",
        "5               +2.00 [-10.71, +14.71]  **-1.01 [-1.14, -0.88]**  +0.00 [-12.71, +12.71]",
        "1,200         **+1.01 [+0.88, +1.14]**      +0.00 [+0.00, +0.00]  +1.00 [-11.71, +13.71]",
        "Removing the 1,200 most harmful rows by final raised the test accuracy over 2 seeds by"
        " 1.01 percentage points (95 % interval 0.88 to 1.14); as many random rows: +1.00"
        " (-11.71 to +13.71).",
        "That is the best of 4 differences: 1 raised the test accuracy with the whole interval, 1"
        " lowered it; the best of many, chosen by the test data themselves, is too optimistic.",
        TWO_SEEDS,
        ONE_WITHOUT_WIDTH.format(6),
    ]


def test_markdown():
    text = summary_markdown(summary_of(lines_with(GAINS)))
    assert "### Trained again from the start, batch size 32, 2 seeds\n" in text
    names = "| removed rows | final parameters (Suzuki et al.) | training loss | random |"
    levels, differences = text.split(names)[1:]
    assert levels.splitlines()[1:5] == [
        "| --- | ---: | ---: | ---: |",
        "| 0 | 55.00 ± 7.07 | 55.00 ± 7.07 | 55.00 ± 7.07 |",
        "| 5 | 57.00 ± 8.49 | 53.99 ± 7.06 | 55.00 ± 5.66 |",
        "| 1,200 | 56.01 ± 7.09 | 55.00 ± 7.07 | 56.00 ± 8.49 |",
    ]
    assert differences.splitlines()[2:4] == [
        "| 5 | +2.00 [-10.71, +14.71] | **-1.01 [-1.14, -0.88]** | +0.00 [-12.71, +12.71] |",
        "| 1,200 | **+1.01 [+0.88, +1.14]** | +0.00 [+0.00, +0.00] | +1.00 [-11.71, +13.71] |",
    ]
    assert "Removing the 1,200 most harmful rows by final raised" in differences
    assert "Flipped" not in text


def test_of_a_loss_less_is_better():
    lines = lines_of(lines_with(GAINS, accuracy=None, protocol="last"))
    assert lines[0] == "Last epoch retrained, batch size 32, 2 seeds"
    assert "**-0.0101 [-0.0114, -0.0088]**" in lines[8]
    best, many = lines[10:12]
    assert best.startswith("Removing the 5 most harmful rows by loss lowered the mean test loss")
    assert "by 0.0101 (95 % interval 0.0088 to 0.0114); as many random rows: +0.0000" in best
    assert "1 lowered the mean test loss with the whole interval, 1 raised it" in many


def test_nothing_helped():
    harmful = {("final", 5): [-0.01, -0.0102], ("loss", 5): [0.0, 0.1], ("random", 5): [0.1, 0.1]}
    *_, words, few, narrow = lines_of(lines_with(harmful))
    assert "did not help: of 2 intervals none lies wholly above 0, and 1 on the other" in words
    assert (few, narrow) == (TWO_SEEDS, ONE_WITHOUT_WIDTH.format(3))


def test_what_is_missing_is_empty():
    some = [line for line in lines_with(GAINS) if line["ranking"] not in (NONE, "random")]
    some = [line for line in some if (line["ranking"], line["n"]) != ("loss", 5)]
    assert "| 5 | 57.00 ± 8.49 |  |" in summary_markdown(summary_of(some))
    assert "| 5 |  |  |" in summary_markdown(summary_of(some))
    # Random removal is missing alone: the sentence ends before it.
    some = [line for line in lines_with(GAINS) if line["ranking"] != "random"]
    assert any(line.endswith("(95 % interval 0.88 to 1.14).") for line in lines_of(some))
    # Seeds that differ in number.
    some = lines_with({("final", 5): [0.1, 0.2, 0.3], ("loss", 5): [0.1, 0.2]})
    assert lines_of(some)[0].endswith("2 to 3 seeds")


def test_a_training_that_diverged_is_reported():
    some = lines_with(GAINS)
    some[-1]["loss"] = math.nan
    assert lines_of(some)[-1].startswith("Trainings diverged: 1 of 7 mean test losses")


def test_as_many_rows_as_are_flipped():
    detection = made_up.detections(seeds=(0, 1), flipped=1200, removed=(5,))
    few = {place: values for place, values in GAINS.items() if place != ("final", 1200)}
    for gains, words in (
        (GAINS, "(1,200) helped by final; not by loss, random."),
        (few, "(1,200) did not help by loss, random."),
    ):
        lines = lines_of(lines_with(gains), detection)
        assert f"Removing as many rows as labels are flipped {words}" in lines
    at = lines.index("Flipped labels found, batch size 32")
    assert lines[at + 1].startswith("Of 3,000 rows 1,200 are flipped; found: the share of them")
    assert lines[at + 1].endswith("among the first 1,200 of a ranking, by chance 40.0 %.")
    of_final = detection[(detection["ranking"] == "final") & (detection["k"] == 1200)]
    found, auc = 100 * of_final["precision"], of_final["roc_auc"]
    assert lines[at + 3].split() == [
        *("final", f"{found.mean():.1f}", "+-", f"{found.std():.1f}"),
        *(f"{auc.mean():.3f}", "+-", f"{auc.std():.3f}"),
    ]


def test_flips_that_differ_from_seed_to_seed():
    """By hand: 5 of 60 and 9 of 90 rows; chance is the mean of 8.33 % and 10 %."""
    flips = {0: (5, 60), 1: (9, 90)}
    some = pd.concat(
        made_up.detections(seeds=(seed,), removed=(5,), rows=rows, flipped=flipped)
        for seed, (flipped, rows) in flips.items()
    )
    lines = lines_of(lines_with(GAINS), some)
    words = (
        "Of 60 to 90 rows 5 to 9 are flipped, differing from seed to seed; found: the share of them"
        " among as many first rows of a ranking, by chance 9.2 %."
    )
    # Each seed at as many rows as it has flipped.
    found = [
        some[(some["ranking"] == "final") & (some["seed"] == seed) & (some["k"] == k)]
        for seed, (k, _) in flips.items()
    ]
    mean = 100 * pd.concat(found)["precision"].mean()
    assert lines[lines.index(words) + 2].split()[1] == f"{mean:.1f}"


def test_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: path.touch())
    results, found = made_up.results(), made_up.detections()
    costs = pd.DataFrame({"seed": [0]})
    for name, detection in (("a", found), ("b", None)):
        (tmp_path / name).mkdir()
        write_results(tmp_path / name, Curve(results, detection, costs, None), "Digits")

    def files(folder: Path) -> set[str]:
        paths = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix() for path in paths}

    assert sorted(files(tmp_path / "a")) == [
        "costs.csv",
        "detection.csv",
        *sorted(
            f"figures/{name}.{form}"
            for name in ("accuracy_all", "accuracy_difference_all", "detection")
            for form in ("png", "svg")
        ),
        *("results.csv", "summary.csv", "table.md"),
    ]
    summary = summarize(read_results(tmp_path / "a" / "results.csv"))
    text = summary_markdown(summary, found)
    assert (tmp_path / "a" / "table.md").read_text("utf-8") == text
    assert not {name for name in files(tmp_path / "b") if "detection" in name}
