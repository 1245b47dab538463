"""The engines of a case, and float64 JAX to compare them with."""

from __future__ import annotations

from types import SimpleNamespace

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Mode, Objective, build_objective, load_definition
from nnabla_influence.device import cpu_device
from nnabla_influence.engine import Engine, NnablaEngine, NumpyEngine
from tests.cases import Case
from tests.reference import float64

CONTEXT = cpu_device("tests").context

ENGINES = {
    "numpy": NumpyEngine,
    "nnabla": lambda objective: NnablaEngine(objective, CONTEXT),
}


def objective_of(case: Case, folder, chunk: int, mode=Mode.TEST, parameters=None) -> Objective:
    path = case.save_definition(folder, parameters=parameters)
    definition = load_definition(path, folder / "net.h5")
    return build_objective(definition, chunk, CONTEXT, mode=mode)


def objective_by_hand(inputs, parameters, losses, penalty=None) -> SimpleNamespace:
    """Of variables, without a definition."""
    return SimpleNamespace(
        batch_size=len(losses.d),
        inputs=inputs,
        parameters=parameters,
        buffers={},
        losses=losses,
        outputs=None,
        prediction=None,
        statistics=(),
        normalizations=(),
        draws=(),
        whole_batch=False,
        penalty=penalty,
        check_parameters=lambda values: None,
    )


def vector(engine: Engine, values: np.ndarray) -> nn.NdArray:
    u = engine.zeros()
    u.data = values
    return u


def flat(engine: Engine, tree) -> np.ndarray:
    return np.concatenate([np.ravel(tree[name]) for name in engine.objective.parameters])


def as_tree(engine: Engine, flat: np.ndarray) -> dict[str, np.ndarray]:
    tree, start = {}, 0
    for name, variable in engine.objective.parameters.items():
        tree[name] = flat[start : start + variable.size].reshape(variable.shape)
        start += variable.size
    return tree


def relative(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def assert_products(engine: Engine, reference, inputs, tolerance: float = 1e-5) -> None:
    """J u and H u, for a random u, against float64 JAX."""
    n = len(next(iter(inputs.values())))
    u = np.random.default_rng(5).normal(size=engine.size).astype(np.float32)
    h = engine.zeros()
    along = engine.add_products(inputs, np.full(n, 1 / n), vector(engine, u), h).losses
    tree = float64(as_tree(engine, u))
    assert relative(along, reference.per_example(reference.theta, tree, float64(inputs))) < 1e-5
    wanted = flat(engine, reference.hessian(reference.theta, tree, float64(inputs)))
    assert relative(h.data, wanted) < tolerance


def assert_gradient(engine: Engine, reference, inputs) -> None:
    """The gradient and the losses against float64 JAX."""
    n = len(next(iter(inputs.values())))
    gradient = engine.zeros()
    engine.add_gradient(inputs, np.full(n, 1 / n), gradient)
    wanted = flat(engine, reference.gradient(reference.theta, float64(inputs)))
    assert relative(gradient.data, wanted) < 1e-5
    losses = reference.losses(reference.theta, float64(inputs))
    assert relative(engine.outputs(inputs).losses, losses) < 1e-5
