"""The table and the output folder, against the numbers that went in."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import kendalltau, spearmanr

from nnabla_influence.retraining.validation import write_validation
from nnabla_influence.retraining.validation_result import (
    Base,
    RetrainedWindow,
    Validation,
)

N = 30
RNG = np.random.default_rng(0)
TRUE = RNG.normal(size=N)
AGAIN = TRUE + 0.2 * RNG.normal(size=N)
SCORES = {"猫 $a$": TRUE + 0.3 * RNG.normal(size=N), "other": RNG.normal(size=N)}
SUBSETS = tuple(np.sort(RNG.permutation(N)[:4]) for _ in range(15))
SEEN = np.arange(N) % 4
EVERY_SECOND = np.arange(0, N, 2)


def validation(rows=EVERY_SECOND, subsets=SUBSETS, **more) -> Validation:
    return Validation(
        **{
            "window": RetrainedWindow(first_step=40, n_steps=10, epochs=1),
            "base": Base(loss=0.5, final_loss=0.5, difference=0.0, noise=0.0),
            "rows": rows,
            "row_changes": TRUE[rows],
            "subsets": subsets,
            "subset_changes": np.array([TRUE[s].sum() for s in subsets]),
            "scores": SCORES,
            "retest": np.concatenate([AGAIN[rows], [AGAIN[s].sum() for s in subsets]]),
            "times_seen": SEEN,
            "settings": {"seed": 0},
            "notes": ("something to know",),
            **more,
        }
    )


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_files_hold_the_numbers_themselves(tmp_path: Path):
    write_validation(tmp_path / "out", validation())
    rows = read(tmp_path / "out" / "truth.csv")
    assert [int(row["datasource_index"]) for row in rows] == list(range(0, N, 2))
    assert [float(row["loss_change"]) for row in rows] == TRUE[::2].tolist()
    assert [float(row["retest"]) for row in rows] == AGAIN[::2].tolist()
    assert [int(row["times_seen"]) for row in rows] == SEEN[::2].tolist()
    subsets = read(tmp_path / "out" / "subsets.csv")
    for line, subset in zip(subsets, SUBSETS):
        assert [int(row) for row in line["rows"].split()] == subset.tolist()
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert result["notes"] == ["something to know"]
    assert result["settings"] == {"seed": 0}
    for name, values in SCORES.items():
        assert [float(row[name]) for row in rows] == values[::2].tolist()
        sums = [float(line[name]) for line in subsets]
        changes = [float(line["loss_change"]) for line in subsets]
        np.testing.assert_allclose(sums, [values[s].sum() for s in SUBSETS], rtol=1e-12)
        # The figures can be computed again from the files.
        figures = result["leave_one_out"]["agreement"][name]
        assert figures["kendall_tau"] == pytest.approx(kendalltau(values[::2], TRUE[::2])[0])
        lds = result["leave_k_out"]["agreement"][name]["lds"]
        assert lds == pytest.approx(spearmanr(sums, changes)[0])
    for key, figure, again, truth in (
        ("leave_one_out", "spearman", AGAIN[::2], TRUE[::2]),
        ("leave_k_out", "lds", *([x[s].sum() for s in SUBSETS] for x in (AGAIN, TRUE))),
    ):
        assert result[key]["retest"][figure] == pytest.approx(spearmanr(again, truth)[0])
    with Image.open(tmp_path / "out" / "scatter.png") as image:
        assert len(image.convert("L").getcolors()) > 10


def test_the_table_shows_the_figures():
    lines = list(validation().table())
    assert "byte for byte: no noise from the machine" in lines[1]
    assert lines[2] == "something to know"
    header, *figures, retest = lines[-4:]
    assert header.split() == ["scores", "tau", "Spearman", "harmful", "helpful", "slope", "LDS"]
    for line, values in zip(figures, SCORES.values()):
        assert f"{kendalltau(values[::2], TRUE[::2])[0]:.3f}" in line
        assert f"{spearmanr(values[::2], TRUE[::2])[0]:.3f}" in line
    assert retest.split()[:2] == ["(retest)", f"{kendalltau(AGAIN[::2], TRUE[::2])[0]:.3f}"]
    without = list(validation(retest=None).table())
    assert "retest" not in "\n".join(without)
    assert len(without[-1].split()) == len(header.split()) + 2  # the interval's two ends


def test_only_rows_or_only_subsets(tmp_path: Path):
    write_validation(tmp_path / "rows", validation(subsets=()))
    assert {p.name for p in (tmp_path / "rows").iterdir()} == {
        "result.json",
        "truth.csv",
        "scatter.png",
    }
    alone = validation(rows=np.arange(0))
    write_validation(tmp_path / "subsets", alone)
    assert not (tmp_path / "subsets" / "truth.csv").exists()
    assert "tau" not in "\n".join(alone.table()).split("LDS with")[1]


def test_figures_that_are_not_defined_are_null(tmp_path: Path):
    constant = validation(row_changes=np.zeros(15), retest=None)
    write_validation(tmp_path / "out", constant)
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert result["leave_one_out"]["agreement"]["other"]["kendall_tau"] is None
    assert list(constant.table())[-1].split()[1] == "-"
