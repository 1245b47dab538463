"""Losses and the softmax, in both engines."""

from __future__ import annotations

import nnabla.functions as F
import numpy as np
import pytest

from tests.engine.functions import FunctionCase, between, check, normal
from tests.engine.training import check_as_trained, each

BOTH = [normal(4, 3), normal(4, 3, seed=1)]
BROADCAST = [normal(4, 1), normal(1, 3, seed=1)]
PROBABILITIES = [between(0.1, 0.9, 4, 3), between(0.4, 0.9, 4, 3, seed=1)]
DISTRIBUTIONS = [between(0.1, 0.9, 2, 3, 4), between(0.4, 0.9, 2, 3, 4, seed=1)]

OF_TWO = [
    ("absolute error", lambda a, b: F.absolute_error(a, b) ** 2, BOTH),
    ("binary cross entropy", F.binary_cross_entropy, PROBABILITIES),
    ("epsilon insensitive", lambda a, b: F.epsilon_insensitive_loss(a, b, 0.3) ** 2, BOTH),
    ("huber", lambda a, b: F.huber_loss(a, b, 0.5) ** 2, BOTH),
    ("huber, broadcast", lambda a, b: F.huber_loss(a, b), BROADCAST),
    ("kl", F.kl_multinomial, PROBABILITIES),
    ("kl of the last axis", lambda p, q: F.kl_multinomial(p, q, 2), DISTRIBUTIONS),
    ("kl of two axes", lambda p, q: F.kl_multinomial(p, q, -2), DISTRIBUTIONS),
    ("squared error", F.squared_error, BOTH),
    ("squared error, broadcast", F.squared_error, BROADCAST),
]


@pytest.mark.parametrize("moving", [(0, 1), (0,), (1,)])
@each(OF_TWO)
def test_losses_of_two(name, build, inputs, moving):
    check(FunctionCase(name, build, inputs, moving))


LABELS = np.array([[2, 0], [-1, 1], [0, -3]], np.float32).reshape(3, 1, 2)
CLASSES = [normal(3, 4, 2), LABELS]
LIKELY = [between(0.1, 0.9, 3, 4, 2), LABELS]
TARGETS = np.array([[0, 1, 0.7], [1, 2.4, -1.4]], np.float32)

OF_LABELS = [
    ("categorical", lambda p, t: F.categorical_cross_entropy(p, t, axis=1), LIKELY),
    ("categorical, -2", lambda p, t: F.categorical_cross_entropy(p, t, axis=-2), LIKELY),
    ("categorical, last", F.categorical_cross_entropy, [LIKELY[0][..., 0], LABELS[..., 0]]),
    ("sigmoid", F.sigmoid_cross_entropy, [normal(2, 3), TARGETS]),
    ("softmax", lambda z, t: F.softmax_cross_entropy(z, t, axis=1), CLASSES),
    ("softmax, -2", lambda z, t: F.softmax_cross_entropy(z, t, axis=-2), CLASSES),
    ("softmax, last", F.softmax_cross_entropy, [CLASSES[0][..., 0], LABELS[..., 0]]),
]


@each(OF_LABELS)
def test_cross_entropies_of_labels(name, build, inputs):
    check(FunctionCase(name, build, inputs, [0]))


@pytest.mark.parametrize("axis", [None, 0, 1, -1, -2])
@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_softmax(function, axis):
    check(FunctionCase("softmax", lambda z: function(z, axis=axis), [normal(3, 4, 2)]))


AT = np.array([[-2, -0.5, 0, 0.5, 3]], np.float32)
ZEROS = np.zeros_like(AT)

AT_KINKS = [
    ("absolute error", F.absolute_error),
    ("epsilon insensitive", lambda a, b: F.epsilon_insensitive_loss(a, b, 0.5)),
    ("huber", lambda a, b: F.huber_loss(a, b, 0.5)),
]


@each([(name, build, [AT, ZEROS]) for name, build in AT_KINKS])
def test_at_a_kink_as_nnabla(name, build, inputs):
    check_as_trained(FunctionCase(name, lambda a, b: build(a, b) * F.sin(a), inputs))


LARGE = np.linspace(-200, 200, 102, dtype=np.float32).reshape(-1, 3)
FIRST = np.arange(len(LARGE), dtype=np.float32).reshape(-1, 1) % 3
ONES = (np.arange(LARGE.size, dtype=np.float32) % 2).reshape(LARGE.shape)
SHARES = np.random.default_rng(3).dirichlet(np.ones(3), len(LARGE)).astype(np.float32)
STRETCHED = LARGE * np.array([1, -1, 0.3], np.float32)

OF_LARGE = [
    ("categorical", lambda z, t: F.categorical_cross_entropy(F.softmax(z), t), [LARGE, FIRST]),
    ("huber", F.huber_loss, [LARGE, ONES]),
    ("kl", lambda z, q: F.kl_multinomial(F.softmax(z), q), [LARGE, SHARES]),
    ("kl to 0", lambda z, q: F.kl_multinomial(F.softmax(z), q), [STRETCHED, SHARES]),
    ("log softmax", lambda z, c: F.log_softmax(z) * c, [STRETCHED, SHARES]),
    ("sigmoid", F.sigmoid_cross_entropy, [LARGE, ONES]),
    ("softmax", F.softmax_cross_entropy, [LARGE, FIRST]),
    ("softmax to 0", F.softmax_cross_entropy, [STRETCHED, FIRST]),
    ("softmax itself", lambda z, c: F.softmax(z) * c, [STRETCHED, SHARES]),
]


@each(OF_LARGE)
def test_large_inputs(name, build, inputs):
    check_as_trained(FunctionCase(name, build, inputs, [0]), tolerance=2e-5)


def test_probabilities_that_are_0_or_1():
    """Nothing is infinite, and what is beside them is right."""
    p = np.array([[0, 0.2, 1, 0.7]], np.float32)
    case = FunctionCase(
        "0 or 1",
        lambda x, p, t: F.binary_cross_entropy(p + x * p * (1 - p), t) + x,
        [ZEROS[:, :4], p, np.array([[0, 1, 1, 0]], np.float32)],
        [0],
    )
    check_as_trained(case)
