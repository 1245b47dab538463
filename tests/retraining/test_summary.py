"""The summary against numbers worked out by hand and by scipy's paired t-test."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nnabla_influence.retraining.plan import NONE
from nnabla_influence.retraining.summary import COLUMNS, summarize
from nnabla_influence.retraining.tables import CellResult, results_frame, write_table
from tests.retraining import made_up


def cell(seed: int, ranking: str, n: int, accuracy: float | None, loss: float = 1.0, **more):
    return CellResult(
        **{
            **{"seed": seed, "ranking": ranking, "n": n, "protocol": "all", "batch_size": 32},
            **{"accuracy": accuracy, "loss": loss, "cache_bytes": None, "seconds": 1.0},
            **more,
        }
    )


def line_of(cells: list[CellResult], ranking: str, n: int, **more) -> dict:
    frame = summarize(results_frame(cells))
    for column, value in {"ranking": ranking, "n": n, **more}.items():
        frame = frame[frame[column] == value]
    (line,) = frame.to_dict("records")
    return line


def test_by_hand():
    cells = [cell(0, NONE, 0, 0.5, 2.0), cell(1, NONE, 0, 0.75, 4.0)]
    cells += [cell(0, "final", 8, 0.625, 1.0), cell(1, "final", 8, 0.75, 5.0)]
    cells += [cell(0, "random", 8, 0.5, 2.0), cell(1, "random", 8, 0.5, 1.0)]
    line = line_of(cells, "final", 8)
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
    assert tuple(expected) == COLUMNS
    for name, value in expected.items():
        assert line[name] == (value if isinstance(value, str) else pytest.approx(value, abs=1e-9))


def test_against_the_paired_t_test():
    cells = made_up.cells(seeds=7, protocols=("all", "last"), batch_sizes=(32, 64))

    def values(metric: str, ranking: str, n: int, protocol: str, batch_size: int) -> np.ndarray:
        found = {
            c.seed: getattr(c, metric)
            for c in cells
            if (c.ranking, c.n, c.protocol, c.batch_size) == (ranking, n, protocol, batch_size)
        }
        return np.array([found[seed] for seed in range(7)])

    summary = summarize(results_frame(cells))
    assert len(summary) == 2 * 2 * (1 + len(made_up.RANKINGS) * len(made_up.REMOVED))
    for line in summary.to_dict("records"):
        place = (line["protocol"], line["batch_size"])
        for metric in ("accuracy", "loss"):
            own = values(metric, line["ranking"], line["n"], *place)
            assert line[f"{metric}_mean"] == pytest.approx(np.mean(own))
            assert line[f"{metric}_std"] == pytest.approx(stats.tstd(own))
            for partner, n in (("none", 0), ("random", line["n"])):
                if line["ranking"] in ("none", partner):
                    assert math.isnan(line[f"{metric}_minus_{partner}"])
                    assert line[f"pairs_{partner}"] == 0
                    continue
                other = values(metric, partner, n, *place)
                interval = stats.ttest_rel(own, other).confidence_interval(0.95)
                got = [line[f"{metric}_minus_{partner}{end}"] for end in ("_low", "_high")]
                assert got == pytest.approx([interval.low, interval.high])
                assert line[f"pairs_{partner}"] == 7


def test_the_pair_is_of_the_same_seed_protocol_and_batch_size():
    cells = [cell(0, NONE, 0, 0.5), cell(1, NONE, 0, 0.25), cell(1, "final", 8, 0.5)]
    cells += [cell(1, NONE, 0, 0.75, protocol="last"), cell(1, NONE, 0, 1.0, batch_size=64)]
    line = line_of(cells, "final", 8)
    assert (line["pairs_none"], line["accuracy_minus_none"]) == (1, 0.25)


def test_a_missing_partner_leaves_the_difference_out():
    cells = [cell(s, "final", 8, 0.5 + s / 8) for s in range(4)]
    line = line_of(cells, "final", 8)
    assert (line["seeds"], line["pairs_none"], line["pairs_random"]) == (4, 0, 0)
    assert all(math.isnan(v) for k, v in line.items() if "_minus_" in k)
    cells += [cell(s, NONE, 0, 0.5) for s in (1, 3)] + [cell(3, "random", 8, 0.5)]
    line = line_of(cells, "final", 8)
    assert (line["pairs_none"], line["accuracy_minus_none"]) == (2, 0.25)
    assert (line["pairs_random"], line["accuracy_minus_random"]) == (1, 0.375)
    assert math.isnan(line["accuracy_minus_random_low"])


def test_one_seed_has_no_spread_and_no_interval(tmp_path: Path):
    summary = summarize(results_frame([cell(0, NONE, 0, 0.5), cell(0, "final", 8, 0.75)]))
    write_table(tmp_path / "summary.csv", summary)
    text = (tmp_path / "summary.csv").read_text("utf-8")
    assert text.splitlines()[1:] == [
        "all,32,none,0,1,0.5,,1.0,,0,,,,,,,0,,,,,,",
        "all,32,final,8,1,0.75,,1.0,,1,0.25,,,0.0,,,0,,,,,,",
    ]


def test_without_classes_there_is_the_loss():
    cells = [cell(s, NONE, 0, None, 1.0) for s in range(2)]
    cells += [cell(s, "loss", 8, None, 0.5 - s) for s in range(2)]
    line = line_of(cells, "loss", 8)
    assert math.isnan(line["accuracy_mean"])
    assert math.isnan(line["accuracy_minus_none"])
    assert (line["loss_mean"], line["loss_minus_none"]) == (0.0, -1.0)


def test_a_training_that_diverged_is_not_left_out_of_the_mean():
    cells = [cell(s, "final", 8, 0.5, [1.0, 2.0, math.nan][s]) for s in range(3)]
    cells += [cell(s, "loss", 8, 0.5, [1.0, 2.0, math.inf][s]) for s in range(3)]
    cells += [cell(s, NONE, 0, 0.5, math.inf) for s in range(3)]
    assert math.isnan(line_of(cells, "final", 8)["loss_mean"])
    assert line_of(cells, "final", 8)["accuracy_mean"] == 0.5
    line = line_of(cells, "loss", 8)
    assert line["loss_mean"] == math.inf
    assert math.isnan(line["loss_minus_none_low"])


def test_the_bytes_do_not_depend_on_the_order_of_finishing(tmp_path: Path):
    cells = made_up.cells(seeds=9)
    written = []
    for _ in range(2):
        write_table(tmp_path / "summary.csv", summarize(results_frame(cells)))
        written.append((tmp_path / "summary.csv").read_bytes())
        random.Random(5).shuffle(cells)
    assert written[0] == written[1]
    assert b"\r" not in written[0]
