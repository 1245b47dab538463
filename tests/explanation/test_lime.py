"""LIME against its formulas written out, and against the authors' program."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from lime.lime_image import LimeImageExplainer
from lime.lime_tabular import LimeTabularExplainer

from nnabla_influence.errors import UnsupportedError
from nnabla_influence.explanation import lime
from nnabla_influence.explanation.lime import explain_features, explain_picture, superpixels

RNG = np.random.default_rng(0)
PICTURE = RNG.uniform(size=(3, 16, 16)).astype(np.float32)
SEGMENTS = np.arange(256).reshape(16, 16) // 64 * 4 + np.arange(16) // 4  # 16 squares
MEAN = PICTURE.mean(axis=(1, 2), keepdims=True)
ROW, DEVIATIONS = RNG.normal(size=6), RNG.uniform(0.5, 2, size=6)
CLASSES = [2, 0]


class Network:
    """Probabilities of three classes, which remembers what it was given."""

    def __init__(self, size: int):
        self.weights = np.random.default_rng(1).normal(size=(size, 3)) * 2 / np.sqrt(size)
        self.given: list[np.ndarray] = []

    def __call__(self, values: np.ndarray) -> np.ndarray:
        self.given.append(values)
        e = np.exp(2 * np.tanh(values.reshape(len(values), -1) @ self.weights))
        return e / e.sum(axis=1, keepdims=True)

    def samples(self) -> np.ndarray:
        return np.concatenate(self.given)


def of_picture(network, samples=300, seed=0):
    return explain_picture(network, PICTURE, SEGMENTS, CLASSES, samples=samples, seed=seed)


def of_row(network, samples=300, seed=0):
    return explain_features(network, ROW, DEVIATIONS, CLASSES, samples=samples, seed=seed)


def masks_and_kernel(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read off the pictures what is shown: all else has the mean colour of the picture."""
    shown = (samples == PICTURE).all(axis=1)
    np.testing.assert_array_equal(samples, np.where(shown[:, None], PICTURE, MEAN))
    z = np.stack([shown[:, k == SEGMENTS].all(axis=1) for k in range(16)], axis=1)
    np.testing.assert_array_equal(z[:, SEGMENTS], shown)
    one = np.ones(16)
    norms = np.linalg.norm(z, axis=1) * np.linalg.norm(one)
    distances = 1 - (z @ one) / np.where(norms > 0, norms, 1)
    return z.astype(float), np.exp(-(distances**2) / (2 * 0.25**2))


def changes_and_kernel(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z = (samples - ROW) / DEVIATIONS
    return z, np.exp(-(z**2).sum(axis=1) / (2 * 0.75**2 * 6))


@pytest.mark.parametrize(
    ("explained", "size", "read"),
    [(of_picture, PICTURE.size, masks_and_kernel), (of_row, 6, changes_and_kernel)],
)
def test_is_the_weighted_ridge_regression(explained, size: int, read):
    network = Network(size)
    models = explained(network)
    z, pi = read(network.samples())
    assert len(z) == 300
    assert pi[0] == 1  # the row itself
    assert (z[1:] > 0).mean() == pytest.approx(0.5, abs=0.05)
    design = np.hstack([np.ones((300, 1)), z])
    penalty = np.diag([0.0] + [1.0] * z.shape[1])  # none of the intercept
    for c, model in zip(CLASSES, models):
        f = network(network.samples()[:300])[:, c]
        solution = np.linalg.solve(
            sum(p * np.outer(d, d) for p, d in zip(pi, design)) + penalty,
            sum(p * y * d for p, y, d in zip(pi, f, design)),
        )
        np.testing.assert_allclose(model.weights, solution[1:], rtol=1e-6, atol=1e-9)
        assert model.intercept == pytest.approx(solution[0], rel=1e-6)
        mean = (pi * f).sum() / pi.sum()
        unexplained = (pi * (f - design @ solution) ** 2).sum() / (pi * (f - mean) ** 2).sum()
        assert model.r2 == pytest.approx(1 - unexplained, rel=1e-6)


def test_a_score_linear_in_the_superpixels_is_recovered():
    wanted = np.random.default_rng(2).normal(size=(16, 3))

    def scores(pictures: np.ndarray) -> np.ndarray:
        return 5 + masks_and_kernel(pictures)[0] @ wanted

    for c, model in zip(CLASSES, of_picture(scores, samples=2000)):
        np.testing.assert_allclose(model.weights, wanted[:, c], rtol=0.02, atol=0.02)
        assert model.intercept == pytest.approx(5, abs=0.1)
        assert model.r2 > 0.999
        assert model.warning(2000) == ""


def test_agrees_with_the_authors_program():
    """With other samples; a rank is compared by its correlation."""
    network = Network(PICTURE.size)
    theirs = LimeImageExplainer(random_state=3).explain_instance(
        np.moveaxis(PICTURE, 0, -1).astype(float),
        lambda pictures: network(np.moveaxis(pictures, -1, 1)),
        labels=CLASSES,
        top_labels=None,
        hide_color=MEAN.ravel(),
        num_samples=4000,
        segmentation_fn=lambda _: SEGMENTS,
    )
    assert_agree(of_picture(network, samples=4000), theirs)


def test_agrees_with_the_authors_program_on_tables():
    network, data = Network(6), np.random.default_rng(4).normal(size=(50, 6)) * DEVIATIONS
    theirs = LimeTabularExplainer(
        data, discretize_continuous=False, sample_around_instance=True, random_state=3
    ).explain_instance(ROW, network, labels=CLASSES, num_samples=4000)
    kwargs = {"samples": 4000, "seed": 0}
    assert_agree(explain_features(network, ROW, data.std(axis=0), CLASSES, **kwargs), theirs)


def assert_agree(models, theirs) -> None:
    for c, model in zip(CLASSES, models):
        _, weights = zip(*sorted(theirs.local_exp[c]))
        ranks = [np.argsort(np.argsort(w)) for w in (model.weights, weights)]
        assert np.corrcoef(*ranks)[0, 1] > 0.95
        assert np.linalg.norm(model.weights - weights) < 0.15 * np.linalg.norm(weights)
    assert models[-1].r2 == pytest.approx(theirs.score, abs=0.03)  # it keeps the last one


@pytest.mark.parametrize(("explained", "size"), [(of_picture, PICTURE.size), (of_row, 6)])
def test_the_seed_decides_and_blocks_do_not(monkeypatch, explained, size: int):
    first, again, other = (explained(Network(size), seed=seed) for seed in (5, 5, 6))
    monkeypatch.setattr(lime, "_BLOCK_VALUES", 7 * size)
    network = Network(size)
    in_blocks = explained(network, seed=5)
    assert {len(values) for values in network.given} == {7, 300 % 7}
    for a, b, c, d in zip(first, again, other, in_blocks):
        np.testing.assert_array_equal(a.weights, b.weights)
        assert not np.allclose(a.weights, c.weights)
        np.testing.assert_allclose(a.weights, d.weights, rtol=1e-9, atol=1e-12)


def test_the_noise_is_that_of_other_seeds():
    found = [of_row(Network(6), samples=100, seed=seed)[0] for seed in range(60)]
    weights = np.array([model.weights for model in found])
    wanted = weights.var(axis=0, ddof=1).sum() / (weights**2).sum(axis=1).mean()
    assert np.median([model.noise for model in found]) == pytest.approx(wanted, rel=0.5)


def test_a_bad_fit_is_said_and_how_many_samples_help():
    def either(rows: np.ndarray) -> np.ndarray:  # of two features above the row's, not both
        above = rows[:, :2] > ROW[:2]
        return np.repeat((above[:, :1] ^ above[:, 1:]).astype(float), 3, axis=1)

    [model, _] = of_row(either)
    assert model.r2 < 0.1
    assert "a linear model explains" in model.warning(300)
    [few, _] = of_picture(Network(PICTURE.size), samples=40)
    enough = int(few.warning(40).split()[-2])
    [model, _] = of_picture(Network(PICTURE.size), samples=enough)
    assert "samples" not in model.warning(enough)


def test_what_never_changes_has_no_weight():
    kwargs = {"samples": 50, "seed": 0}
    network = Network(6)
    [model] = explain_features(network, ROW, np.where(np.arange(6) < 2, 0, 1.0), [1], **kwargs)
    np.testing.assert_array_equal(network.samples()[:, :2], np.broadcast_to(ROW[:2], (50, 2)))
    assert not model.weights[:2].any()
    for rounding in (0, 1e-8):

        def constant(rows: np.ndarray, rounding=rounding) -> np.ndarray:
            return 0.1 + rounding * rows[:, :1]

        [model] = explain_features(constant, ROW, DEVIATIONS, [0], **kwargs)
        assert np.abs(model.weights).max() < 1e-6
        assert (model.r2, model.noise) == (0, 0)
        assert model.warning(50)


@pytest.mark.parametrize(
    ("shape", "least", "most"),
    [((8, 8), 10, 16), ((1, 28, 28), 30, 60), ((3, 200, 100), 30, 60), ((4, 1, 3), 1, 1)],
)
def test_superpixels(shape: tuple[int, ...], least: int, most: int):
    """Of a dark picture with a bright part, in any range of values; none crosses the edge."""
    bright = np.zeros(shape[-2:], bool)
    bright[: shape[-2] // 3, shape[-1] // 2 :] = True
    for scale in (1, 255):
        segments = superpixels(np.broadcast_to(scale * bright, shape).astype(np.float32))
        assert segments.shape == shape[-2:]
        numbers = np.unique(segments)
        np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
        assert least <= len(numbers) <= most
        if most > 1:
            crossing = [k for k in numbers if len(np.unique(bright[segments == k])) > 1]
            assert len(crossing) <= len(numbers) // 10


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(UnsupportedError, match=r"scikit-image.*nnabla-influence\[lime\]"):
        superpixels(PICTURE)
