"""From definition, run and rankings to the result, against retraining in float64 JAX."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from nnabla_influence.options import Sample
from nnabla_influence.runs.run import read_run
from tests.reference import Reference
from tests.retraining.conftest import CASE, EPOCHS, N, Project
from tests.runs.changing import with_new_checksums


@pytest.mark.parametrize(
    ("window", "first_epoch", "words"),
    [
        ("last", EPOCHS - 1, "retrain the last epoch without it"),
        (2, EPOCHS - 2, "retrain the last 2 epochs without it"),
        ("all", 0, "retrain without it"),
    ],
)
def test_agrees_with_retraining_in_float64(project: Project, window, first_epoch, words):
    got = project.validate(window=window, sample=Sample(rows=12, subsets=4))
    assert got.window.words == words
    assert (got.base.difference, got.base.noise) == (0, 0)
    before = project.true_loss(first_epoch)
    assert got.base.loss == pytest.approx(before, rel=1e-5)
    wanted = [project.true_loss(first_epoch, [row]) - before for row in got.rows]
    assert np.linalg.norm(got.row_changes - wanted) < 2e-3 * np.linalg.norm(wanted)
    assert got.row_retest.slope == pytest.approx(1, abs=0.05)
    subsets = [project.true_loss(first_epoch, rows) - before for rows in got.subsets]
    assert np.linalg.norm(got.subset_changes - subsets) < 2e-3 * np.linalg.norm(subsets)


def test_each_ranking_answers_its_own_question_best(project: Project):
    names = ["exact last", "exact all"]
    rankings = [project.folder / f"{name}.csv" for name in names]
    sample = Sample(rows=None, subsets=30)
    for window, own, other in (("last", *names), ("all", *reversed(names))):
        got = project.validate(window=window, scores=rankings, sample=sample)
        rows, subsets = got.row_agreements, got.subset_agreements
        assert rows[own].slope == pytest.approx(1, abs=0.2)
        assert abs(rows[other].slope - 1) > 0.5
        assert rows[own].kendall_tau > rows[other].kendall_tau
        assert subsets[own].lds > subsets[other].lds
        assert any(f"{other}.csv: was scored on another window" in note for note in got.notes)
        assert not any(f"{own}.csv" in note for note in got.notes)


def test_rows_that_the_window_never_saw_are_not_sampled(project: Project):
    got = project.validate(sample=Sample(subsets=0))
    with (project.run / "steps.csv").open(newline="") as file:
        last = [line for line in csv.DictReader(file) if int(line["epoch"]) == EPOCHS - 1]
    seen = {int(row) for line in last for row in line["rows"].split()}
    assert len(seen) < N
    assert set(got.rows) == seen
    note = f"{N - len(seen)} rows are not used in the window"
    assert any(note in line for line in got.table())


def test_validation_rows_ask_about_their_loss_alone(project: Project):
    got = project.validate(validation_rows=[7], sample=Sample(rows=2, subsets=0))
    theta = read_run(project.run).parameters()
    reference = Reference(CASE.losses, theta, CASE.trainable(theta))
    validation = {k: v[[7]] for k, v in project.arrays("validation").items()}
    assert got.base.loss == pytest.approx(
        float(reference.mean_loss(reference.theta, validation)), rel=1e-4
    )


def test_scores_in_memory(project: Project, tmp_path: Path):
    """What a script calls: the truth itself as the scores, and reversed."""
    truth = project.validate(sample=Sample(subsets=0))
    scores = np.zeros(N)
    scores[truth.rows] = truth.row_changes
    got = project.validate(
        scores={"truth": scores, "reversed": -scores}, sample=Sample(rows=20, subsets=0)
    )
    assert got.row_agreements["truth"].kendall_tau == pytest.approx(1)
    assert got.row_agreements["reversed"].kendall_tau == pytest.approx(-1)


def test_a_run_that_the_retraining_does_not_reproduce(project: Project, tmp_path: Path):
    """A final.h5 that is a bit off is reported; changes are from the retrained loss."""
    shutil.copytree(project.run, tmp_path / "run")
    with h5py.File(tmp_path / "run" / "final.h5", "r+") as file:
        file["out/affine/b"][0] += 0.25
    with_new_checksums(tmp_path / "run")
    exact = project.validate(sample=Sample(rows=3, subsets=0))
    got = project.validate(run=tmp_path / "run", sample=Sample(rows=3, subsets=0))
    assert got.base.difference == pytest.approx(0.25, rel=1e-6)
    assert got.base.noise == 0
    assert got.base.final_loss != got.base.loss == exact.base.loss
    np.testing.assert_array_equal(got.row_changes, exact.row_changes)
    assert "does not give the run's final parameters: they differ by up to 0.25" in got.base.words
