"""Layers with weights, poolings and normalisations."""

from __future__ import annotations

import nnabla.function_bases as NF
import nnabla.functions as F
import numpy as np
import pytest

from nnabla_influence.definition.normalization import Normalization
from nnabla_influence.engine.nnabla_functions import NN
from nnabla_influence.engine.numpy_functions import batch_normalization
from nnabla_influence.engine.numpy_functions.limits import computes
from nnabla_influence.engine.tangents import has_tangent, tangents_of
from tests.engine.functions import FunctionCase, between, check, normal

IMAGE = normal(2, 4, 7, 6)

LAYERS = {
    "affine": (lambda *x: F.affine(*x), [normal(3, 4), normal(4, 2), normal(2)]),
    "affine of images": (
        lambda *x: F.affine(*x, base_axis=2),
        [normal(2, 3, 2, 2), normal(4, 2, 3), normal(2, 3)],
    ),
    "convolution": (
        lambda *x: F.convolution(*x, pad=(1, 0), stride=(2, 1), dilation=(1, 2)),
        [IMAGE, normal(3, 4, 3, 2), normal(3)],
    ),
    "convolution of groups": (
        lambda *x: F.convolution(*x, group=2, pad=(1, 1)),
        [IMAGE, normal(6, 2, 3, 3)],
    ),
    "convolution of a series": (
        lambda *x: F.convolution(*x, stride=(2,), pad=(2,)),
        [normal(2, 3, 9), normal(4, 3, 3), normal(4)],
    ),
    "convolution of an axis": (
        lambda *x: F.convolution(*x, base_axis=2),
        [normal(2, 2, 3, 5, 4), normal(4, 3, 2, 3), normal(4)],
    ),
    "depthwise convolution": (
        lambda *x: F.depthwise_convolution(*x, pad=(1, 1)),
        [IMAGE, normal(4, 3, 3), normal(4)],
    ),
    "depthwise convolution, multiplied": (
        lambda *x: F.depthwise_convolution(
            *x, pad=(2, 0), stride=(2, 3), dilation=(2, 1), multiplier=3
        ),
        [IMAGE, normal(12, 3, 2), normal(12)],
    ),
    "depthwise convolution of a series": (
        lambda *x: F.depthwise_convolution(*x, stride=(2,)),
        [normal(2, 3, 9), normal(3, 4)],
    ),
    "deconvolution": (
        lambda *x: F.deconvolution(*x),
        [normal(2, 3, 4, 5), normal(3, 2, 3, 3), normal(2)],
    ),
    "deconvolution, wide": (
        lambda *x: F.deconvolution(*x, pad=(2, 2)),
        [normal(2, 3, 4, 5), normal(3, 2, 2, 2), normal(2)],
    ),
    "deconvolution, strided": (
        lambda *x: F.deconvolution(
            *x, pad=(1, 2), stride=(2, 3), dilation=(2, 1), output_padding=(1, 2)
        ),
        [normal(2, 3, 4, 5), normal(3, 2, 3, 2), normal(2)],
    ),
    "deconvolution of groups": (
        lambda *x: F.deconvolution(*x, group=2, stride=(2, 2)),
        [normal(2, 4, 4, 3), normal(4, 3, 3, 3), normal(6)],
    ),
    "deconvolution of a series": (
        lambda *x: F.deconvolution(*x, stride=(2,), pad=(1,)),
        [normal(2, 3, 4), normal(3, 2, 3)],
    ),
    "depthwise deconvolution": (
        lambda *x: F.depthwise_deconvolution(*x, pad=(1, 0), stride=(2, 1), dilation=(1, 2)),
        [normal(2, 4, 4, 5), normal(4, 3, 2), normal(4)],
    ),
    "depthwise deconvolution, divided": (
        lambda *x: F.depthwise_deconvolution(*x, divisor=2),
        [normal(2, 4, 4, 5), normal(4, 3, 3), normal(2)],
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str):
    build, inputs = LAYERS[name]
    for moving in (None, *([i] for i in range(len(inputs)))):
        check(FunctionCase(name, lambda *x: build(x[0] * x[0], *x[1:]), inputs, moving))


@pytest.mark.parametrize("kind", ["convolution", "deconvolution"])
def test_three_dimensions_in_nnabla(kind: str):
    build = lambda *x: getattr(F, kind)(*x, pad=(1, 0, 1), stride=(1, 2, 1))  # noqa: E731
    channels = (4, 2) if kind == "convolution" else (2, 4)
    inputs = [normal(1, 2, 3, 4, 3), normal(*channels, 3, 2, 2), normal(4)]
    check(FunctionCase(kind, build, inputs), numpy=False)


WINDOWS = {
    "plain": {"kernel": (2, 2)},
    "overlapping": {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1)},
    "border": {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1), "ignore_border": False},
    "long": {"kernel": (2, 3), "stride": (3, 1), "pad": (0, 2), "ignore_border": False},
    "all": {"kernel": (7, 6)},
}
POOLINGS = {
    "max": F.max_pooling,
    "average": F.average_pooling,
    "average within": lambda x, **args: F.average_pooling(x, including_pad=False, **args),
    "sum": F.sum_pooling,
}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", POOLINGS)
def test_poolings(name: str, window: str):
    check(FunctionCase(name, lambda x: POOLINGS[name](x * x, **WINDOWS[window]), [IMAGE]))


@pytest.mark.parametrize("name", POOLINGS)
def test_poolings_of_three_dimensions(name: str):
    args = {"kernel": (2, 3, 2), "stride": (2, 2, 1), "pad": (1, 1, 0)}
    image = normal(2, 1, 3, 5, 4)
    check(FunctionCase(name, lambda x: POOLINGS[name](x * x, **args), [image]))


OTHERS = {
    "global average": lambda x: F.global_average_pooling(x),
    "unpooling": lambda x: F.unpooling(x, (2, 3)),
    "unpooling of a series": lambda x: F.unpooling(x, (2,)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_poolings(name: str):
    check(FunctionCase(name, lambda x: OTHERS[name](x * x), [IMAGE]))


def statistics(*shape: int):
    return [normal(*shape, seed=3), normal(*shape, seed=4), normal(*shape), between(1, 2, *shape)]


NORMALIZED = {
    "images": (IMAGE, (1, 4, 1, 1), {}),
    "last axis": (IMAGE, (1, 1, 1, 6), {"axes": [-1]}),
    "rows": (normal(5, 4), (1, 4), {"eps": 0.1}),
    "one channel": (normal(5, 1, 3, seed=2), (1, 1, 1), {}),
}


@pytest.mark.parametrize("name", NORMALIZED)
def test_batch_normalization_by_constant_statistics(name: str):
    x, shape, args = NORMALIZED[name]
    inputs = [x, *statistics(*shape)]

    def build(*v):
        return F.batch_normalization(v[0] * v[0], *v[1:], batch_stat=False, **args)

    for moving in (None, [0], [1], [2], [3], [4], [0, 1, 2]):
        check(FunctionCase(name, build, inputs, moving))


@pytest.mark.parametrize("block", [1, 10**6])
def test_batch_normalization_of_images_in_the_other_order(block: int, monkeypatch):
    """Images that a transposition has put into the order of a convolution; in one part and more."""
    monkeypatch.setattr(batch_normalization, "_BLOCK", block)

    def build(x, *others):
        x = F.transpose(x, (0, 3, 1, 2))
        return F.batch_normalization(x * x, *others, batch_stat=False)

    check(FunctionCase("order", build, [normal(3, 5, 3, 4), *statistics(1, 4, 1, 1)]))


@pytest.mark.parametrize(("beta", "gamma"), [(True, False), (False, True), (False, False)])
def test_batch_normalization_without(beta: bool, gamma: bool):
    given = statistics(1, 4, 1, 1)
    inputs = [IMAGE, *[v for v, here in zip(given, (beta, gamma, True, True)) if here]]

    def build(x, *others):
        others = list(others)
        b = others.pop(0) if beta else None
        g = others.pop(0) if gamma else None
        return F.batch_normalization(x * x, b, g, *others, batch_stat=False)

    check(FunctionCase("without", build, inputs))


@pytest.mark.parametrize("block", [1, 40, 10**6])
@pytest.mark.parametrize("affine", ["both", "beta", "gamma", "none"])
@pytest.mark.parametrize("name", NORMALIZED)
def test_batch_normalization_by_batch_statistics(name: str, affine: str, block: int, monkeypatch):
    """As one function in NumPy; the mean and the variance are outputs too, which the loss reads."""
    monkeypatch.setattr(batch_normalization, "_BLOCK", block)
    x, shape, args = NORMALIZED[name]
    args = {"axes": [1], "eps": 1e-5, "batch_stat": True, **args}
    args.update(no_bias=affine in ("gamma", "none"), no_scale=affine in ("beta", "none"))
    found = []

    def build(x, *others):
        x, rest = F.sin(x) + 3, list(others)
        axes = [axis for axis in range(x.ndim) if axis != args["axes"][0] % x.ndim]
        mean = F.mean(x, axis=axes, keepdims=True)
        variance = F.mean((x - mean) ** 2, axis=axes, keepdims=True)
        y = (x - mean) * (variance + args["eps"]) ** -0.5
        beta = None if args["no_bias"] else rest.pop(0)
        y = y if args["no_scale"] else y * rest.pop(0)
        outputs = (y if beta is None else y + beta, mean, variance)
        found[:] = [Normalization(args, (x, *others), outputs)]
        return outputs

    given = statistics(*shape)
    wanted = {"both": given[:2], "beta": given[:1], "gamma": given[1:2], "none": []}[affine]
    inputs = [x, *wanted]
    for moving in (None, *([i] for i in range(len(inputs)))):
        check(FunctionCase(name, build, inputs, moving, found))


def test_batch_statistics_are_refused():
    x = [None] * 5
    args = {"batch_stat": True, "eps": 1e-5, "no_scale": False, "no_bias": False, "axes": [1]}
    with pytest.raises(ValueError, match="elementary functions"):
        tangents_of(NN, "BatchNormalization", args, x, [1, *x[1:]], [None])


def affine_of(function, **args):
    return lambda x, *others: function(x, *others, **args)


OTHER_NORMALIZATIONS = {
    "layer": (
        affine_of(F.layer_normalization),
        [IMAGE, normal(1, 4, 7, 6, seed=1), normal(1, 4, 7, 6, seed=2)],
    ),
    "layer of two axes": (
        affine_of(F.layer_normalization, batch_axis=(0, -1), eps=0.1),
        [IMAGE, normal(1, 4, 7, 1, seed=1), normal(1, 4, 7, 1, seed=2)],
    ),
    "layer without": (lambda x: F.layer_normalization(x, None, None), [IMAGE]),
    "layer without bias": (
        lambda x, g: F.layer_normalization(x, None, g),
        [IMAGE, normal(1, 4, 7, 6, seed=2)],
    ),
    "instance": (
        affine_of(F.instance_normalization),
        [IMAGE, normal(1, 4, 1, 1, seed=1), normal(1, 4, 1, 1, seed=2)],
    ),
    "instance of the last": (
        affine_of(F.instance_normalization, channel_axis=3, eps=0.1),
        [IMAGE, normal(1, 1, 1, 6, seed=1), normal(1, 1, 1, 6, seed=2)],
    ),
    "group": (
        affine_of(F.group_normalization, num_groups=2),
        [IMAGE, normal(1, 4, 1, 1, seed=1), normal(1, 4, 1, 1, seed=2)],
    ),
    "group without scale": (
        lambda x, b: F.group_normalization(x, b, None, num_groups=3, channel_axis=-1),
        [IMAGE, normal(1, 1, 1, 6, seed=1)],
    ),
    "tensor": (
        lambda x, b, g: NF.tensor_normalization(x, b, g, (0, 2)),
        [IMAGE, normal(2, 1, 7, 1, seed=1), normal(2, 1, 7, 1, seed=2)],
    ),
    "weight": (affine_of(F.weight_normalization), [normal(4, 3, 2), normal(4, seed=1)]),
    "weight of an axis": (
        affine_of(F.weight_normalization, dim=-1, eps=0.1),
        [normal(4, 3, 2), normal(2, seed=1)],
    ),
    "standardization": (affine_of(F.weight_standardization, channel_axis=0), [normal(4, 3, 2)]),
    "norm": (affine_of(F.norm_normalization), [normal(4, 3)]),
    "norm of axes": (affine_of(F.norm_normalization, p=3.0, axes=(0, 2)), [normal(4, 3, 2)]),
    "mean subtraction": (
        affine_of(F.mean_subtraction, update_running_mean=False),
        [normal(4, 3, 2), normal(3, 2, seed=1), np.ones(1, np.float32)],
    ),
}


@pytest.mark.parametrize("name", OTHER_NORMALIZATIONS)
def test_normalizations(name: str):
    build, inputs = OTHER_NORMALIZATIONS[name]
    n = 1 if name == "mean subtraction" else len(inputs)
    for moving in (range(n), *([i] for i in range(n))):
        check(FunctionCase(name, lambda *x: build(x[0] * x[0] * x[0], *x[1:]), inputs, moving))


def test_what_numpy_does_not_compute_is_known_before_it_runs():
    two, three = {"pad": [0, 0]}, {"pad": [0, 0, 0]}
    for kind in ("Convolution", "Deconvolution"):
        assert computes(kind, two)
        assert not computes(kind, three)
        assert not computes(kind, {**two, "channel_last": True})
    assert not computes("SpectralNorm", {})
    assert not has_tangent("SpectralNorm")
