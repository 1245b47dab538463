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


def classifier(augment, normalize, drop):
    def make(v):
        hidden = augment(v["x"])
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


def shaken(x):
    return F.random_erase(F.random_shift(F.random_flip(x), (2, 2)), prob=1.0)


def by_instance(x):
    return PF.instance_normalization(x, name="in")


NETWORKS = {  # arguments of the training network and of the validation network
    "batch statistics": ((same, normalized(True), same), (same, normalized(False), same)),
    "batch statistics without scale": ((same, unscaled(True), same), (same, unscaled(False), same)),
    "batch statistics, fused with the activation": (
        (same, fused(True), same),
        (same, fused(False), same),
    ),
    "instance normalisation stays": ((same, by_instance, same), (same, by_instance, same)),
    "dropout": ((same, same, lambda x: F.dropout(x, 0.7)), (same, same, same)),
    "flips, shifts and erased parts": ((shaken, same, same), (same, same, same)),
    "augmentation": ((augmentation, same, same), (same, same, same)),
    "augmentation that crops": (
        (lambda x: augmentation(x, shape=(2, 4, 4)), same, same),
        (centre, same, same),
    ),
    "random crop": ((lambda x: F.random_crop(x, (2, 4, 4)), same, same), (centre, same, same)),
    "random crop of the whole": (
        (lambda x: F.random_crop(x, (2, 6, 6)), same, same),
        (same, same, same),
    ),
    "everything": ((augmentation, normalized(True), F.dropout), (same, normalized(False), same)),
}


@pytest.mark.parametrize("name", [*NETWORKS, "synchronised"])
def test_main_in_test_mode_is_main_validation(tmp_path, name):
    train, validate = NETWORKS["batch statistics" if name == "synchronised" else name]
    proto, parameters = python_proto(classifier(*train), SHAPES, validation=classifier(*validate))
    if name == "synchronised":
        synchronise(proto)
    definition = load(tmp_path, proto, parameters)
    before = definition.proto.SerializeToString(deterministic=True)
    values = random_parameters(definition)
    objective = build_objective(definition, BATCH, CPU, values)
    assert definition.proto.SerializeToString(deterministic=True) == before
    found = losses(objective, x=IMAGES, y=LABELS)
    # The file's own validation network, built by nnabla itself.
    native = Native(definition, values, BATCH, "MainValidation").losses(x=IMAGES, t=LABELS)
    np.testing.assert_allclose(found, native, rtol=1e-5)
    np.testing.assert_array_equal(losses(objective, x=IMAGES, y=LABELS), found)  # not random
    for variable, value in ((v, values[n]) for n, v in objective.buffers.items()):
        np.testing.assert_array_equal(variable.d, value)  # the running statistics did not run


REFUSED = {  # in the way of the data, and what the error names
    "ImageAugmentation .*scales, .*1\\.2 to 1\\.5": (
        lambda x: F.image_augmentation(x, min_scale=1.2, max_scale=1.5)
    ),
    r"ImageAugmentation .*\(2, 6, 6\) .*\(2, 8, 8\)": (
        lambda x: F.image_augmentation(x, shape=(2, 8, 8))
    ),
    "RandomShift": lambda x: x * F.random_shift(F.constant(1.0, (BATCH, 2, 6, 6)), (2, 2)),
    "Randn": lambda x: x + F.randn(shape=x.shape),
}


@pytest.mark.parametrize("named", REFUSED)
def test_randomness_that_cannot_be_removed_is_refused(tmp_path, named):
    make = classifier(REFUSED[named], same, same)
    definition = load(tmp_path, *python_proto(make, SHAPES))
    with pytest.raises(UnsupportedError, match=rf"net\.nnp: the function {named}"):
        build_objective(definition, BATCH, CPU)
