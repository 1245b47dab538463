from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from nnabla_influence.retraining.seeded import NO_CHANGES
from reproductions.explain import cases, run, training
from reproductions.explain.table import FIELDS, read_results, write_table
from reproductions.explain.training import ORDERS, Trained

pytestmark = pytest.mark.slow

STUDY = Path(run.__file__).parent
CASE = cases.Case("digits", "pairs", "MLP", 0)


@pytest.fixture(scope="module", autouse=True)
def _small():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"N_TRAINING": 320, "N_TEST": 200, "EPOCHS": 2}.items():
            patch.setattr(cases, name, value)
        patch.setitem(training.N_ROWS, "MLP", 2)
        patch.setitem(run.TIMES, "MLP", 1)
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return cases.write_case(tmp_path_factory.mktemp("case"), CASE)


@pytest.fixture(scope="module")
def trained(written, tmp_path_factory):
    return Trained(CASE, written, tmp_path_factory.mktemp("runs"))


def test_the_table_is_that_of_the_results(tmp_path):
    write_table(STUDY / "results.csv", tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text() == (STUDY / "table.md").read_text()


def test_each_class_is_taken_for_one_other(written):
    assert written.wrong.sum() == 48
    with written.training.open(newline="") as file:
        true = np.array([int(line["#true_label"]) for line in csv.DictReader(file)])
    pairs = {*zip(true[written.wrong].tolist(), written.given[written.wrong].tolist())}
    assert len(pairs) == len(dict(pairs))


def test_without_a_change_the_answers_are_as_wrong_as_they_were(trained):
    assert not trained.right(trained.retrained(NO_CHANGES), trained.rows).any()
    assert (trained.predicted != trained.given).all()


def test_each_order_has_all_rows_and_begins_as_it_says(trained, written):
    for name in ORDERS:
        if "all steps" in name:  # tested elsewhere, and slow
            continue
        order = trained.order(name)
        assert (np.sort(order, axis=1) == np.arange(320)).all()
        if "predicted class" in name:
            assert (written.given[order[:, 0]] == trained.predicted).all()
    # With so much damping that nothing else counts, the curvature does not matter.
    damped = np.argsort(-trained.harm(1e6), axis=1, kind="stable")
    np.testing.assert_array_equal(damped[:, :3], trained.order("gradients")[:, :3])


def test_a_case_is_computed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "RIVALS", ("gradients", "loss"))
    results = tmp_path / "results.csv"
    results.write_text(",".join(FIELDS) + "\n")
    run.compute(CASE, results)
    lines = results.read_text()
    run.compute(CASE, results)
    assert results.read_text() == lines
    (result,) = read_results(results)
    assert {key: len(right) for key, right in result.right.items()} == {
        ("another seed", "new"): 2,
        ("random", "kept"): 2,
        ("random", "new"): 2,
        ("influence", "kept"): 2,
        ("influence", "new"): 2,
        ("less damped", "kept"): 2,
        ("less damped", "new"): 2,
        ("influence, relabelled", "kept"): 2,
        ("influence, 2 %", "kept"): 2,
        ("gradients", "kept"): 2,
        ("loss", "kept"): 2,
    }
