from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from network_defs import samples
from nnabla_influence.runs.checkpoint_plan import StorageEstimate, WindowPlan
from reproductions.suzuki2021 import cache_size, experiments, table
from reproductions.suzuki2021 import run as script
from tests.reproductions.small import SMALL, read_rows

pytestmark = pytest.mark.slow

# Table 1 ------------------------------------------------------------------------------------------


def count(channels, affine_side):
    """Values of the six-convolution network, counted layer by layer, with running statistics."""
    total = 0
    for maps in (32, 64, 128):
        total += 9 * channels * maps + maps  # the first convolution of a block, with bias
        total += 4 * maps  # beta, gamma, mean, variance
        total += 9 * maps * maps + maps
        channels = maps
    return total + affine_side**2 * 128 * 10 + 10


@pytest.mark.slow
def test_the_measured_set_has_the_parameters_of_the_network(tmp_path):
    measured = cache_size.measure(experiments.PAPER[0], tmp_path)
    values = count(1, 3)
    assert measured.kept == 128 + 4 * values
    # HDF5 adds names and its own structure; every value is there.
    assert 4 * values < measured.h5 < 1.04 * 4 * values
    storage = StorageEstimate(values, 0, 28, WindowPlan(0, 25_000))
    assert storage.checkpoint_bytes == measured.kept
    assert storage.disk_bytes("final") == pytest.approx(measured.h5, rel=0.02)


def test_table_1_multiplies_what_was_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        cache_size, "measure", lambda experiment, folder: cache_size.Measured(1000, 900)
    )
    cache_size.main(["--output", str(tmp_path)])
    lines = {(row["data"], row["cache"]): row for row in read_rows(tmp_path / "table1.csv")}
    for data, steps in (("mnist", 1562), ("cifar10", 1250)):
        for cache, kept in (
            ("all parameters, 20 epochs", 20 * steps),
            ("all parameters, last epoch (Hara et al.)", steps),
            ("final (Suzuki et al.)", 0),
        ):
            line = lines[data, cache]
            assert int(line["bytes_as_h5"]) == 1000 * (kept + 1)
            assert int(line["bytes_as_kept"]) == 1000 + 900 * kept
        for cache, window in (("20 epochs", 20 * steps), ("last epoch", steps)):
            sets = int(lines[data, f"sqrt, {cache} (exact)"]["sets"])
            assert abs(sets - 1 - math.sqrt(window)) < 2
    assert lines["mnist", "all parameters, 20 epochs"]["bytes_paper"] == "38640000000"
    text = (tmp_path / "table1.md").read_text(encoding="utf-8")
    assert "| final (Suzuki et al.) | 1 | 0.001 MB | 0.001 MB | 1.236 MB |" in text
    assert text in capsys.readouterr().out


def test_the_committed_table_1_is_of_sets_with_the_parameters_of_the_network():
    for row in read_rows(Path(cache_size.__file__).parent / "table1.csv"):
        values = count(1, 3) if row["data"] == "mnist" else count(3, 4)
        sets, as_h5, as_kept = (int(row[n]) for n in ("sets", "bytes_as_h5", "bytes_as_kept"))
        assert as_kept - as_h5 // sets == (sets - 1) * (128 + 4 * values)
        if row["bytes_paper"]:
            assert as_kept == pytest.approx(float(row["bytes_paper"]), rel=0.04)


# The curves ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    pytest.importorskip("mlxtend")
    output = tmp_path_factory.mktemp("small") / "out"
    script.run([SMALL], output, command=["said"])
    return output


@pytest.mark.slow
def test_a_small_experiment_leaves_results_apart_from_what_resumes_it(small):
    folder = small / SMALL.name
    made = {path.name for path in folder.iterdir()}
    assert {"results.csv", "summary.csv", "detection.csv", "settings.json", "model.nntxt"} <= made
    assert not {"cells", "scores", "runs"} & made
    keys = [(r["seed"], r["ranking"], r["n"]) for r in read_rows(folder / "results.csv")]
    assert sorted(keys) == sorted(
        (str(seed), ranking, n)
        for seed in range(2)
        for ranking, n in (("none", "0"), ("final", "12"), ("random", "12"))
    )
    assert json.loads((folder / "settings.json").read_text())["command"] == "said"
    assert any((small / "work" / "curves" / SMALL.name / "cells").iterdir())


@pytest.mark.slow
def test_a_second_run_computes_nothing_and_writes_the_same_results(small, monkeypatch):
    before = (small / SMALL.name / "results.csv").read_bytes()

    def fail(*_, **__):
        raise AssertionError("it trains again")

    monkeypatch.setattr("nnabla_influence.retraining.removal_curve.open_executor", fail)
    script.run([SMALL], small)
    assert (small / SMALL.name / "results.csv").read_bytes() == before


@pytest.mark.slow
def test_the_page_has_the_paired_differences_of_the_results(small):
    accuracy = {
        (row["ranking"], int(row["seed"])): 100 * float(row["accuracy"])
        for row in read_rows(small / SMALL.name / "results.csv")
    }
    differences = [accuracy["final", seed] - accuracy["none", seed] for seed in range(2)]
    mean, half = np.mean(differences), 12.706204736 * np.std(differences, ddof=1) / math.sqrt(2)
    text = table.write_page(small, [SMALL, experiments.SMALL[1]]).read_text(encoding="utf-8")
    cell = f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"
    (line,) = (x for x in text.splitlines() if x.startswith(f"| {SMALL.name} | 32 | all | 2 | 12 "))
    assert line.split(" | ")[6].strip("*") == cell
    found = read_rows(small / SMALL.name / "detection.csv")
    own = [row for row in found if row["ranking"] == "final" and row["k"] == "12"]
    share, area = (np.mean([float(row[name]) for row in own]) for name in ("precision", "roc_auc"))
    assert f"| {SMALL.name} | 32 | {100 * share:.0f}; {area:.3f} |" in text
    assert experiments.SMALL[1].name not in text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.001, 0.003, "**+0.20 [+0.10, +0.30]**"),
        (-0.003, -0.001, "**-0.20 [-0.30, -0.10]**"),
        (-0.001, 0.003, "+0.10 [-0.10, +0.30]"),
        (math.nan, math.nan, "+0.50"),
    ],
)
def test_differences_that_are_certain_stand_out(low, high, text):
    mean = 0.005 if math.isnan(low) else (low + high) / 2
    plain = {
        **{"protocol": "all", "batch_size": 32, "ranking": "none", "n": 0},
        **{"seeds": 3, "accuracy_mean": 0.9, "accuracy_std": 0.01},
    }
    removed = {
        **{**plain, "ranking": "loss", "n": 12, "accuracy_minus_none": mean},
        **{"accuracy_minus_none_low": low, "accuracy_minus_none_high": high},
    }
    made = table.page([table.Outcome(SMALL, [plain, removed], [])])
    assert f"| 12 of 60 | 90.00 ± 1.00 | {text} |" in made


def test_the_paper_size_is_the_papers():
    for experiment, rows in zip(experiments.PAPER, (50_000, 40_000)):
        network = experiments.NETWORKS[experiment.network]
        kinds = [
            f.type for f in samples.definition(network, samples.Training(rows)).network[0].function
        ]
        assert kinds.count("Convolution") == 6
        assert (experiment.n_training, experiment.n_validation) == (rows, 10_000)
        assert (experiment.epochs, experiment.learning_rate, experiment.seeds) == (20, 0.05, 10)
        assert experiment.batch_sizes == (32, 64, 128, 256)
        assert {"final", "exact-last", "random"} == set(experiment.rankings)
        assert 5_000 in experiment.removed
    for experiment in (e for size in experiments.SIZES.values() for e in size):
        # As many rows are removed as have a wrong label.
        assert not experiment.flipped or experiment.n_flipped in experiment.removed
