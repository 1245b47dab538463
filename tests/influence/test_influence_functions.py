"""Influence functions against dense matrices in float64, and against leaving a row out."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence import train
from nnabla_influence.definition import build_objective, load_definition
from nnabla_influence.engine import NumpyEngine
from nnabla_influence.errors import ScoreError
from nnabla_influence.influence import influence_functions as module
from nnabla_influence.influence.targets import LOSS, target_gradient
from nnabla_influence.progress import SilentProgress
from nnabla_influence.runs.run import read_run
from tests import cases
from tests.cases import CASES, Case, write_csv
from tests.engine.products import CONTEXT, ENGINES, objective_of, relative
from tests.influence.test_targets import MORE
from tests.reference import Reference, float64

N, DECAY, PENALTY = 40, 0.001, 0.25
NAMES = ("h/affine/W", "h/affine/b", "out/affine/W", "out/affine/b")


def network(v):
    """Two hidden units and few steps: at saddle-like points the Hessian has negative curvature."""
    h = F.tanh(PF.affine(v["x"], 2, name="h"))
    each = F.mean(F.squared_error(PF.affine(h, 1, name="out"), v["t"]))
    return each + PENALTY * F.sum(F.pow_scalar(PF.get_parameter_or_create("h/affine/W", (3, 2)), 4))


CASE = Case("penalized", {"x": (3,), "t": (1,)}, network, lambda p, v: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("penalized")
    for seed, part in enumerate(("training", "validation")):
        write_csv(folder / f"{part}.csv", CASE.inputs(N, seed=seed))
    CASE.save_definition(folder, iter_per_epoch=5, max_epoch=2, weight_decay=DECAY)
    train(folder / "net.nntxt", folder / "run", parameters=folder / "net.h5", device="cpu")
    return folder


def influence_functions(folder: Path) -> module.InfluenceFunctions:
    """With the Hessian, at the run's parameters."""
    definition, run = load_definition(folder / "net.nntxt"), read_run(folder / "run")
    engine = NumpyEngine(build_objective(definition, 16, CONTEXT, run.parameters()))
    training, validation = (fetch_of(CASE.inputs(N, seed=seed)) for seed in (0, 1))
    v = target_gradient(engine, validation, np.arange(N), LOSS, SilentProgress()).data[None]
    decay = module.decay_in_objective(definition.solver)
    return module.solve(engine, training, np.arange(N), v, "hessian", decay)


def fetch_of(arrays):
    return lambda rows: {name: values[rows] for name, values in arrays.items()}


def gradients_of_rows(theta: np.ndarray, seed: int) -> np.ndarray:
    """(N, 11): of each row's squared error, by hand."""
    data = CASE.inputs(N, seed=seed)
    x, t = (data[name].astype(np.float64) for name in ("x", "t"))
    w, b, out, c = theta[:6].reshape(3, 2), theta[6:8], theta[8:10], theta[10]
    h = np.tanh(x @ w + b)
    error = 2 * (h @ out + c - t[:, 0])
    before = error[:, None] * out * (1 - h**2)
    of_w = (x[:, :, None] * before[:, None, :]).reshape(N, 6)
    return np.hstack([of_w, before, error[:, None] * h, error[:, None]])


def dense(run: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The Hessian of the training objective, v and each row's gradient, in float64."""
    parameters = read_run(run).parameters()
    theta = np.concatenate([parameters[name].ravel() for name in NAMES]).astype(np.float64)

    def gradient(theta: np.ndarray) -> np.ndarray:
        of_penalty = np.concatenate([4 * PENALTY * theta[:6] ** 3, np.zeros(5)])
        return gradients_of_rows(theta, 0).mean(0) + of_penalty + DECAY * theta

    half = 1e-5 * np.eye(11)
    hessian = np.array([gradient(theta + d) - gradient(theta - d) for d in half]) / 2e-5
    return hessian, gradients_of_rows(theta, 1).mean(0), gradients_of_rows(theta, 0)


@pytest.mark.slow
@pytest.mark.parametrize("block", [256, 2**26])
def test_damping_is_the_least_that_makes_the_hessian_positive_definite(folder, monkeypatch, block):
    hessian, v, gradients = dense(folder / "run")
    least = float(np.linalg.eigvalsh(hessian)[0])
    assert least < -0.011  # the yardstick, looked at: the first damping is in vain
    dampings = (0.01, -least * 0.9, -least * 1.5, -least * 100)
    monkeypatch.setattr(module, "DAMPINGS", dampings)
    monkeypatch.setattr(module, "TOLERANCE", 1e-4)
    monkeypatch.setattr(module, "BLOCK_BYTES", block)
    found = influence_functions(folder)
    assert found.damping == dampings[2]
    damped = hessian + found.damping * np.eye(len(v))
    wanted = gradients @ np.linalg.solve(damped, v) / N
    np.testing.assert_allclose(found.influence[0], wanted, rtol=0, atol=1e-3 * np.abs(wanted).max())


def test_a_hessian_that_no_damping_makes_positive_definite_is_refused(folder, monkeypatch):
    monkeypatch.setattr(module, "DAMPINGS", (0.001, 0.01))
    with pytest.raises(ScoreError, match=r"net\.nntxt: "):
        influence_functions(folder)


def test_a_system_that_needs_too_many_products_gets_more_damping(folder, monkeypatch):
    monkeypatch.setattr(module, "DAMPINGS", (2.0, 1e4))
    monkeypatch.setattr(module, "TOLERANCE", 1e-3)
    monkeypatch.setattr(module, "MAX_STEPS", 2)
    found = influence_functions(folder)
    assert found.damping == 1e4
    hessian, v, gradients = dense(folder / "run")
    wanted = gradients @ np.linalg.solve(hessian + 1e4 * np.eye(len(v)), v) / N
    np.testing.assert_allclose(found.influence[0], wanted, rtol=0, atol=1e-2 * np.abs(wanted).max())


DENSE = {
    "cnn-softmax": lambda z, v: (
        -jax.nn.log_softmax(z)[jnp.arange(len(z)), v["y"][:, 0].astype(int)]
    ),
    "linear-squared": lambda z, v: ((z - v["y"]) ** 2).mean(1),
    "sigmoid": lambda z, v: (jax.nn.softplus(z) - v["y"] * z).mean(1),
}
"""The losses of the outputs z."""


def outputs_of(name: str, p, v):
    if name == "cnn-softmax":
        h = cases._pool(jax.nn.relu(cases._convolution(p, "c1", v["x"], 1)), jax.lax.max, -jnp.inf)
        h = cases._pool(jnp.tanh(cases._convolution(p, "c2", h, 1)), jax.lax.add, 0.0) / 4
        return cases._affine(p, "out", h)
    return cases._affine(p, "out", v["x"])


class Dense:
    """The matrices of a case in float64."""

    def __init__(self, case: Case, engine, inputs):
        self.parameters, v = float64(case.parameters()), float64(inputs)
        theta = {name: self.parameters[name] for name in engine.objective.parameters}
        start = jnp.concatenate([value.ravel() for value in theta.values()])

        def tree(flat):
            cuts = np.cumsum([value.size for value in theta.values()])[:-1]
            parts = jnp.split(flat, cuts)
            return {k: part.reshape(x.shape) for (k, x), part in zip(theta.items(), parts)}

        def outputs(flat):
            return outputs_of(case.name, tree(flat), v)

        losses, z = DENSE[case.name], outputs(start)
        n = len(z)
        self.outputs = np.asarray(jax.jacfwd(outputs)(start))
        bend = jax.hessian(lambda z: losses(z, v).sum())(z)
        bend = np.asarray(bend)[np.arange(n), :, np.arange(n)]
        self.gauss_newton = np.einsum("nkp,nkl,nlq->pq", self.outputs, bend, self.outputs) / n
        self.hessian = np.asarray(jax.hessian(lambda t: losses(outputs(t), v).mean())(start))
        self.rows = np.asarray(jax.jacfwd(lambda t: losses(outputs(t), v))(start))


@pytest.mark.parametrize("build", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("curvature", ["gauss-newton", "hessian"])
def test_agrees_with_dense_matrices(build, tmp_path, monkeypatch, name: str, curvature: str):
    """Three right sides at once, in blocks of rows and chunks that do not divide them."""
    case = next(case for case in (*CASES, *MORE) if case.name == name)
    engine, inputs = build(objective_of(case, tmp_path, 5)), case.inputs(N, seed=3)
    monkeypatch.setattr(module, "BLOCK_BYTES", 0)
    monkeypatch.setattr(module, "STEPS", 100)
    monkeypatch.setattr(module, "TOLERANCE", 1e-5)
    monkeypatch.setattr(module, "DAMPINGS", (0.01, 1.0, 10.0))
    dense, rows = Dense(case, engine, inputs), np.arange(N)
    v = np.random.default_rng(6).normal(size=(3, engine.size)) * [[1], [1e-3], [20]]
    found = module.solve(engine, fetch_of(inputs), rows, v, curvature, DECAY)
    matrix = dense.gauss_newton if curvature == "gauss-newton" else dense.hessian
    if curvature == "hessian":
        least = np.linalg.eigvalsh(matrix)[0] + DECAY
        assert found.damping == next(d for d in module.DAMPINGS if least + d > 0)
    s = np.linalg.solve(matrix + (found.damping + DECAY) * np.eye(engine.size), v.T)
    for got, wanted in zip(found.influence, (dense.rows @ s).T / N):
        assert relative(got, wanted) < 1e-3
    for got, wanted in zip(found.outputs, np.moveaxis(dense.outputs @ s, 2, 0)):
        assert relative(got, wanted) < 1e-3
    assert (found.residual < 1e-3).all()
    # Each system is solved by itself.
    alone = module.solve(engine, fetch_of(inputs), rows, v[1:2], curvature, DECAY)
    np.testing.assert_allclose(alone.influence[0], found.influence[1], rtol=1e-3, atol=1e-9)


def test_a_preconditioner_saves_steps(tmp_path, monkeypatch):
    """A network that is too large for one is solved without, and alike."""
    case = next(case for case in CASES if case.name == "cnn-softmax")
    engine, inputs = NumpyEngine(objective_of(case, tmp_path, 8)), case.inputs(N, seed=3)
    v = np.random.default_rng(6).normal(size=(17, engine.size))  # more than one pass

    def solved(steps: int, rank: int) -> module.InfluenceFunctions:
        how = module.GaussNewton(0.5, steps, rank)
        return module.solve(engine, fetch_of(inputs), np.arange(N), v, "gauss-newton", how=how)

    few, many = solved(4, 64), solved(20, 64)
    assert (few.residual < solved(4, 0).residual / 4).all()
    assert relative(solved(40, 0).influence, many.influence) < 1e-3
    monkeypatch.setattr(module, "RANK_VALUES", 0)
    np.testing.assert_array_equal(solved(4, 64).influence, solved(module.STEPS, 0).influence)


def test_some_rows_estimate_the_matrix(tmp_path):
    """Where every row is there twice in a row, one half of the rows is as good as all."""
    case = next(case for case in CASES if case.name == "mlp-softmax")
    engine, inputs = NumpyEngine(objective_of(case, tmp_path, 8)), case.inputs(N, seed=3)
    twice = np.repeat(np.arange(N - 1), 2)  # evenly spread: one of each pair
    v = np.random.default_rng(6).normal(size=(2, engine.size))

    def solved(most_rows: float) -> module.InfluenceFunctions:
        how = module.GaussNewton(0.5, 100, 0, most_rows)
        return module.solve(engine, fetch_of(inputs), twice, v, "gauss-newton", how=how)

    some, all_ = solved(N - 1), solved(np.inf)
    assert some.influence.shape == all_.influence.shape == (2, len(twice))
    assert relative(some.influence, all_.influence) < 1e-3
    assert relative(some.outputs, all_.outputs) < 1e-3
    few = solved(N // 2)  # is not as good
    assert relative(few.influence, all_.influence) > 1e-2


@pytest.mark.parametrize("name", DENSE)
def test_damping_is_about_the_mean_eigenvalue(tmp_path, name: str):
    case = next(case for case in (*CASES, *MORE) if case.name == name)
    engine, inputs = NumpyEngine(objective_of(case, tmp_path, 8)), case.inputs(N, seed=3)
    v = np.ones((1, engine.size))
    found = module.solve(engine, fetch_of(inputs), np.arange(N), v, "gauss-newton")
    wanted = np.trace(Dense(case, engine, inputs).gauss_newton) / engine.size
    assert found.damping == pytest.approx(wanted, rel=0.3)


def test_at_an_optimum_it_is_the_change_without_the_row(tmp_path):
    """Logistic regression, where the Gauss-Newton matrix is the Hessian, trained with Newton."""
    case, decay = MORE[0], 0.5
    reference = Reference(case.losses, case.parameters(), case.trainable(case.parameters()))
    train, validation = case.inputs(N, seed=1), case.inputs(N, seed=2)
    like = reference.theta
    size = sum(value.size for value in like.values())

    def tree(flat):
        cuts = np.cumsum([value.size for value in like.values()])[:-1]
        parts = jnp.split(flat, cuts)
        return {k: part.reshape(x.shape) for (k, x), part in zip(like.items(), parts)}

    def objective(flat, weights):
        losses = reference.losses(tree(flat), float64(train))
        return (weights * losses).sum() / N + decay / 2 * (flat**2).sum()

    gradient, hessian = jax.jit(jax.grad(objective)), jax.jit(jax.hessian(objective))

    def optimum(weights):
        flat = jnp.zeros(size)
        for _ in range(8):
            flat -= jnp.linalg.solve(hessian(flat, weights), gradient(flat, weights))
        return flat

    def target(weights):
        return float(reference.mean_loss(tree(optimum(weights)), float64(validation)))

    at = {name: np.asarray(value) for name, value in tree(optimum(np.ones(N))).items()}
    engine = NumpyEngine(objective_of(case, tmp_path, 8, parameters=at))
    v = target_gradient(engine, fetch_of(validation), np.arange(N), LOSS, SilentProgress()).data
    fetch, rows, damping = fetch_of(train), np.arange(N), 1e-4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DAMPINGS", (damping,))
        by_hessian = module.solve(engine, fetch, rows, v[None], "hessian", decay).influence[0]
        patch.setattr(module._Matrix, "mean_eigenvalue", lambda self: damping)
        found = module.solve(engine, fetch, rows, v[None], "gauss-newton", decay).influence[0]
    np.testing.assert_allclose(by_hessian, found, rtol=1e-3, atol=1e-8)
    one = np.eye(N)
    rates = [(target(1 - one[row] / 50) - target(1 + one[row] / 50)) * 25 for row in range(N)]
    assert relative(found, np.array(rates)) < 3e-3
    changes = [target(1 - one[row]) - target(np.ones(N)) for row in range(N)]
    assert np.corrcoef(found, changes)[0, 1] > 0.999
