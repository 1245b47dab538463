"""Influence functions where the Hessian is not positive definite, in blocks, and with penalties."""

from __future__ import annotations

from pathlib import Path

import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence import train
from nnabla_influence.definition import load_definition
from nnabla_influence.device import choose_device
from nnabla_influence.errors import ScoreError
from nnabla_influence.influence import influence_functions as module
from nnabla_influence.progress import SilentProgress
from nnabla_influence.runs.run import read_run
from nnabla_influence.scoring.inputs import open_training, open_validation
from tests.cases import Case, write_csv

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
    definition, progress = load_definition(folder / "net.nntxt"), SilentProgress()
    return module.influence_functions(
        definition,
        read_run(folder / "run"),
        open_training(definition, folder / "training.csv", progress),
        open_validation(definition, folder / "validation.csv", progress),
        definition.training.batch_size,
        choose_device("cpu").context,
    )


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
@pytest.mark.parametrize("block", [16, 256])
def test_damping_is_the_least_that_makes_the_hessian_positive_definite(folder, monkeypatch, block):
    hessian, v, gradients = dense(folder / "run")
    least = float(np.linalg.eigvalsh(hessian)[0])
    assert least < -0.011  # the yardstick, looked at: the first damping is in vain
    dampings = (0.01, -least * 0.9, -least * 1.5, -least * 100)
    monkeypatch.setattr(module, "DAMPINGS", dampings)
    monkeypatch.setattr(module, "TOLERANCE", 1e-4)
    monkeypatch.setattr(module, "BLOCK", block)
    found = influence_functions(folder)
    assert found.damping == dampings[2]
    damped = hessian + found.damping * np.eye(len(v))
    wanted = gradients @ np.linalg.solve(damped, v) / N
    np.testing.assert_allclose(found.influence, wanted, rtol=0, atol=1e-3 * np.abs(wanted).max())


def test_a_hessian_that_no_damping_makes_positive_definite_is_refused(folder, monkeypatch):
    monkeypatch.setattr(module, "DAMPINGS", (0.001, 0.01))
    with pytest.raises(ScoreError, match="run: "):
        influence_functions(folder)


def test_a_system_that_needs_too_many_products_gets_more_damping(folder, monkeypatch):
    monkeypatch.setattr(module, "DAMPINGS", (2.0, 1e4))
    monkeypatch.setattr(module, "TOLERANCE", 1e-3)
    monkeypatch.setattr(module, "MAX_PRODUCTS", 2)
    found = influence_functions(folder)
    assert found.damping == 1e4
    hessian, v, gradients = dense(folder / "run")
    wanted = gradients @ np.linalg.solve(hessian + 1e4 * np.eye(len(v)), v) / N
    np.testing.assert_allclose(found.influence, wanted, rtol=0, atol=1e-2 * np.abs(wanted).max())
