"""Functions that move values about, add or multiply them."""

from __future__ import annotations

import nnabla as nn
import nnabla.function_bases as NF
import nnabla.functions as F
import numpy as np
import pytest

from nnabla_influence.engine.graph import key
from nnabla_influence.engine.program import Program
from tests.engine.functions import FunctionCase, check, normal

X = normal(2, 3, 4)
IMAGE = normal(2, 3, 5, 4)


def numbers(*values) -> np.ndarray:
    return np.array(values, np.float32)


def squares(function):
    """The function of squares: linear ones alone have no second derivative."""
    return lambda x, *others: function(x * x, *others)


LINEAR = {
    "reshape": lambda x: F.reshape(x, (4, -1)),
    "transpose": lambda x: F.transpose(x, (2, 0, 1)),
    "slice": lambda x: NF.slice(x, start=(1, 0), stop=(3, 4), step=(1, 3)),
    "slice from the end": lambda x: NF.slice(x, start=(-2, -3), stop=(-1, 4), step=(1, 2)),
    "slice backwards": lambda x: F.slice(x, start=(2, 3), stop=(0, None), step=(-1, -2)),
    "split": lambda x: F.split(x, axis=1),
    "split, one used": lambda x: F.split(x, axis=-1)[1],
    "broadcast": lambda x: F.broadcast(F.reshape(x, (2, 3, 1, 4)), (2, 3, 3, 4)),
    "tile": lambda x: F.tile(x, (2, 1, 3)),
    "tile, more axes": lambda x: F.tile(x, (2, 1, 1, 2)),
    "tile, fewer": lambda x: F.tile(x, 2),
    "flip": lambda x: F.flip(x),
    "flip axes": lambda x: F.flip(x, (0, 2)),
    "shift": lambda x: F.shift(x, (1, -2)),
    "shift, reflected": lambda x: F.shift(x, (-1, 2), border_mode="reflect"),
    "pad": lambda x: F.pad(x, (1, 0, 2, 1), constant_value=3.0),
    "pad, reflected": lambda x: F.pad(x, (1, 2, 0, 3), mode="reflect"),
    "pad, repeated": lambda x: F.pad(x, (1, 2, 0, 3), mode="repeat"),
    "sum": lambda x: F.sum(x),
    "sum of axes": lambda x: F.sum(x, axis=(0, 2)),
    "sum, kept": lambda x: F.sum(x, axis=-1, keepdims=True),
    "mean": lambda x: F.mean(x, axis=(1, 2)),
    "mean of all": lambda x: F.mean(x),
    "cumsum": lambda x: F.cumsum(x, axis=1),
    "cumsum, reversed": lambda x: F.cumsum(x, axis=-1, exclusive=True, reverse=True),
    "matrix_diag": lambda x: F.matrix_diag(x),
    "matrix_diag_part": lambda x: F.matrix_diag_part(x[:, :, :3]),
    "reduce_sum": lambda x: F.reduce_sum(x),
    "reduce_mean": lambda x: F.reduce_mean(x),
    "trilu": lambda x: F.trilu(x, k=1, upper=True),
    "trilu, lower": lambda x: F.trilu(x, k=-1, upper=False),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear(name: str):
    check(FunctionCase(name, squares(LINEAR[name]), [X]))


REDUCING = {
    "prod": lambda x: F.prod(x, axis=1),
    "prod of axes": lambda x: F.prod(x, axis=(0, 2), keepdims=True),
    "prod of all": lambda x: F.prod(x),
    "max": lambda x: F.max(x, axis=1),
    "max of all": lambda x: F.max(x),
    "max of axes": lambda x: F.max(x, axis=(0, 2), keepdims=True),
    "max with index": lambda x: F.max(x, axis=(1, 2), with_index=True),
    "max, negative axis": lambda x: NF.max(x, axes=[-1]),
    "min": lambda x: F.min(x, axis=2, keepdims=True),
    "min with index": lambda x: F.min(x, axis=0, with_index=True),
    "top_k": lambda x: F.top_k_data(x, 3),
    "top_k, smallest": lambda x: NF.top_k_data(x, 2, False, True, 1, False, True),
    "norm": lambda x: F.norm(x),
    "norm of axes": lambda x: F.norm(x, p=3.0, axis=(0, 2), keepdims=True),
    "norm of 1": lambda x: F.norm(x, p=1.0, axis=1),
}


@pytest.mark.parametrize("name", REDUCING)
def test_reducing(name: str):
    check(FunctionCase(name, REDUCING[name], [X]))


OF_DATA = {
    "sort": lambda x: F.sort(x),
    "sort of an axis": lambda x: F.sort(x, axis=1, reverse=True, with_index=True),
    "top_k, not reduced": lambda x: F.top_k_data(x, 2, abs=True, reduce=False, base_axis=2),
}


@pytest.mark.parametrize("name", OF_DATA)
def test_what_only_data_may_go_through(name: str):
    """Training takes their gradients wrongly, so they have no rule."""
    x = nn.Variable.from_numpy_array(X)
    built = OF_DATA[name](x)
    outputs = list(built) if isinstance(built, (list, tuple)) else [built]
    found = Program(outputs).run({key(x): X}, {})
    F.sink(*outputs).forward()
    for y in outputs:
        np.testing.assert_array_equal(found[key(y)].value, y.d)


@pytest.mark.parametrize("name", ["prod", "prod of all"])
def test_products_with_zeros(name: str):
    x = normal(2, 3, 4)
    x[0, 1, 2] = x[1, :2, 0] = 0
    if name == "prod of all":
        x[1, :2, 0] = 1
    check(FunctionCase(name, REDUCING[name], [x]))


def index(*values):
    return nn.Variable.from_numpy_array(numbers(*values))


SEVERAL = {
    "concatenate": (lambda x, y: F.concatenate(x, y, x, axis=-2), [X, normal(2, 2, 4, seed=1)]),
    "stack": (lambda x, y: F.stack(x, y, axis=1), [X, normal(2, 3, 4, seed=1)]),
    "batch_matmul": (lambda a, b: F.batch_matmul(a, b), [X, normal(2, 4, 2, seed=1)]),
    "batch_matmul, transposed": (
        lambda a, b: F.batch_matmul(a, b, transpose_a=True, transpose_b=True),
        [X, normal(2, 2, 3, seed=1)],
    ),
    "batch_matmul, broadcast": (
        lambda a, b: F.batch_matmul(a, b, transpose_b=True),
        [normal(2, 1, 3, 4), normal(1, 3, 2, 4, seed=1)],
    ),
    "einsum": (
        lambda x, y: F.einsum(x, y, equation="ijk,lj->ki"),
        [X, normal(2, 3, seed=1)],
    ),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_of_several_inputs(name: str):
    function, inputs = SEVERAL[name]
    build = lambda *x: function(*[v * v for v in x])  # noqa: E731
    check(FunctionCase(name, build, inputs))
    check(FunctionCase(name, build, inputs, moving=[0]))
    check(FunctionCase(name, build, inputs, moving=[1]))


MATRICES = {"inv": F.batch_inv, "det": F.batch_det}


@pytest.mark.parametrize("name", MATRICES)
def test_matrices(name: str):
    x = normal(2, 3, 3) + 2 * np.eye(3, dtype=np.float32)
    check(FunctionCase(name, MATRICES[name], [x]), tolerance=3e-5)


ONLY_IN_NNABLA = {
    "einsum with a diagonal": (lambda x, y: F.einsum(x, y, equation="iij,jk->ik"), [0, 1]),
    "roi_align": (lambda x, b: F.roi_align(x, b, (2, 2)), [0]),
    "stft": (lambda x: F.stft(x, 4, 2, 4), [0]),
    "istft": (lambda x, y: F.istft(x, y, 4, 2, 4, pad_mode="constant"), [0, 1]),
    "prune": (lambda x: F.prune(x, 0.5), [0]),
}
INPUTS = {
    "einsum with a diagonal": [normal(3, 3, 4), normal(4, 2, seed=1)],
    "roi_align": [normal(1, 2, 8, 8), numbers([0, 1, 1.5, 5, 6])],
    "stft": [normal(2, 16)],
    "istft": [normal(2, 3, 5), normal(2, 3, 5, seed=1)],
    "prune": [normal(2, 6)],
}


@pytest.mark.parametrize("name", ONLY_IN_NNABLA)
def test_in_nnabla_alone(name: str):
    function, moving = ONLY_IN_NNABLA[name]
    build = lambda *x: function(x[0] * x[0], *x[1:])  # noqa: E731
    check(FunctionCase(name, build, INPUTS[name], moving), numpy=False)


CONSTANT = {
    "eye_like": lambda x: NF.eye_like(x, 1),
    "arange": lambda x: F.reshape(F.arange(1, 4.5, 0.3), (3, 4)),
    "linspace": lambda x: F.reshape(F.linspace(0, 1, 12), (3, 4)),
    "constant": lambda x: F.constant(0.3, (3, 4)),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_constants(name: str):
    check(FunctionCase(name, lambda x: x * x * CONSTANT[name](x), [normal(3, 4)]))


INDEXED = {
    "embed": (lambda i, w: F.embed(i, w), [numbers([2, 0], [2, 1]), normal(3, 4)], 1),
    "one_hot": (
        lambda x, i: x * F.one_hot(i, (3, 4)),
        [normal(2, 3, 4), numbers([1, 0], [2, 3])],
        0,
    ),
    "gather": (lambda x, i: F.gather(x, i, axis=1), [X, numbers(2, 0, 2)], 0),
    "gather, batches": (
        lambda x, i: F.gather(x, i, axis=2, batch_dims=1),
        [X, numbers([3, 0], [1, 1])],
        0,
    ),
    "gather_nd": (lambda x, i: F.gather_nd(x, i), [X, numbers([1, 1, 0], [2, 2, 0])], 0),
    "scatter_nd": (
        lambda x, i: F.scatter_nd(x, i, shape=(4, 3, 4)),
        [X, numbers([3, 1])],
        0,
    ),
    "scatter_nd, added": (
        lambda x, i: F.scatter_nd(x, i, shape=(2, 3, 4), add=True),
        [X, numbers([1, 1])],
        0,
    ),
    "bool_fill": (
        lambda x, m: F.bool_fill(x, m, 0.3),
        [X, (np.random.default_rng(0).random((2, 3, 4)) > 0.5).astype(np.float32)],
        0,
    ),
}


@pytest.mark.parametrize("name", INDEXED)
def test_with_indices(name: str):
    function, inputs, moving = INDEXED[name]
    build = lambda *x: function(*[v * v if i == moving else v for i, v in enumerate(x)])  # noqa: E731
    check(FunctionCase(name, build, inputs, moving=[moving]))


INTERPOLATIONS = {
    "linear": {"output_size": (7, 9)},
    "linear, smaller": {"output_size": (3, 3)},
    "align_corners": {"output_size": (7, 1), "align_corners": True},
    "half_pixel": {"output_size": (7, 3), "half_pixel": True},
    "one axis": {"output_size": (6,)},
    "nearest": {"output_size": (7, 9), "mode": "nearest"},
    "nearest, smaller": {"output_size": (3, 3), "mode": "nearest", "half_pixel": True},
    "nearest, corners": {"output_size": (8, 3), "mode": "nearest", "align_corners": True},
    "nearest, pixels": {"output_size": (8, 6), "mode": "nearest", "half_pixel_for_nn": True},
}


@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_interpolate(name: str):
    build = squares(lambda x: F.interpolate(x, **{"mode": "linear", **INTERPOLATIONS[name]}))
    check(FunctionCase(name, build, [IMAGE]))
