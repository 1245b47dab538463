"""Functions of which others take the place: equal in the losses and in the gradient."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import build_objective

from .definitions import CPU, Native, load, looped, losses, python_proto, random_parameters

N = 7
RNG = np.random.RandomState(0)
SHAPES = {"x": (3,), "t": (4,)}
LABELS = {"x": (3,), "t": (1,)}


def fused(v):
    h = PF.affine(v["x"], 4, name="a")
    return F.squared_error(PF.fused_batch_normalization(h, batch_stat=False, name="n"), v["t"])


def fused_with_sum(v):
    h = PF.affine(v["x"], 4, name="a")
    h = PF.fused_batch_normalization(h, z=F.sin(h), batch_stat=False, name="n")
    return F.squared_error(h, v["t"])


def cross_entropy(v):
    return F.binary_cross_entropy(F.sigmoid(PF.affine(v["x"], 4, name="a")), v["t"])


def categorical(v):
    return F.categorical_cross_entropy(F.softmax(PF.affine(v["x"], 3, name="a")), v["t"])


def of_another_axis(v):
    """Not rewritten: a softmax over the first of two axes."""
    p = F.softmax(PF.affine(v["x"], (2, 3), name="a"), axis=1)
    label = F.broadcast(F.reshape(v["t"], (*v["t"].shape, 1)), (v["t"].shape[0], 2, 1))
    return F.categorical_cross_entropy(p, label, axis=2)


REWRITTEN = {
    "fused normalisation": (fused, SHAPES),
    "fused normalisation and sum": (fused_with_sum, SHAPES),
    "binary cross entropy": (cross_entropy, SHAPES),
    "categorical cross entropy": (categorical, LABELS),
    "categorical cross entropy of another axis": (of_another_axis, LABELS),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_an_equal_function_takes_its_place(tmp_path, name):
    make, shapes = REWRITTEN[name]
    definition = load(tmp_path, *python_proto(make, shapes))
    values = random_parameters(definition)
    x = RNG.randn(N, 3).astype(np.float32)
    t = RNG.randint(0, 3, (N, 1)) if shapes is LABELS else RNG.rand(N, 4)
    objective, native = build_objective(definition, N, CPU, values), Native(definition, values, N)
    found = losses(objective, x=x, y=t)
    np.testing.assert_allclose(found, native.losses(x=x, t=t), rtol=1e-5)
    weights = nn.Variable.from_numpy_array(RNG.rand(N))
    examples = F.mean(F.reshape(native.loss, (N, -1)), axis=1)
    gradients = []
    for per_example, parameters in (
        (objective.losses, objective.parameters),
        (examples, native.parameters),
    ):
        for variable in parameters.values():
            variable.grad.zero()
        total = F.sum(per_example * weights)
        total.forward()
        total.backward()
        gradients.append({name: parameters[name].g.copy() for name in objective.parameters})
    for name, wanted in gradients[1].items():
        assert np.abs(wanted).max() > 0
        np.testing.assert_allclose(gradients[0][name], wanted, atol=1e-5 * np.abs(wanted).max())


def test_it_does_so_within_a_loop(tmp_path):
    """A sigmoid's cross entropy, twice, as a formula in float64: h <- loss(h W_i, 0.5)."""
    affine = {"type": "Affine", "input": ["W{Loop}"], "affine_param": {"base_axis": 1}}
    entropy = {"type": "BinaryCrossEntropy", "input": ["T"]}
    proto = looped([affine, {"type": "Sigmoid"}, entropy], {"W{Loop}": ((3, 3), "Loop")})
    definition = load(tmp_path, proto)
    values = random_parameters(definition)
    objective = build_objective(definition, N, CPU, values)
    h, t = RNG.randn(N, 3), np.full((N, 3), 0.5)
    found = losses(objective, x=h, y=t)
    for i in range(2):
        z = h @ values[f"W[{i}]"]
        h = np.logaddexp(0, z) - 0.5 * z
    np.testing.assert_allclose(found, np.mean((h - t) ** 2, axis=1), rtol=1e-5)
