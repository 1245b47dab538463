"""Functions of one number and of several, element by element, in both engines."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from tests.engine.functions import FunctionCase, between, check, normal
from tests.engine.training import check_as_trained, each

X = normal(3, 5)
ABOVE_0 = between(0.3, 2, 3, 5)
WITHIN_1 = between(-0.9, 0.9, 3, 5)
WIDE = 4 * normal(7, 5)

UNARY = [
    ("abs", F.abs, X),
    ("acos", F.acos, WITHIN_1),
    ("acosh", F.acosh, 1 + ABOVE_0),
    ("add scalar", lambda x: F.add_scalar(x, -0.7) ** 2, X),
    ("asin", F.asin, WITHIN_1),
    ("asinh", F.asinh, WIDE),
    ("atan", F.atan, WIDE),
    ("atanh", F.atanh, WITHIN_1),
    ("celu", lambda x: F.celu(x, 0.7, axis=1), X),
    ("celu, another axis", lambda x: F.celu(x, 1.3, axis=-3), normal(2, 3, 5)),
    ("cos", F.cos, WIDE),
    ("cosh", F.cosh, X),
    ("crelu", lambda x: F.crelu(x, axis=1) ** 2, X),
    ("crelu, another axis", lambda x: F.crelu(x, axis=-2) ** 2, normal(2, 3, 5)),
    ("elu", lambda x: F.elu(x, 0.7), X),
    ("erf", F.erf, X),
    ("exp", F.exp, X),
    ("gelu", F.gelu, WIDE),
    ("hard sigmoid", lambda x: F.hard_sigmoid(x) ** 2, WIDE),
    ("hard tanh", lambda x: F.hard_tanh(x) ** 2, X),
    ("identity", lambda x: F.identity(x) ** 2, X),
    ("leaky relu", lambda x: F.leaky_relu(x, 0.3) ** 2, X),
    ("leaky relu with a negative slope", lambda x: F.leaky_relu(x, -0.3) ** 2, X),
    ("log", F.log, ABOVE_0),
    ("log sigmoid", F.log_sigmoid, WIDE),
    ("maximum scalar", lambda x: F.maximum_scalar(x, 0.4) ** 2, X),
    ("minimum scalar", lambda x: F.minimum_scalar(x, 0.4) ** 2, X),
    ("mish", F.mish, WIDE),
    ("mul scalar", lambda x: F.mul_scalar(x, -0.7) ** 2, X),
    ("pow -1", lambda x: F.pow_scalar(x, -1), ABOVE_0),
    ("pow 0", lambda x: F.pow_scalar(x, 0) + x * x, X),
    ("pow 0.5", lambda x: F.pow_scalar(x, 0.5), ABOVE_0),
    ("pow 1", lambda x: F.pow_scalar(x, 1) ** 3, X),
    ("pow 2", lambda x: F.pow_scalar(x, 2), X),
    ("pow 3", lambda x: F.pow_scalar(x, 3), X),
    ("r div scalar", lambda x: F.r_div_scalar(x, -0.7), ABOVE_0),
    ("r pow scalar", lambda x: F.r_pow_scalar(x, 0.7), X),
    ("r sub scalar", lambda x: F.r_sub_scalar(x, 0.7) ** 2, X),
    ("relu", lambda x: F.relu(x) ** 2, X),
    ("relu6", lambda x: F.relu6(x) ** 2, WIDE),
    ("reset inf", lambda x: F.reset_inf(x, 2.0) ** 2, X),
    ("reset nan", lambda x: F.reset_nan(x, 2.0) ** 2, X),
    ("selu", F.selu, X),
    ("selu, other arguments", lambda x: F.selu(x, 0.7, 1.3), X),
    ("sigmoid", F.sigmoid, WIDE),
    ("sin", F.sin, WIDE),
    ("sinc", F.sinc, WIDE),
    ("sinc near 0", F.sinc, between(-0.29, 0.29, 3, 5)),
    ("sinh", F.sinh, X),
    ("softplus", F.softplus, WIDE),
    ("softplus with beta", lambda x: F.softplus(x, 0.3), WIDE),
    ("softsign", F.softsign, X),
    ("swish", F.swish, WIDE),
    ("tan", F.tan, WITHIN_1),
    ("tanh", F.tanh, WIDE),
    ("tanh shrink", F.tanh_shrink, WIDE),
]


@each([(name, build, [x]) for name, build, x in UNARY])
def test_functions_of_one_number(name, build, inputs):
    check(FunctionCase(name, build, inputs))


AROUND_0 = np.array([[-3, -1, -0.3, 0, 0.5, 1, 7]], np.float32)

KINKS = [
    ("abs", F.abs, 0),
    ("celu", lambda x: F.celu(x, 0.7), 0),
    ("crelu", F.crelu, 0),
    ("elu", lambda x: F.elu(x, 0.7), 0),
    ("hard sigmoid above", F.hard_sigmoid, 2.5),
    ("hard sigmoid below", F.hard_sigmoid, -2.5),
    ("hard tanh above", F.hard_tanh, 1),
    ("hard tanh below", F.hard_tanh, -1),
    ("leaky relu", F.leaky_relu, 0),
    ("maximum scalar", lambda x: F.maximum_scalar(x, 2), 2),
    ("minimum scalar", lambda x: F.minimum_scalar(x, 2), 2),
    ("relu", F.relu, 0),
    ("relu6 above", F.relu6, 6),
    ("relu6 below", F.relu6, 0),
    ("selu", F.selu, 0),
    ("sinc", F.sinc, 0),
]


@each([(name, build, [AROUND_0 + at]) for name, build, at in KINKS])
def test_at_a_kink_as_nnabla(name, build, inputs):
    check_as_trained(FunctionCase(name, lambda x: build(x) + build(x) ** 2, inputs))


STEPS = [
    ("binary sigmoid", F.binary_sigmoid),
    ("binary tanh", F.binary_tanh),
    ("ceil", F.ceil),
    ("floor", F.floor),
    ("round", F.round),
    ("sign", lambda x: F.sign(x, 0.3)),
    ("unlink", F.unlink),
]


@each([(name, build, [np.append(AROUND_0, [[2.5, -2.5]], 1)]) for name, build in STEPS])
def test_through_a_step_as_nnabla(name, build, inputs):
    """Gradients go straight through; through an Unlink not at all."""
    inputs = [inputs[0].astype(np.float32)]
    check_as_trained(FunctionCase(name, lambda x: build(x) * F.sin(x), inputs))


LARGE = np.linspace(-200, 200, 402, dtype=np.float32).reshape(2, -1)

OF_LARGE = [
    ("asinh", F.asinh),
    ("atan", F.atan),
    ("celu", F.celu),
    ("elu", F.elu),
    ("erf", F.erf),
    ("exp", lambda x: F.exp(F.minimum_scalar(x, 2))),
    ("gelu", F.gelu),
    ("log sigmoid", F.log_sigmoid),
    ("mish", lambda x: F.mish(F.minimum_scalar(x, 20))),  # above, nnabla's own gradient is NaN
    ("selu", F.selu),
    ("sigmoid", F.sigmoid),
    ("sinc", F.sinc),
    ("softplus", lambda x: F.softplus(x, 2.0)),
    ("softsign", F.softsign),
    ("swish", F.swish),
    ("tanh", F.tanh),
    ("tanh shrink", F.tanh_shrink),
]


@each([(name, build, [LARGE]) for name, build in OF_LARGE])
def test_large_inputs(name, build, inputs):
    check_as_trained(FunctionCase(name, build, inputs), tolerance=1e-5)


@each([("nan", F.reset_nan, [np.nan]), ("inf", F.reset_inf, [np.inf])])
def test_what_is_reset_does_not_move(name, build, inputs):
    bad = np.array([[0, inputs[0], 0, -inputs[0]]], np.float32)
    case = FunctionCase(name, lambda x, bad: build(x + bad, 0.5) * x, [normal(1, 4), bad], [0])
    check_as_trained(case)


SMALL = [normal(3, 1, 5), normal(1, 4, 1, seed=1)]
SAME = [normal(3, 5), normal(3, 5, seed=1)]

BINARY = [
    ("add2", lambda a, b: F.add2(a, b) ** 2),
    ("atan2", F.atan2),
    ("bc add2", lambda a, b: F.bc_add2(a, b) ** 2),
    ("div2", F.div2),
    ("maximum2", lambda a, b: F.maximum2(a, b) ** 2),
    ("minimum2", lambda a, b: F.minimum2(a, b) ** 2),
    ("mul2", F.mul2),
    ("pow2", lambda a, b: F.pow2(F.abs(a) + 0.5, b)),
    ("sub2", lambda a, b: F.sub2(a, b) ** 2),
]


@pytest.mark.parametrize("moving", [(0, 1), (0,), (1,)])
@each([(name, build, inputs) for name, build in BINARY for inputs in (SAME, SMALL)])
def test_functions_of_two(name, build, inputs, moving):
    check(FunctionCase(name, build, inputs, moving))


EQUAL = [np.array([[-1, 0, 2, 3]], np.float32), np.array([[2]], np.float32)]


@each([(name, build, EQUAL) for name, build in BINARY if "mum2" in name])
def test_two_equal_values_as_nnabla(name, build, inputs):
    check_as_trained(FunctionCase(name, lambda a, b: build(a, b) * b, inputs))


def test_a_power_of_what_is_not_above_0():
    check_as_trained(FunctionCase("pow2", lambda a, b: F.pow2(a, b) * a, EQUAL, [0]))


CONDITION = np.array([[0, 1, 0], [2, 0, -1]], np.float32)
BY_CHANNEL = [normal(2, 3, 5), between(0.1, 0.5, 3)]

OTHERS = [
    ("add n", lambda a, b: F.add_n(a, b, a) ** 2, SAME),
    ("mul n", lambda a, b: F.mul_n(a, b, a), SAME),
    ("mul n of one", lambda a: F.mul_n(a) ** 2, SAME[:1]),
    ("prelu", lambda x, w: F.prelu(x, w) ** 2, BY_CHANNEL),
    ("prelu of the last axis", lambda x, w: F.prelu(x, w, -1), [normal(2, 5, 3), BY_CHANNEL[1]]),
    ("prelu of one slope", lambda x, w: F.prelu(x, w), [normal(2, 3), between(0.1, 0.5, 1)]),
    ("prelu of a number", lambda x, w: F.prelu(x, w), [normal(2, 3), np.array(0.3, np.float32)]),
]


@each(OTHERS)
def test_functions_of_several(name, build, inputs):
    check(FunctionCase(name, build, inputs))


@pytest.mark.parametrize("moving", [(1, 2), (1,), (2,)])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4)])
def test_where(shape, moving):
    inputs = [CONDITION, normal(*shape), normal(*shape, seed=1)]
    check(FunctionCase("where", lambda c, a, b: F.where(c, a, b) ** 2, inputs, moving))


def test_a_product_that_is_0():
    a, b = np.array([[0, 2, 0]], np.float32), np.array([[3, 0, 0]], np.float32)
    check(FunctionCase("mul n", lambda a, b, c: F.mul_n(a + 1, b + 1, c), [a, b, normal(1, 3)]))


NAMES = "equal greater greater_equal less less_equal logical_and logical_or logical_xor not_equal"
A, B = np.array([[0, 1, 2]], np.float32), np.array([[1], [0], [3]], np.float32)


def with_1(compare):
    return lambda x: compare(x, 1)


MASKS = [
    *[(name, getattr(F, name), [A, B]) for name in NAMES.split()],
    *[(f"{name}_scalar", with_1(getattr(F, f"{name}_scalar")), [A]) for name in NAMES.split()],
    ("isinf", F.isinf, [np.array([[1, np.inf, np.nan]], np.float32)]),
    ("isnan", F.isnan, [np.array([[1, np.inf, np.nan]], np.float32)]),
    ("logical_not", F.logical_not, [A]),
    ("mod2", F.mod2, [normal(3, 1, 5), between(0.2, 0.5, 1, 4, 1)]),
    ("fmod", lambda a, b: F.mod2(a, b, fmod=True), [normal(3, 5), between(0.2, 0.5, 3, 5)]),
]


@each(MASKS)
def test_what_does_not_move(name, build, inputs):
    like = build(*map(nn.Variable, [i.shape for i in inputs]))
    case = FunctionCase(
        name, lambda x, *others: build(*others) * x**2, [normal(*like.shape), *inputs], [0]
    )
    check(case)
