"""Scores of other targets and with the other curvature, against dense matrices in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence import Options
from nnabla_influence.errors import DatasetError, InfluenceError, ScoreError, UnsupportedError
from nnabla_influence.influence import influence_functions
from nnabla_influence.ranking import Ranking, read_ranking
from nnabla_influence.review.reviewed import read_reviewed
from tests import cases
from tests.cases import Case
from tests.reference import float64
from tests.scoring.test_scoring import BY_NAME, Project, make_project

DECAY, DAMPING = 0.02, 0.05
PHI = {"loss": lambda p: -jnp.log(p), "error": lambda p: 1 - p, "q-loss": lambda p: 2 - 2 * p**0.5}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Project:
    folder = tmp_path_factory.mktemp("target")
    return make_project(folder, "mlp-softmax", 45, 8, weight_decay=DECAY)


class Dense:
    """A project's final parameters, flat, and what follows from them."""

    def __init__(self, project: Project):
        self.project = project
        everything = float64(project.final_parameters())
        self.names = sorted(everything)
        self.shapes = [everything[name].shape for name in self.names]
        self.theta = jnp.concatenate([everything[name].ravel() for name in self.names])
        self.train, self.validation = (
            float64(project.arrays(name)) for name in ("training", "validation")
        )

    def logits(self, theta, v):
        cuts = np.cumsum([np.prod(shape, dtype=int) for shape in self.shapes])[:-1]
        parts = zip(self.names, jnp.split(theta, cuts), self.shapes)
        p = {name: part.reshape(shape) for name, part, shape in parts}
        h = jax.nn.relu(cases._affine(p, "h2", jnp.tanh(cases._affine(p, "h1", v["x"]))))
        return cases._affine(p, "out", h)

    def losses(self, theta, v):
        return cases._cross_entropy(self.logits(theta, v), v["y"])

    def gradient(self, target: str, rows) -> np.ndarray:
        some = {name: values[rows] for name, values in self.validation.items()}
        return np.asarray(
            jax.grad(lambda t: PHI[target](jnp.exp(-self.losses(t, some))).mean())(self.theta)
        )

    def of_rows(self) -> np.ndarray:
        return np.asarray(jax.jacfwd(lambda t: self.losses(t, self.train))(self.theta))

    def gauss_newton(self, rows) -> np.ndarray:
        some = {name: values[np.asarray(rows)] for name, values in self.train.items()}
        z = np.asarray(jax.jacfwd(lambda t: self.logits(t, some))(self.theta))
        p = np.asarray(jax.nn.softmax(self.logits(self.theta, some)))
        bend = p[:, :, None] * (np.eye(p.shape[1]) - p[:, None, :])
        return np.einsum("nkp,nkl,nlq->pq", z, bend, z) / len(rows)

    def worst(self) -> tuple[int, np.ndarray]:
        labels = np.asarray(self.validation["y"])[:, 0]
        losses = np.asarray(self.losses(self.theta, self.validation))
        means = {int(c): losses[labels == c].mean() for c in np.unique(labels)}
        worst = max(means, key=means.__getitem__)
        return worst, np.flatnonzero(labels == worst)


def by_hand(dense: Dense, target: str) -> np.ndarray:
    """Algorithm 2 with the Gauss-Newton matrix in the Hessian's place, over two epochs."""
    u, each = dense.gradient(target, slice(None)), dense.of_rows()
    wanted = np.zeros(len(each))
    for rows, rate in reversed(dense.project.steps(2)):
        for row in rows:
            wanted[row] += rate / len(rows) * each[row] @ u
        u = u - rate * (dense.gauss_newton(rows) @ u + DECAY * u)
    return wanted


@pytest.mark.parametrize("target", ["loss", "q-loss"])
def test_final_with_the_gauss_newton_matrix_is_algorithm_2_with_it(table: Project, target: str):
    options = Options(method="final", window=2, target=target, curvature="gauss-newton")
    found = table.score(options=options)
    wanted = by_hand(Dense(table), target)
    np.testing.assert_allclose(
        found.scores.influence, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max()
    )
    words = f"recorded final gauss-newton{'' if target == 'loss' else ' q-loss'}"
    assert found.orders.origin == words


def test_a_target_may_be_a_function(table: Project):
    def bounded(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 1 - np.exp(-losses), np.exp(-losses)

    own, named = (table.score(options=Options("final", target=t)) for t in (bounded, "error"))
    np.testing.assert_array_equal(own.scores.influence, named.scores.influence)
    assert own.orders.origin == "recorded final bounded"


def wanted_influence(dense: Dense, target: str, rows) -> np.ndarray:
    n = len(dense.train["y"])
    matrix = dense.gauss_newton(range(n)) + (DAMPING + DECAY) * np.eye(dense.theta.size)
    return dense.of_rows() @ np.linalg.solve(matrix, dense.gradient(target, rows)) / n


@pytest.fixture
def solved(monkeypatch):
    monkeypatch.setattr(influence_functions._Matrix, "mean_eigenvalue", lambda self: DAMPING)
    monkeypatch.setattr(influence_functions, "STEPS", 100)
    monkeypatch.setattr(influence_functions, "TOLERANCE", 1e-5)


@pytest.mark.parametrize("target", PHI)
def test_influence_functions_need_the_final_parameters_only(table, solved, tmp_path, target):
    """The same from a run, and from a file of parameters."""
    options, output = Options("influence-function", target=target), tmp_path / "ranking.csv"
    by_run = table.score(options=options, output=output)
    by_file = table.score(options=options, run=None, parameters=table.run / "final.h5")
    np.testing.assert_allclose(by_file.influence, by_run.influence, rtol=1e-6)
    wanted = wanted_influence(Dense(table), target, slice(None))
    np.testing.assert_allclose(
        by_run.scores.influence, wanted, rtol=0, atol=1e-3 * np.abs(wanted).max()
    )
    read = read_ranking(output)
    assert read.orders.origin == f"influence-function gauss-newton {target}"
    assert read.verdict.is_rough
    assert (read.scores.times_seen == 1).all()
    reviewed = read_reviewed(output)
    assert reviewed.orders is None
    assert reviewed.method == f"influence-function gauss-newton {target}"


def test_the_worst_class_is_that_of_the_highest_mean_loss(table: Project, solved):
    dense = Dense(table)
    worst, rows = dense.worst()
    wanted = wanted_influence(dense, "loss", rows)
    for asked in ("worst", worst):
        found: Ranking = table.score(options=Options("influence-function", target_class=asked))
        np.testing.assert_allclose(
            found.scores.influence, wanted, rtol=0, atol=1e-3 * np.abs(wanted).max()
        )
        assert found.orders.origin == f"influence-function gauss-newton loss class {worst}"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"method": "auto", "curvature": "gauss-newton"}, "curvature"),
        ({"method": "exact", "curvature": "hessian"}, "curvature"),
        ({"target": "accuracy"}, "target"),
        ({"target_class": "best"}, "target_class"),
        ({"target_class": -1}, "target_class"),
        ({"method": "influence-function", "window": "all"}, "window"),
    ],
)
def test_a_wrong_option_is_named(options, named: str):
    with pytest.raises(InfluenceError, match=named):
        Options(**options)


def test_a_class_without_validation_rows_is_refused(table: Project):
    with pytest.raises(DatasetError, match=r"validation\.csv: .* 7"):
        table.score(options=Options("final", target_class=7))


def test_what_a_regression_lacks_is_refused(tmp_path):
    regression = make_project(tmp_path, "linear-squared", 20, 10)
    for options in ({"target_class": 0}, {"target": "margin"}):
        with pytest.raises(ScoreError, match=r"net\.nntxt"):
            regression.score(options=Options("final", **options))


def test_a_loss_without_outputs_has_no_gauss_newton_matrix(tmp_path, monkeypatch):
    case = Case(
        "no comparison",
        {"x": (4,), "y": (1,)},
        lambda v: F.exp(0.1 * (PF.affine(v["x"], 1, name="out") - v["y"])),
        lambda p, v: None,
    )
    monkeypatch.setitem(BY_NAME, case.name, case)
    project = make_project(tmp_path, case.name, 20, 10)
    with pytest.raises(UnsupportedError, match="Gauss-Newton"):
        project.score(options=Options("influence-function"))
    assert len(project.score(options=Options("influence-function", curvature="hessian"))) == 20
