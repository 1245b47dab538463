"""The tables against numbers by hand, scipy's paired t-test and scikit-learn; their files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from nnabla_influence.retraining.tables import (
    ORDER,
    detect,
    detection_frame,
    read_results,
    summarize,
    write_table,
)
from tests.retraining import made_up
from tests.retraining.made_up import frame

NAN = math.nan

# --------------------------------------------------------------- results.csv

MIXED = [
    {"ranking": "random", "n": 20, "seed": 1},
    {"ranking": "random", "n": 20, "accuracy": None, "loss": NAN},
    {"ranking": "random", "n": 3},
    {"ranking": "final", "n": 100, "cache_bytes": 2**40},
    {"ranking": "final", "n": 20, "batch_size": 256},
    {"ranking": "final", "n": 20, "protocol": "last"},
    {"ranking": "exact-last", "n": 5, "loss": math.inf, "accuracy": 0.1 + 0.2},
    {"seed": 10, "accuracy": 1.0},
    {"seed": 2, "loss": 1e-300},
]
WRITTEN = """\
seed,ranking,n,protocol,batch_size,accuracy,loss,cache_bytes,seconds
2,none,0,all,32,0.9,1e-300,,1.5
10,none,0,all,32,1.0,0.3,,1.5
0,final,100,all,32,0.9,0.3,1099511627776,1.5
0,exact-last,5,all,32,0.30000000000000004,inf,,1.5
0,random,3,all,32,0.9,0.3,,1.5
0,random,20,all,32,,nan,,1.5
1,random,20,all,32,0.9,0.3,,1.5
0,final,20,all,256,0.9,0.3,,1.5
0,final,20,last,32,0.9,0.3,,1.5
"""


@pytest.mark.parametrize("turned", [0, 4, 7])
def test_the_file_depends_on_the_trainings_alone(turned: int, tmp_path: Path):
    write_table(tmp_path / "results.csv", frame(*MIXED[turned:], *MIXED[:turned]))
    assert (tmp_path / "results.csv").read_bytes() == WRITTEN.encode()


LINES = st.fixed_dictionaries(
    {
        "ranking": st.sampled_from(ORDER[1:]),
        "n": st.integers(1, 10**9),
        "seed": st.integers(0, 2**62),
        "protocol": st.sampled_from(["all", "last"]),
        "batch_size": st.integers(1, 10**6),
        "accuracy": st.none() | st.floats(0, 1),
        "loss": st.floats(),
        "cache_bytes": st.none() | st.integers(0, 2**62),
        "seconds": st.floats(0, 1e9),
    }
)


def distinct(line: dict) -> tuple:
    return tuple(line[k] for k in ("seed", "ranking", "n", "protocol", "batch_size"))


@settings(max_examples=40, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=4, unique_by=distinct))
def test_what_is_read_is_what_was_written(tmp_path_factory, lines: list[dict]):
    path = tmp_path_factory.getbasetemp() / "results.csv"
    write_table(path, frame(*lines))
    pd.testing.assert_frame_equal(read_results(path), frame(*lines), check_exact=True)


# --------------------------------------------------------------- summary.csv


def line_of(lines: list[dict], ranking: str, n: int) -> dict:
    summary = summarize(frame(*({"cache_bytes": None, "loss": 1.0, **line} for line in lines)))
    (line,) = summary[(summary["ranking"] == ranking) & (summary["n"] == n)].to_dict("records")
    return line


def plain(seed: int, accuracy: float | None, loss: float = 1.0, **more) -> dict:
    return {"seed": seed, "accuracy": accuracy, "loss": loss, **more}


def removed(seed: int, ranking: str, accuracy: float | None, loss: float = 1.0) -> dict:
    return {"seed": seed, "ranking": ranking, "n": 8, "accuracy": accuracy, "loss": loss}


def test_by_hand():
    lines = [plain(0, 0.5, 2.0), plain(1, 0.75, 4.0)]
    lines += [removed(0, "final", 0.625, 1.0), removed(1, "final", 0.75, 5.0)]
    lines += [removed(0, "random", 0.5, 2.0), removed(1, "random", 0.5, 1.0)]
    line = line_of(lines, "final", 8)
    # t of one degree of freedom is Cauchy's: its .975 quantile is tan(.475 pi) = 12.7062.
    t = math.tan(0.475 * math.pi)
    expected = {
        **{"protocol": "all", "batch_size": 32, "ranking": "final", "n": 8, "seeds": 2},
        **{"accuracy_mean": 0.6875, "accuracy_std": 0.125 / math.sqrt(2)},
        **{"loss_mean": 3.0, "loss_std": 4 / math.sqrt(2)},
        **{"pairs_none": 2, "accuracy_minus_none": 0.0625},
        "accuracy_minus_none_low": 0.0625 - t * 0.0625,
        "accuracy_minus_none_high": 0.0625 + t * 0.0625,
        **{"loss_minus_none": 0.0, "loss_minus_none_low": -t, "loss_minus_none_high": t},
        **{"pairs_random": 2, "accuracy_minus_random": 0.1875},
        "accuracy_minus_random_low": 0.1875 - t * 0.0625,
        "accuracy_minus_random_high": 0.1875 + t * 0.0625,
        "loss_minus_random": 1.5,
        "loss_minus_random_low": 1.5 - t * 2.5,
        "loss_minus_random_high": 1.5 + t * 2.5,
    }
    assert tuple(line) == tuple(expected)
    for name, value in expected.items():
        assert line[name] == (value if isinstance(value, str) else pytest.approx(value, abs=1e-9))


def test_against_the_paired_t_test():
    results = made_up.results(seeds=7, protocols=("all", "last"), batch_sizes=(32, 64))
    where = results.set_index(["protocol", "batch_size", "ranking", "n"]).sort_index()
    summary = summarize(results)
    assert len(summary) == 2 * 2 * (1 + len(made_up.RANKINGS) * len(made_up.REMOVED))
    for line in summary.to_dict("records"):
        place = (line["protocol"], line["batch_size"])
        for metric in ("accuracy", "loss"):
            own = where.loc[(*place, line["ranking"], line["n"])].sort_values("seed")[metric]
            assert line[f"{metric}_mean"] == pytest.approx(np.mean(own))
            assert line[f"{metric}_std"] == pytest.approx(stats.tstd(own))
            for partner, n in (("none", 0), ("random", line["n"])):
                if line["ranking"] in ("none", partner):
                    assert math.isnan(line[f"{metric}_minus_{partner}"])
                    assert line[f"pairs_{partner}"] == 0
                    continue
                other = where.loc[(*place, partner, n)].sort_values("seed")[metric]
                interval = stats.ttest_rel(own, other).confidence_interval(0.95)
                got = [line[f"{metric}_minus_{partner}{end}"] for end in ("_low", "_high")]
                assert got == pytest.approx([interval.low, interval.high])
                assert line[f"pairs_{partner}"] == 7


def test_a_missing_partner_leaves_the_difference_out():
    lines = [removed(s, "final", 0.5 + s / 8) for s in range(4)]
    line = line_of(lines, "final", 8)
    assert (line["seeds"], line["pairs_none"], line["pairs_random"]) == (4, 0, 0)
    assert all(math.isnan(v) for k, v in line.items() if "_minus_" in k)
    lines += [plain(s, 0.5) for s in (1, 3)] + [removed(3, "random", 0.5)]
    line = line_of(lines, "final", 8)
    assert (line["pairs_none"], line["accuracy_minus_none"]) == (2, 0.25)
    assert (line["pairs_random"], line["accuracy_minus_random"]) == (1, 0.375)
    assert math.isnan(line["accuracy_minus_random_low"])


def test_one_seed_has_no_spread_and_no_interval(tmp_path: Path):
    write_table(tmp_path / "s.csv", summarize(frame(plain(0, 0.5), removed(0, "final", 0.75))))
    assert (tmp_path / "s.csv").read_text("utf-8").splitlines()[1:] == [
        "all,32,none,0,1,0.5,,1.0,,0,,,,,,,0,,,,,,",
        "all,32,final,8,1,0.75,,1.0,,1,0.25,,,0.0,,,0,,,,,,",
    ]


def test_a_training_that_diverged_is_not_left_out_of_the_mean():
    lines = [removed(s, "final", 0.5, [1.0, 2.0, NAN][s]) for s in range(3)]
    lines += [removed(s, "loss", 0.5, [1.0, 2.0, math.inf][s]) for s in range(3)]
    lines += [plain(s, 0.5, math.inf) for s in range(3)]
    assert math.isnan(line_of(lines, "final", 8)["loss_mean"])
    assert line_of(lines, "final", 8)["accuracy_mean"] == 0.5
    line = line_of(lines, "loss", 8)
    assert line["loss_mean"] == math.inf
    assert math.isnan(line["loss_minus_none_low"])


# --------------------------------------------------------------- detection.csv


def test_detection_by_hand():
    #  place in the ranking:  2    0     3    1    4
    scores = np.array([-1.0, -3.0, 0.0, -2.0, 5.0])
    found = detect(scores, np.array([True, True, False, False, False]), [1, 3, 5])
    assert found[["k", "found"]].to_numpy().tolist() == [[1, 1], [2, 1], [3, 2], [5, 2]]
    assert found["precision"].tolist() == [1, 1 / 2, 2 / 3, 2 / 5]
    assert found["recall"].tolist() == [1 / 2, 1 / 2, 1, 1]
    assert set(found["flipped"]) == {2}
    assert set(found["rows"]) == {5}
    # Of the six pairs of a flipped and another row, one stands the wrong way.
    assert found["roc_auc"][0] == pytest.approx(5 / 6)


def test_equal_scores_stand_in_the_order_of_their_rows():
    found = detect(np.zeros(4), np.array([False, True, False, True]), [1, 2, 3])
    assert found["found"].tolist() == [0, 1, 1]
    assert found["roc_auc"][0] == 0.5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_the_area_is_scikit_learns_ties_included(rows: list[tuple[int, bool]]):
    scores, flipped = (np.array(column) for column in zip(*rows))
    if not flipped.any():
        return
    auc = detect(scores, flipped, [len(rows)])["roc_auc"][0]
    if flipped.all():
        assert math.isnan(auc)
    else:
        # There, the class that is sought has the higher scores.
        assert auc == pytest.approx(roc_auc_score(flipped, -scores))


def detections() -> pd.DataFrame:
    flips = np.array([True, True, False, False])
    better, worse = np.array([0.0, 1, 2, 3]), np.array([0.0, 2, 1, 3])
    return detection_frame(
        {
            (1, 32, "final"): detect(worse, flips, [1]),
            (0, 32, "random"): detect(-better, flips, [1]),
            (0, 32, "final"): detect(better, flips, [1]),
        }
    )


def test_the_table_of_detections(tmp_path):
    write_table(tmp_path / "detection.csv", detections())
    assert (tmp_path / "detection.csv").read_text("utf-8").splitlines() == [
        "seed,batch_size,ranking,k,found,precision,recall,roc_auc,flipped,rows",
        "0,32,final,1,1,1.0,0.5,1.0,2,4",
        "0,32,final,2,2,1.0,1.0,1.0,2,4",
        "1,32,final,1,1,1.0,0.5,0.75,2,4",
        "1,32,final,2,1,0.5,0.5,0.75,2,4",
        "0,32,random,1,0,0.0,0.0,0.0,2,4",
        "0,32,random,2,0,0.0,0.0,0.0,2,4",
    ]
