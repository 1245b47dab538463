"""Targets and their gradients, against finite differences in float64."""

from __future__ import annotations

import jax
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import build_objective, load_definition
from nnabla_influence.engine import NumpyEngine
from nnabla_influence.errors import ScoreError
from nnabla_influence.influence.targets import target_gradient, target_of
from nnabla_influence.progress import SilentProgress
from tests.cases import CASES, Case
from tests.engine.products import CONTEXT, flat, relative
from tests.reference import Reference, float64

N = 9


def _two_labels(v):
    return F.sigmoid_cross_entropy(PF.affine(v["x"], 2, name="out"), v["y"])


def _two_labels_jax(p, v):
    z = v["x"] @ p["out/affine/W"] + p["out/affine/b"]
    return (jax.nn.softplus(z) - v["y"] * z).mean(1)


def _one_hot(v):
    return F.squared_error(F.softmax(PF.affine(v["x"], 3, name="out")), F.one_hot(v["y"], (3,)))


def _one_hot_jax(p, v):
    z = v["x"] @ p["out/affine/W"] + p["out/affine/b"]
    return ((jax.nn.softmax(z) - jax.nn.one_hot(v["y"][:, 0].astype(int), 3)) ** 2).mean(1)


MORE = [
    Case("sigmoid", {"x": (4,), "y": (2,)}, _two_labels, _two_labels_jax, binary=("y",)),
    Case("one-hot-squared", {"x": (4,), "y": (1,)}, _one_hot, _one_hot_jax, {"y": 3}),
]
CROSS_ENTROPIES = ("mlp-softmax", "mlp-categorical", "mlp-binary", "sigmoid")


def by_name(name: str) -> Case:
    return next(case for case in (*CASES, *MORE) if case.name == name)


def squared_log(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.log1p(losses) ** 2, 2 * np.log1p(losses) / (1 + losses)


def value(target, losses: np.ndarray, s: float) -> float:
    """V, of probabilities where there are such."""
    p = np.exp(-losses / s)
    of = {
        "loss": lambda: losses,
        "error": lambda: 1 - p,
        "q-loss": lambda: (1 - p**0.5) / 0.5,
        "margin": lambda: -np.log(p / (1 - p)),
        squared_log: lambda: squared_log(losses)[0],
    }
    return float(of[target]().mean())


@pytest.mark.parametrize(
    ("name", "target"),
    [
        *((n, t) for n in CROSS_ENTROPIES for t in ("loss", "error", "q-loss", "margin")),
        *((n, t) for n in ("linear-squared", "one-hot-squared") for t in ("error", "q-loss")),
        ("mlp-softmax", squared_log),
    ],
    ids=lambda given: getattr(given, "__name__", given),
)
def test_gradient_agrees_with_differences_of_the_target(name: str, target, tmp_path):
    case = by_name(name)
    definition = load_definition(case.save_definition(tmp_path), tmp_path / "net.h5")
    engine = NumpyEngine(build_objective(definition, 4, CONTEXT))
    inputs, parameters = case.inputs(N), case.parameters()
    got = target_gradient(
        engine,
        lambda rows: {k: v[rows] for k, v in inputs.items()},
        np.arange(N),
        target_of(target, definition),
        SilentProgress(),
        block=5,
    ).data

    reference = Reference(case.losses, parameters, case.trainable(parameters))
    s = 1.0
    if name not in CROSS_ENTROPIES:
        s = float(np.median(reference.losses(reference.theta, float64(inputs))))
    wanted = {}
    for key, at in reference.theta.items():
        slopes = np.zeros(at.size)
        for i in range(at.size):
            there = []
            for step in (1e-6, -1e-6):
                moved = np.array(at)
                moved.flat[i] += step
                losses = reference.losses({**reference.theta, key: moved}, float64(inputs))
                there.append(value(target, np.asarray(losses), s))
            slopes[i] = (there[0] - there[1]) / 2e-6
        wanted[key] = slopes
    assert relative(got, flat(engine, wanted)) < 1e-5


@pytest.mark.parametrize("name", ["loss", "error", "q-loss", "margin"])
def test_sure_and_hopeless_rows_stay_finite(name: str, tmp_path):
    case = by_name("mlp-softmax")
    target = target_of(name, load_definition(case.save_definition(tmp_path)))
    losses = np.array([0.0, 1e-30, 1e-8, 1e-6, 0.7, 50.0, 1e4])
    values, slopes = target.phi(losses)
    assert np.isfinite(values).all()
    assert np.isfinite(slopes).all()
    assert (np.diff(values) >= 0).all()
    assert (slopes >= 0).all()


def test_what_has_no_such_target_is_refused(tmp_path):
    regression = load_definition(by_name("linear-squared").save_definition(tmp_path))
    with pytest.raises(ScoreError, match="margin"):
        target_of("margin", regression)
    with pytest.raises(ScoreError, match="median"):
        target_of("error", regression).phi(np.array([0.0, 0.0, 1.0]))
    with pytest.raises(ScoreError, match="shape"):
        target_of(lambda losses: (losses, 1.0), regression).phi(np.ones(3))
