"""What is drawn is what the summary says; the files are the same each time."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnabla_influence.retraining.figures import STYLES, detected, differences, levels, write_figures
from nnabla_influence.retraining.plan import NONE
from nnabla_influence.retraining.report import ACCURACY, LOSS, NAMES, Metric
from nnabla_influence.retraining.tables import ORDER, summarize
from tests.retraining import made_up

pytestmark = pytest.mark.slow

SIZES = (32, 64, 256)
FORMS = ("png", "svg")


def summary_of(**how):
    return summarize(made_up.results(**how))


def drawn(axes: Axes) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Of each ranking: x, y, and the ends of its error bars, (points, 2)."""
    found = {}
    for container in axes.containers:
        line, _, bars = container.lines
        ends = np.array([s[:, 1] for s in bars[0].get_segments()]) if bars else None
        found[container.get_label()] = (*line.get_data(), ends)
    return found


def words_of(figure) -> str:
    return figure.legends[0].get_title().get_text()


@pytest.mark.parametrize("metric", [ACCURACY, LOSS])
def test_levels_are_means_with_standard_deviations(metric: Metric):
    summary = summary_of(batch_sizes=SIZES, classes=metric is ACCURACY)
    figure = levels(summary, metric, "Title")
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title("left") for axes in panels] == [f"batch size {n}" for n in SIZES]
    for axes, size in zip(panels, SIZES):
        assert axes.get_xscale() == "log"
        shown = drawn(axes)
        assert list(shown) == [NAMES[name] for name in made_up.RANKINGS]
        for ranking in made_up.RANKINGS:
            lines = summary[(summary["batch_size"] == size) & (summary["ranking"] == ranking)]
            x, y, ends = shown[NAMES[ranking]]
            mean = lines[f"{metric.column}_mean"].to_numpy() * metric.scale
            std = lines[f"{metric.column}_std"].to_numpy() * metric.scale
            np.testing.assert_allclose(x, made_up.REMOVED, rtol=0.06)
            np.testing.assert_allclose(y, mean)
            np.testing.assert_allclose(ends, np.stack([mean - std, mean + std], axis=1))
        (line,) = summary[(summary["batch_size"] == size) & (summary["ranking"] == NONE)].to_dict(
            "records"
        )
        (no_removal,) = [one for one in axes.lines if one.get_label() == "no removal"]
        mean, std = (line[f"{metric.column}_{what}"] * metric.scale for what in ("mean", "std"))
        np.testing.assert_allclose(no_removal.get_ydata(), mean)
        (band,) = axes.patches
        np.testing.assert_allclose([band.get_y(), band.get_height()], [mean - std, 2 * std])
        # Side by side: no two error bars stand at one place.
        assert len({x for xs, _, _ in shown.values() for x in xs}) == 4 * 5
    assert "standard deviation over 3 seeds" in words_of(figure)


@pytest.mark.parametrize("metric", [ACCURACY, LOSS])
def test_differences_are_those_to_no_removal_with_their_intervals(metric: Metric):
    summary = summary_of(seeds=4, classes=metric is ACCURACY)
    figure = differences(summary, metric, "Title")
    (axes,) = figure.axes
    for ranking in made_up.RANKINGS:
        lines = summary[summary["ranking"] == ranking]
        mean, low, high = (
            lines[f"{metric.column}_minus_none{end}"].to_numpy() * metric.scale
            for end in ("", "_low", "_high")
        )
        _, y, ends = drawn(axes)[NAMES[ranking]]
        np.testing.assert_allclose(y, mean)
        np.testing.assert_allclose(ends, np.stack([low, high], axis=1))
    (zero,) = [line for line in axes.lines if line.get_label() == "no removal"]
    assert list(zero.get_ydata()) == [0, 0]
    assert "its 95 % interval" in words_of(figure)
    better = "above" if metric is ACCURACY else "below"
    assert f"helped where the interval lies wholly {better} 0" in words_of(figure)


def test_one_seed_has_no_error_bars():
    summary = summary_of(seeds=1)
    for draw, words in ((levels, "one seed; black"), (differences, "an interval needs two seeds")):
        figure = draw(summary, ACCURACY, "Title")
        assert all(ends is None for _, _, ends in drawn(figure.axes[0]).values())
        assert not figure.axes[0].patches
        assert words in words_of(figure)


def test_detection_is_mean_and_standard_deviation_beside_chance():
    detection = made_up.detections()
    precision, recall = detected(detection, "Title").axes
    for axes, what in ((precision, "precision"), (recall, "recall")):
        for ranking in made_up.RANKINGS:
            k, y, ends = drawn(axes)[NAMES[ranking]]
            assert tuple(k) == made_up.REMOVED
            for place, count in enumerate(k):
                here = detection[(detection["ranking"] == ranking) & (detection["k"] == count)]
                values = 100 * here[what].to_numpy()
                assert y[place] == pytest.approx(values.mean())
                spread = values.std(ddof=1)
                assert ends[place] == pytest.approx([y[place] - spread, y[place] + spread])
    chance = {
        axes: next(line for line in axes.lines if line.get_label() == "chance")
        for axes in (precision, recall)
    }
    np.testing.assert_allclose(chance[precision].get_ydata(), 10)  # 300 of 3,000 are flipped
    np.testing.assert_allclose(chance[recall].get_ydata()[[0, -1]], [1, 20])


def test_chance_and_best_possible_are_means_over_the_seeds():
    """A seed whose number of flips is among the counts has fewer lines, and counts as much."""
    some = [
        made_up.detections((0,), removed=(10, 30, 120), rows=200, flipped=30),
        made_up.detections((1,), removed=(10, 30, 120), rows=400, flipped=100),
    ]
    precision, recall = detected(pd.concat(some), "Title").axes
    shown = {
        (axes, line.get_label()): (line.get_xdata(), line.get_ydata())
        for axes in (precision, recall)
        for line in axes.lines
    }
    k, y = shown[precision, "chance"]
    np.testing.assert_allclose(y, 100 * (30 / 200 + 100 / 400) / 2)
    np.testing.assert_allclose(shown[recall, "chance"][1], 100 * (k / 200 + k / 400) / 2)
    np.testing.assert_allclose(k[[0, -1]], [10, 120])
    # At 10 rows all can be flipped, at 120 the 30 of the one and the 100 of the other seed.
    best = shown[precision, "best possible"][1]
    np.testing.assert_allclose(best[[0, -1]], [100, 100 * (30 / 120 + 100 / 120) / 2])
    best = shown[recall, "best possible"][1]
    np.testing.assert_allclose(best[[0, -1]], [100 * (10 / 30 + 10 / 100) / 2, 100])


def test_every_ranking_has_its_own_style_and_name():
    assert tuple(STYLES) == tuple(NAMES) == ORDER
    assert len(set(NAMES.values())) == len(ORDER)
    for part in ("color", "marker", "linestyle"):
        assert len({STYLES[name][part] for name in ORDER[1:]}) == len(ORDER) - 1


def test_numbers_are_labelled_where_there_is_room():
    summary = summary_of(seeds=1, removed=(10, 1000, 9900, 10000), rankings=("final",))
    (axes,) = levels(summary, ACCURACY, "Title").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "1,000", "10,000"]
    assert list(axes.get_xticks(minor=True)) == [9900]


def test_the_files_are_the_same_each_time(tmp_path: Path):
    frame = made_up.results(removed=(3, 30))
    both = []
    # Neither do the user's own settings for plots change them.
    for name, own in (("one", {}), ("two", {"font.size": 20, "svg.fonttype": "none"})):
        (tmp_path / name).mkdir()
        with matplotlib.rc_context(own):
            write_figures(tmp_path / name, summarize(frame), title="100 $ or 猫_$a$ <&>")
        both.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert both[0] == both[1]
    for name, content in both[0].items():
        assert content.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")


@pytest.mark.parametrize("classes", [True, False])
def test_which_figures_there_are(classes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: path.touch())
    frame = made_up.results(seeds=2, protocols=("last", "all"), classes=classes)
    detection = made_up.detections(seeds=(0, 1)) if classes else None
    write_figures(tmp_path, summarize(frame), detection)
    what = "accuracy" if classes else "loss"
    stems = [f"{what}{part}_{end}" for end in ("all", "last") for part in ("", "_difference")]
    stems += ["detection"] * classes
    assert {path.name for path in tmp_path.iterdir()} == {f"{s}.{f}" for s in stems for f in FORMS}


def test_trainings_that_diverged_leave_gaps(tmp_path: Path):
    some = made_up.results(classes=False, removed=(3, 30), rankings=("final",))
    for seed, lost in ((0, math.nan), (1, math.inf)):
        some.loc[(some["n"] == 30) & (some["seed"] == seed), "loss"] = lost
    for draw in (levels, differences):
        figure = draw(summarize(some), LOSS, "Title")
        figure.savefig(tmp_path / "figure.png")
        ((line, _, _),) = (container.lines for container in figure.axes[0].containers)
        assert list(np.isfinite(line.get_ydata())) == [True, False]
