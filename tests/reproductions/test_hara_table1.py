from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
from scipy.special import expit

from nnabla_influence.definition import load_definition
from reproductions.hara_table1 import cell as cells
from reproductions.hara_table1 import run as script
from reproductions.hara_table1.data import draw, write
from reproductions.hara_table1.koh_liang import descend, koh_liang
from reproductions.hara_table1.leaving_out import layers
from reproductions.hara_table1.settings import settings
from reproductions.hara_table1.training import DEFINITION, layer_names

pytestmark = pytest.mark.slow

SMALL = dataclasses.replace(settings("fair", "logreg", n_rows=40), epochs=4, alpha=0.01)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return cells.prepare(SMALL, 3, tmp_path_factory.mktemp("prepared"), cells.Stopwatch())


@pytest.fixture(scope="module")
def cell():
    return cells.compute(SMALL, 3)


@pytest.mark.slow
def test_exact_scores_order_rows_as_leaving_them_out_does(cell):
    tau = {(row["score"], row["truth"]): row["tau"] for row in cell.agreement()}
    assert tau["exact, all epochs", "whole run"] > 0.93
    assert tau["exact, last epoch", "last epoch"] > 0.98
    assert tau["exact, last epoch", "whole run"] < tau["exact, all epochs", "whole run"]
    for epochs, part in (("all epochs", "whole run"), ("last epoch", "last epoch")):
        slopes = cell.truths[f"derivative, {part}"]
        np.testing.assert_allclose(
            cell.scores[f"exact, {epochs}"], slopes, rtol=0, atol=2e-5 * np.abs(slopes).max()
        )


@pytest.mark.slow
def test_some_states_give_the_scores_of_all_byte_for_byte(prepared):
    assert len(prepared.runs["sqrt"].checkpoints) < len(prepared.runs["all"].checkpoints) == 32
    whole = prepared.score("all", "exact", "all")
    assert prepared.score("sqrt", "exact", "all").tobytes() == whole.tobytes()
    assert prepared.score("all", "final", "all").tobytes() != whole.tobytes()


@pytest.mark.slow
def test_the_float64_twin_ends_where_nnabla_did(cell):
    assert cell.facts["float32_difference"] < 1e-5


@pytest.mark.slow
def test_learning_rates_and_decay_are_the_papers(prepared):
    run = prepared.runs["all"]
    rates = [step.learning_rate for step in run.steps]
    np.testing.assert_allclose(rates, 0.1 / np.sqrt(1 + np.arange(32)), rtol=1e-6)
    assert run.settings.weight_decay == pytest.approx(0.01)


@pytest.mark.slow
def test_koh_and_liang_solve_the_dense_system_of_the_closed_form(prepared):
    training, validation = prepared.parts["training"], prepared.parts["validation"]
    run, damping = prepared.runs["all"], 0.02
    definition = load_definition(prepared.folder / DEFINITION)
    found = koh_liang(definition, run, training, validation, damping, find_least=True)

    ((W, b),) = layers(run.parameters(), layer_names(SMALL))
    theta = np.concatenate([W.ravel(), b.ravel()])

    def with_one(part):
        return np.concatenate([part.x.astype(np.float64), np.ones((len(part), 1))], axis=1)

    X, n = with_one(training), len(training)
    p = expit(X @ theta)
    H = X.T @ (X * (p * (1 - p))[:, None]) / n
    v = with_one(validation).T @ (expit(with_one(validation) @ theta) - validation.y[:, 0]) / n
    solution = np.linalg.solve(H + damping * np.eye(len(H)), v)
    gradients = X * (p - training.y[:, 0])[:, None]
    np.testing.assert_allclose(found.solution, solution, atol=2e-4 * np.abs(solution).max())
    np.testing.assert_allclose(
        found.influence,
        gradients @ solution / n,
        atol=2e-4 * np.abs(gradients @ solution / n).max(),
    )
    assert found.residual < 1e-4
    assert found.least_eigenvalue == pytest.approx(np.linalg.eigvalsh(H)[0], abs=1e-5)


def test_the_papers_descent_converges_where_it_has_the_steps():
    A, v = np.diag([1.0, 2.0, 30.0]), np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(descend(lambda u: A @ u, v, 2000), [1, -1, 0.1], rtol=1e-6)
    first = v - 0.01 * (A @ v - v)
    second = first - 0.01 * (0.9 * (A @ v - v) + A @ first - v)
    np.testing.assert_allclose(descend(lambda u: A @ u, v, 2), second, rtol=1e-12)


def test_jaccard_is_of_the_ten_lowest_and_highest_together():
    truth = np.arange(60.0)
    assert cells.jaccard(truth, truth) == 1
    assert cells.jaccard(-truth, truth) == 1  # both ends count at once
    swapped = truth.copy()
    swapped[[0, 30]] = swapped[[30, 0]]
    assert cells.jaccard(swapped, truth) == pytest.approx(19 / 21)


@pytest.mark.slow
def test_the_parts_do_not_overlap_and_the_training_part_is_standardised():
    parts = draw("mnist", 1)
    stacked = np.concatenate([part.x for part in parts.values()])
    assert len(np.unique(stacked, axis=0)) == len(stacked) == 600
    np.testing.assert_allclose(parts["training"].x.mean(axis=0), 0, atol=1e-5)
    deviations = parts["training"].x.std(axis=0)
    assert set(np.round(deviations, 3)) == {0.0, 1.0}


def test_the_csv_holds_the_very_values(tmp_path):
    part = draw("fair", 1, n=40)["training"]
    write(part, tmp_path / "part.csv")
    with (tmp_path / "part.csv").open() as file:
        rows = list(csv.reader(file))[1:]
    read = np.array(rows, np.float64).astype(np.float32)
    assert np.array_equal(read, np.concatenate([part.x, part.y], axis=1))


@pytest.mark.slow
def test_finished_cells_are_not_computed_again_unless_settings_change(tmp_path, monkeypatch, cell):
    computed = []

    def compute(settings, seed):
        computed.append((settings.problem, settings.model, settings.n_rows, seed))
        return cell

    monkeypatch.setattr(script, "compute", compute)
    monkeypatch.setattr(script, "COLUMNS", [("fair", "logreg"), ("fair", "dnn")])
    script.main(["--seeds", "1", "--output", str(tmp_path)])
    script.main(["--seeds", "2", "--output", str(tmp_path)])
    assert [seed for *_, seed in computed] == [0, 0, 1, 1]
    script.main(["--seeds", "1", "--rows", "40", "--output", str(tmp_path)])
    assert computed[4:] == [("fair", "logreg", 40, 0), ("fair", "dnn", 40, 0)]

    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(cells.COMPARISONS)
    tau = cell.agreement()[0]["tau"]
    assert float(rows[0]["tau"]) == pytest.approx(tau, abs=1e-6)
    assert f"| Fair, logistic regression | {tau:.2f} |" in (tmp_path / "table.md").read_text()
    described = json.loads((tmp_path / "settings.json").read_text())
    assert described["seeds"] == [0]
    assert "--rows 40" in described["command"]
