"""The words and tables at the end, against the numbers that went in; the folder."""

from __future__ import annotations

import math
import subprocess
import sys
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
    "The intervals of two seeds mean little, since two differences are close to each other by"
    " chance often enough; use at least five seeds."
)
ONE_WITHOUT_WIDTH = (
    "1 of {} intervals has no width: the seeds happen to agree, which makes nothing certain; use"
    " more seeds, or more test rows."
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


def test_the_table_in_the_terminal():
    assert lines_of(lines_with(GAINS)) == [
        "Trained again from the start, batch size 32, 2 seeds; test accuracy without removal:"
        " 55.00 % +- 7.07",
        "Difference to no removal, in percentage points: mean +- half of the 95 % interval;"
        " + or - behind it: the interval lies wholly above or below 0",
        "  removed   final              loss              random",
        "        5   +2.00 +- 12.71     -1.01 +- 0.13 -   +0.00 +- 12.71",
        "    1,200   +1.01 +- 0.13 +    +0.00 +- 0.00     +1.00 +- 12.71",
        "Removing the 1,200 most harmful rows by final raised the test accuracy over 2 seeds by"
        " 1.01 percentage points (95 % interval 0.88 to 1.14); as many random rows: +1.00"
        " (-11.71 to +13.71).",
        "That is the best of 4 differences: 1 raised the test accuracy with the whole interval, 1"
        " lowered it; the best of many, chosen by the test data themselves, is too optimistic.",
        TWO_SEEDS,
        ONE_WITHOUT_WIDTH.format(6),
    ]


def test_of_a_loss_less_is_better():
    lines = lines_of(lines_with(GAINS, accuracy=None, protocol="last"))
    assert lines[0].startswith(
        "Last epoch retrained, batch size 32, 2 seeds; mean test loss without"
    )
    assert "        5   +0.0200 +- 0.1271     -0.0101 +- 0.0013 -" in lines[3]
    assert lines[5] == (
        "Removing the 5 most harmful rows by loss lowered the mean test loss over 2 seeds by"
        " 0.0101 (95 % interval 0.0088 to 0.0114); as many random rows: +0.0000 (-0.1271 to"
        " +0.1271)."
    )
    assert "1 lowered the mean test loss with the whole interval, 1 raised it" in lines[6]


def test_nothing_helped():
    harmful = {("final", 5): [-0.01, -0.0102], ("loss", 5): [0.0, 0.1], ("random", 5): [0.1, 0.1]}
    *_, words, few, narrow = lines_of(lines_with(harmful))
    assert words == (
        "Removal by a ranking did not help: of 2 intervals none lies wholly above 0, and 1 on the"
        " other side."
    )
    assert (few, narrow) == (TWO_SEEDS, ONE_WITHOUT_WIDTH.format(3))


@pytest.mark.parametrize("classes", [True, False])
def test_intervals_without_width_are_told_however_many_seeds_there_are(classes: bool):
    """Three test rows more for each seed: no interval, but no certainty either."""
    gains = {
        ("final", 5): [0.05] * 5,
        ("random", 5): [0.05] * 5,
        ("loss", 5): [0.0, 0.1, 0.05, 0.0, 0.02],
    }
    some = lines_with(gains, **({} if classes else {"accuracy": None}))
    summary = summary_of(some)
    words = (
        "2 of 3 intervals have no width: the seeds happen to agree, which makes nothing certain;"
        " use more seeds, or more test rows."
    )
    assert summary_lines(summary)[-1] == words
    assert words in summary_markdown(summary)
    assert TWO_SEEDS not in summary_lines(summary)


@pytest.mark.parametrize(("n_seeds", "told"), [(1, False), (2, True), (3, False)])
def test_two_seeds_are_few(n_seeds: int, told: bool):
    summary = summary_of(lines_with({("final", 5): [0.1, 0.2, 0.15][:n_seeds]}))
    assert (TWO_SEEDS in summary_lines(summary)) == told
    assert (TWO_SEEDS in summary_markdown(summary)) == told


def test_one_seed_tells_nothing():
    lines = lines_of(lines_with({("final", 5): [0.1]}))
    assert lines[0].endswith("one seed; test accuracy without removal: 50.00 %")
    assert lines[1] == "Difference to no removal, in percentage points"
    assert lines[3] == "        5   +10.00"
    assert lines[4] == (
        "There is no interval, which needs at least two seeds: whether removal helped cannot be"
        " distinguished from chance; run more seeds."
    )


def test_without_partners_there_is_a_question_mark():
    some = [cell for cell in lines_with(GAINS) if cell["ranking"] not in (NONE, "random")]
    some = [cell for cell in some if (cell["ranking"], cell["n"]) != ("loss", 5)]
    lines = lines_of(some)
    assert lines[0] == "Trained again from the start, batch size 32, 2 seeds"
    assert [line.split() for line in lines[3:5]] == [["5", "?", "?"], ["1,200", "?", "?"]]
    # Random removal is missing alone: the words end before it.
    some = [cell for cell in lines_with(GAINS) if cell["ranking"] != "random"]
    assert any(line.endswith("(95 % interval 0.88 to 1.14).") for line in lines_of(some))


def test_seeds_that_differ_in_number():
    some = lines_with({("final", 5): [0.1, 0.2, 0.3], ("loss", 5): [0.1, 0.2]})
    assert "batch size 32, 2 to 3 seeds;" in lines_of(some)[0]


def test_a_training_that_diverged_is_told():
    some = lines_with(GAINS)
    some[-1]["loss"] = math.nan
    assert lines_of(some)[-1] == (
        "Trainings diverged: 1 of 7 mean test losses is not a finite number."
    )


def test_as_many_rows_as_are_flipped():
    detection = made_up.detections(seeds=(0, 1), flipped=1200, removed=(5,))
    lines = lines_of(lines_with(GAINS), detection)
    words = (
        "Removing as many rows as labels are flipped (1,200) helped by final; not by loss, random."
    )
    assert words in lines
    few = {place: values for place, values in GAINS.items() if place != ("final", 1200)}
    words = "Removing as many rows as labels are flipped (1,200) did not help by loss, random."
    assert words in lines_of(lines_with(few), detection)
    at = lines.index(
        "Flipped labels found, batch size 32: the 1,200 flipped of 3,000 rows among the first 1,200"
        " of a ranking (chance: 40.0 %)"
    )
    of_final = detection[(detection["ranking"] == "final") & (detection["k"] == 1200)]
    found = 100 * of_final["precision"]
    auc = of_final["roc_auc"]
    assert lines[at + 2].split() == [
        *("final", f"{found.mean():.1f}", "%", "+-", f"{found.std():.1f}"),
        *(f"{auc.mean():.3f}", "+-", f"{auc.std():.3f}"),
    ]


def test_flips_that_differ_from_seed_to_seed():
    """By hand: 5 of 60 and 9 of 90 rows; chance is the mean of 8.33 % and 10 %."""
    some = detections_of({0: (5, 60), 1: (9, 90)})
    lines = summary_lines(summary_of(lines_with(GAINS)), some)
    words = (
        "Flipped labels found, batch size 32: the 5 to 9 flipped of 60 to 90 rows among as many"
        " first rows of a ranking (chance: 9.2 %)"
    )
    at = lines.index(words)
    # Each seed at as many rows as it has flipped.
    found = [found_of(some, seed, k) for seed, k in ((0, 5), (1, 9))]
    assert lines[at + 2].split()[1] == f"{50 * sum(found):.1f}"
    text = summary_markdown(summary_of(lines_with(GAINS)), some)
    assert (
        "Of 60 to 90 rows 5 to 9 are flipped, differing from seed to seed; found: the share of them"
        " among as many first rows of a ranking, by chance 9.2 %."
    ) in text


def detections_of(flips: dict[int, tuple[int, int]]) -> pd.DataFrame:
    return pd.concat(
        [
            made_up.detections(seeds=(seed,), removed=(5,), rows=rows, flipped=flipped)
            for seed, (flipped, rows) in flips.items()
        ]
    )


def found_of(detection, seed: int, k: int) -> float:
    of_final = detection[(detection["ranking"] == "final") & (detection["seed"] == seed)]
    return float(of_final.loc[of_final["k"] == k, "precision"].iloc[0])


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


def test_markdown_of_flips_and_of_missing_cells():
    detection = made_up.detections(seeds=(0,), flipped=300)
    some = [cell for cell in lines_with(GAINS) if (cell["ranking"], cell["n"]) != ("loss", 5)]
    text = summary_markdown(summary_of(some), detection)
    assert "| 5 | 57.00 ± 8.49 |  | 55.00 ± 5.66 |" in text
    assert "Of 3,000 rows 300 are flipped" in text
    line = detection[(detection["ranking"] == "loss") & (detection["k"] == 300)].iloc[0]
    expected = f"| training loss | {100 * line['precision']:.1f} | {line['roc_auc']:.3f} |"
    assert expected in text.splitlines()


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


def test_nothing_heavy_is_imported_with_what_workers_and_commands_import():
    code = (
        "import sys, nnabla_influence.retraining.tasks, nnabla_influence.retraining.plan\n"
        "import nnabla_influence.commands.main\n"
        "print([m for m in ('pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "[]"
