"""Test mode: the edited training network computes what the file's validation network does."""

from __future__ import annotations

import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import build_objective
from nnabla_influence.errors import UnsupportedError

from .definitions import (
    BATCH,
    CPU,
    Native,
    load,
    losses,
    python_proto,
    random_parameters,
    synchronise,
)

RNG = np.random.RandomState(0)
IMAGES = RNG.rand(BATCH, 2, 6, 6).astype(np.float32)
LABELS = RNG.randint(0, 3, (BATCH, 1))
SHAPES = {"x": (2, 6, 6), "t": (1,)}


def classifier(augment, normalize, drop, crop=lambda x: x):
    def make(v):
        hidden = crop(augment(v["x"]))
        hidden = F.relu(normalize(PF.convolution(hidden, 3, (3, 3), name="c")))
        return F.softmax_cross_entropy(PF.affine(drop(hidden), 3, name="a"), v["t"])

    return make


def same(x):
    return x


def centre(x):
    return x[:, :, 1:5, 1:5]


def normalized(batch_stat):
    return lambda x: PF.batch_normalization(x, batch_stat=batch_stat, name="bn")


def fused(batch_stat):
    return lambda x: PF.fused_batch_normalization(x, batch_stat=batch_stat, name="bn")


def unscaled(batch_stat):
    return lambda x: PF.batch_normalization(
        x, batch_stat=batch_stat, no_scale=True, no_bias=True, name="bn"
    )


def augmentation(x, **settings):
    return F.image_augmentation(x, angle=0.3, noise=0.1, brightness=0.2, flip_lr=True, **settings)


NETWORKS = {
    "batch statistics": (
        classifier(same, normalized(True), same),
        classifier(same, normalized(False), same),
    ),
    "batch statistics without scale": (
        classifier(same, unscaled(True), same),
        classifier(same, unscaled(False), same),
    ),
    "batch statistics, fused with the activation": (
        classifier(same, fused(True), same),
        classifier(same, fused(False), same),
    ),
    "instance normalisation stays": (
        classifier(same, lambda x: PF.instance_normalization(x, name="in"), same),
        classifier(same, lambda x: PF.instance_normalization(x, name="in"), same),
    ),
    "dropout": (
        classifier(same, same, lambda x: F.dropout(x, 0.7)),
        classifier(same, same, same),
    ),
    "flips, shifts and erased parts": (
        classifier(
            lambda x: F.random_erase(F.random_shift(F.random_flip(x), (2, 2)), prob=1.0),
            same,
            same,
        ),
        classifier(same, same, same),
    ),
    "augmentation": (classifier(augmentation, same, same), classifier(same, same, same)),
    "augmentation that crops": (
        classifier(lambda x: augmentation(x, shape=(2, 4, 4)), same, same),
        classifier(centre, same, same),
    ),
    "random crop": (
        classifier(lambda x: F.random_crop(x, (2, 4, 4)), same, same),
        classifier(centre, same, same),
    ),
    "random crop of the whole": (
        classifier(lambda x: F.random_crop(x, (2, 6, 6)), same, same),
        classifier(same, same, same),
    ),
    "everything": (
        classifier(augmentation, normalized(True), F.dropout),
        classifier(same, normalized(False), same),
    ),
}


def validation_losses(definition, values):
    """The file's own validation network, built by nnabla itself."""
    return Native(definition, values, BATCH, "MainValidation").losses(x=IMAGES, t=LABELS)


@pytest.mark.parametrize("name", NETWORKS)
def test_main_in_test_mode_is_main_validation(tmp_path, name):
    train, validate = NETWORKS[name]
    definition = load(tmp_path, *python_proto(train, SHAPES, validation=validate))
    before = definition.proto.SerializeToString(deterministic=True)
    values = random_parameters(definition)
    objective = build_objective(definition, BATCH, CPU, values)
    assert definition.proto.SerializeToString(deterministic=True) == before
    found = losses(objective, x=IMAGES, y=LABELS)
    np.testing.assert_allclose(found, validation_losses(definition, values), rtol=1e-5)
    np.testing.assert_array_equal(losses(objective, x=IMAGES, y=LABELS), found)  # not random
    for variable, value in ((v, values[n]) for n, v in objective.buffers.items()):
        np.testing.assert_array_equal(variable.d, value)  # the running statistics did not run


def test_synchronised_batch_statistics(tmp_path):
    train, validate = NETWORKS["batch statistics"]
    proto, parameters = python_proto(train, SHAPES, validation=validate)
    synchronise(proto)
    definition = load(tmp_path, proto, parameters)
    assert "bn/bn/gamma" in definition.trainable
    assert "bn/bn/mean" not in definition.trainable
    values = random_parameters(definition)
    found = losses(build_objective(definition, BATCH, CPU, values), x=IMAGES, y=LABELS)
    np.testing.assert_allclose(found, validation_losses(definition, values), rtol=1e-5)


def scaled_up(x):
    return F.image_augmentation(x, min_scale=1.2, max_scale=1.5)


def enlarged(x):
    return F.image_augmentation(x, shape=(2, 8, 8))


def masked(x):
    return x * F.random_shift(F.constant(1.0, (BATCH, 2, 6, 6)), (2, 2))


def noisy(x):
    return x + F.randn(shape=x.shape)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (
            scaled_up,
            r"ImageAugmentation \(layer '.*'\) always scales images, by 1\.2 to 1\.5",
        ),
        (
            enlarged,
            r"ImageAugmentation \(layer '.*'\) turns shape \(2, 6, 6\) into \(2, 8, 8\)",
        ),
        (masked, r"RandomShift \(layer '.*'\) makes random numbers"),
        (noisy, r"Randn \(layer '.*'\) makes random numbers"),
    ],
)
def test_randomness_that_cannot_be_removed_is_refused(tmp_path, augment, message):
    definition = load(tmp_path, *python_proto(classifier(augment, same, same), SHAPES))
    with pytest.raises(UnsupportedError, match=rf"net\.nnp: the function {message}"):
        build_objective(definition, BATCH, CPU)
