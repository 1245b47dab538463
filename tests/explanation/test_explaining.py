"""Explanations, against scores of single rows and against dense matrices in float64."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from nnabla_influence import Options, explain
from nnabla_influence.errors import DatasetError, InfluenceError, ScoreError
from nnabla_influence.explanation import explaining
from nnabla_influence.influence import influence_functions
from tests.scoring.test_scoring import Project, make_project
from tests.scoring.test_target import DAMPING, DECAY, Dense, wanted_influence

ROWS = [3, 17, 4, 0, 24]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Project:
    folder = tmp_path_factory.mktemp("explained")
    return make_project(folder, "mlp-softmax", 45, 8, weight_decay=DECAY)


@pytest.fixture
def solved(monkeypatch):
    """The systems are solved to the end, two rows at a time."""
    monkeypatch.setattr(
        influence_functions._Matrix, "mean_eigenvalue", lambda self: DAMPING / explaining.DAMPING
    )
    monkeypatch.setattr(influence_functions, "STEPS", 100)
    monkeypatch.setattr(influence_functions, "TOLERANCE", 1e-5)
    monkeypatch.setattr(explaining, "_AT_ONCE", 2)


def assert_close(got, wanted, within: float = 1e-3) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=within * np.abs(wanted).max())


def test_agrees_with_dense_matrices(table: Project, solved):
    found, dense = explain(table.net, run=table.run, rows=ROWS), Dense(table)
    losses = np.asarray(dense.losses(dense.theta, dense.validation))
    predicted = np.asarray(dense.logits(dense.theta, dense.validation)).argmax(1)
    assert [answer.row for answer in found.answers] == ROWS
    for answer, influence in zip(found.answers, found.influence):
        wanted = wanted_influence(dense, "loss", slice(answer.row, answer.row + 1))
        assert_close(influence, wanted)
        assert answer.loss == pytest.approx(losses[answer.row], rel=1e-5)
        assert answer.given == dense.validation["y"][answer.row, 0]
        assert answer.predicted == predicted[answer.row]
        order = np.argsort(wanted)
        assert wanted[order[9]] < 0 < wanted[order[-10]]  # the yardstick, looked at
        assert_close([c.influence for c in answer.opponents], wanted[order[:10]])
        assert_close([c.influence for c in answer.proponents], wanted[order[::-1][:10]])
        without = losses[answer.row] + wanted[order[:10]].sum()
        assert answer.loss_without == pytest.approx(without, rel=1e-3)


def test_a_relabel_gain_is_the_change_of_the_influence(table: Project, solved):
    """The Gauss-Newton matrix of a cross entropy does not depend on the labels."""
    [answer] = explain(table.net, run=table.run, rows=[17]).answers
    dense = Dense(table)
    wanted = wanted_influence(dense, "loss", slice(17, 18))
    logits = np.array(dense.logits(dense.theta, dense.train))
    gains, expected = [], []
    for cause in (*answer.opponents, *answer.proponents):
        given = int(dense.train["y"][cause.row, 0])
        others = logits[cause.row].copy()
        others[given] = -np.inf
        assert (cause.given, cause.suggested) == (given, others.argmax())
        relabelled = Dense(table)
        labels = jnp.asarray(relabelled.train["y"]).at[cause.row, 0].set(cause.suggested)
        relabelled.train = {**relabelled.train, "y": labels}
        new = wanted_influence(relabelled, "loss", slice(17, 18))
        gains.append(cause.relabel_gain)
        expected.append(new[cause.row] - wanted[cause.row])
    assert_close(gains, np.array(expected))


def test_each_row_has_its_own_score(table: Project, monkeypatch):
    """As `score` gives it with this row alone, though the systems are not solved to the end."""
    monkeypatch.setattr(explaining, "_AT_ONCE", 3)
    monkeypatch.setattr(explaining, "DAMPING", 1)
    for target in ("loss", "margin"):
        found = explain(table.net, run=table.run, rows=ROWS, target=target)
        for row, influence in zip(ROWS, found.influence):
            options = Options("influence-function", validation_rows=[row], target=target)
            alone = table.score(options=options).scores.influence
            assert_close(influence, alone, 1e-4)


def test_the_margin_orders_alike_and_its_loss_stays_above_0(table: Project):
    by_loss, by_margin = (
        explain(table.net, run=table.run, rows=ROWS, target=target).answers
        for target in ("loss", "margin")
    )
    for one, other in zip(by_loss, by_margin):
        assert [c.row for c in one.opponents] == [c.row for c in other.opponents]
        margin = np.log(np.expm1(one.loss)) + sum(c.influence for c in other.opponents)
        assert other.loss_without == pytest.approx(np.log1p(np.exp(margin)), rel=1e-4)


def test_parameters_in_place_of_a_run(table: Project):
    by_run = explain(table.net, run=table.run, rows=[3]).influence
    by_file = explain(table.net, parameters=table.run / "final.h5", rows=[3]).influence
    np.testing.assert_array_equal(by_file, by_run)


def test_the_table_has_a_column_for_each_row(table: Project, tmp_path):
    path = tmp_path / "table.csv"
    for _ in range(2):  # it may be replaced
        found = explain(table.net, run=table.run, rows=ROWS, table=path)
    header, *lines = path.read_text().splitlines()
    assert header == "datasource_index,row_3,row_17,row_4,row_0,row_24"
    values = np.array([[float(cell) for cell in line.split(",")] for line in lines])
    np.testing.assert_array_equal(values[:, 0], np.arange(45))
    np.testing.assert_array_equal(values[:, 1:].astype(np.float32), found.influence.T)


def test_a_row_that_the_loss_ignores_has_no_causes(table: Project, tmp_path):
    lines = (table.folder / "validation.csv").read_text().splitlines()
    lines[4] = f"{lines[4].rpartition(',')[0]},-1"
    evaluated = tmp_path / "evaluated.csv"
    evaluated.write_text("\n".join(lines) + "\n")
    found = explain(table.net, run=table.run, validation=evaluated, rows=[3, 5])
    ignored, other = found.answers
    assert not ignored.opponents
    assert not ignored.proponents
    assert not found.influence[0].any()
    assert other.opponents


@pytest.fixture(scope="module")
def regression(tmp_path_factory) -> Project:
    return make_project(tmp_path_factory.mktemp("regression"), "linear-squared", 20, 10)


def test_a_regression_has_no_labels(regression: Project, tmp_path):
    page = tmp_path / "page.html"
    found = explain(regression.net, run=regression.run, rows=None, output=page)
    assert len(found.answers) == 25
    assert found.label is None
    for answer in found.answers:
        assert answer.given is None
        assert {(c.given, c.suggested, c.relabel_gain) for c in answer.opponents} == {
            (None, None, None)
        }
    text = page.read_text()
    assert "predicted" in text
    assert "suggested</th>" not in text
    with pytest.raises(ScoreError, match="margin"):
        explain(regression.net, run=regression.run, rows=[0], target="margin")


def test_no_more_rows_than_a_page_or_a_table_holds(table: Project, tmp_path):
    header, *lines = (table.folder / "validation.csv").read_text().splitlines()
    evaluated = tmp_path / "evaluated.csv"
    evaluated.write_text("\n".join([header, *(lines * 41)[:1001]]) + "\n")
    given = {"run": table.run, "validation": evaluated}
    with pytest.raises(InfluenceError, match=r"1001 rows .* 1000"):
        explain(table.net, rows=None, **given)
    with pytest.raises(InfluenceError, match=r"201 rows .* page.* 200"):
        explain(table.net, rows=range(201), output=tmp_path / "page.html", **given)
    assert not (tmp_path / "page.html").exists()


def test_a_row_of_extreme_values_is_named(regression: Project, tmp_path):
    lines = (regression.folder / "validation.csv").read_text().splitlines()
    lines[4] = ",".join(["3e38"] * 5)
    evaluated = tmp_path / "evaluated.csv"
    evaluated.write_text("\n".join(lines) + "\n")
    with pytest.raises(ScoreError, match=r"evaluated\.csv.* row 3"):
        explain(regression.net, run=regression.run, validation=evaluated, rows=[2, 3])


@pytest.mark.parametrize(("rows", "named"), [([3, 25], "no row 25"), ([3, 3], "row 3 .*twice")])
def test_rows_that_are_not_there_are_refused(table: Project, rows, named: str):
    with pytest.raises(DatasetError, match=named):
        explain(table.net, run=table.run, rows=rows)
