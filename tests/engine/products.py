"""Derivatives of a case, and float64 JAX to compare them with."""

from __future__ import annotations

from types import SimpleNamespace

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Mode, build_objective, load_definition
from nnabla_influence.device import cpu_device
from nnabla_influence.engine.gradients import Derivatives
from tests.cases import Case
from tests.reference import float64

CONTEXT = cpu_device("tests").context


def derivatives_of(case: Case, folder, chunk: int, mode=Mode.TEST, parameters=None) -> Derivatives:
    path = case.save_definition(folder, parameters=parameters)
    definition = load_definition(path, folder / "net.h5")
    return Derivatives(build_objective(definition, chunk, CONTEXT, mode=mode), CONTEXT)


def derivatives_by_hand(inputs, parameters, losses, penalty=None) -> Derivatives:
    """Of variables, without a definition."""
    objective = SimpleNamespace(
        batch_size=len(losses.d),
        inputs=inputs,
        parameters=parameters,
        losses=losses,
        prediction=None,
        statistics=(),
        draws=(),
        whole_batch=False,
        penalty=penalty,
    )
    return Derivatives(objective, CONTEXT)


def vector(derivatives: Derivatives, values: np.ndarray) -> nn.NdArray:
    a = derivatives.zeros()
    a.data = values
    return a


def flat(derivatives: Derivatives, tree) -> np.ndarray:
    return np.concatenate([np.ravel(tree[name]) for name in derivatives.objective.parameters])


def as_tree(derivatives: Derivatives, flat: np.ndarray) -> dict[str, np.ndarray]:
    tree, start = {}, 0
    for name, variable in derivatives.objective.parameters.items():
        tree[name] = flat[start : start + variable.size].reshape(variable.shape)
        start += variable.size
    return tree


def relative(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def assert_products(derivatives: Derivatives, reference, inputs) -> None:
    """J a and H a, for a random a, against float64 JAX."""
    n = len(next(iter(inputs.values())))
    a = np.random.default_rng(5).normal(size=derivatives.size).astype(np.float32)
    h = derivatives.zeros()
    products = derivatives.add_products(inputs, np.full(n, 1 / n), vector(derivatives, a), h)
    tree = float64(as_tree(derivatives, a))
    assert relative(products, reference.per_example(reference.theta, tree, float64(inputs))) < 1e-5
    wanted = flat(derivatives, reference.hessian(reference.theta, tree, float64(inputs)))
    assert relative(h.data, wanted) < 1e-5


def assert_gradient(derivatives: Derivatives, reference, inputs) -> None:
    """The gradient and the losses against float64 JAX."""
    n = len(next(iter(inputs.values())))
    gradient = derivatives.zeros()
    derivatives.add_gradient(inputs, np.full(n, 1 / n), gradient)
    wanted = flat(derivatives, reference.gradient(reference.theta, float64(inputs)))
    assert relative(gradient.data, wanted) < 1e-5
    losses = reference.losses(reference.theta, float64(inputs))
    assert relative(derivatives.outputs(inputs)[0], losses) < 1e-5
