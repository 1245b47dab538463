"""Exact traces against the definition: the derivative of the whole retraining by a row's weight."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy.stats import spearmanr

from nnabla_influence.definition import Mode, build_objective, load_definition, running_statistics
from nnabla_influence.device import cpu_device
from nnabla_influence.engine import Engine, build_engine
from nnabla_influence.influence.step_engines import StepEngines
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.targets import LOSS, target_gradient
from nnabla_influence.influence.trace import Trace, TraceInputs, trace_back
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.options import Options
from nnabla_influence.progress import SilentProgress
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.run import write_run
from nnabla_influence.runs.steps import Step
from nnabla_influence.scoring.inputs import Inputs, Request
from nnabla_influence.scoring.methods import final_method
from nnabla_influence.solvers import STATE_NAMES, SolverState, build_adjoint
from tests.cases import CASES, Case
from tests.reference import float64, pick
from tests.small_projects import edit
from tests.solvers.cases import HYPER, settings
from tests.whole_training import WholeTraining

CONTEXT = cpu_device("tests").context
BY_NAME = {case.name: case for case in CASES}


def training(n: int, batch_size: int, epochs: int, rate: float, interval: int = 1) -> list[Step]:
    """Shuffled epochs with a ragged last batch, and a learning rate that falls."""
    rng = np.random.default_rng(0)
    batches, steps = [], []
    for epoch in range(epochs):
        order = rng.permutation(n)
        batches += [(epoch, order[i : i + batch_size]) for i in range(0, n, batch_size)]
    for i in range(0, len(batches) - interval + 1, interval):
        group = batches[i : i + interval]
        lr = float(np.float32(rate / (1 + 0.1 * i)))
        steps.append(Step(i // interval, group[-1][0], lr, tuple(rows for _, rows in group)))
    return steps


class Kept:
    """A trajectory in memory."""

    exact = True

    def __init__(self, checkpoints: dict[int, Checkpoint]):
        self.checkpoints = checkpoints

    def before(self, step: Step) -> Checkpoint:
        return self.checkpoints[step.step]


def train_and_trace(
    case: Case, folder, steps, train, validation, solver, window=None, *, frozen=None
) -> list[np.ndarray]:
    """Train in nnabla from the case's parameters, and trace back; the scores after each step."""
    traces = traces_of(case, folder, steps, train, validation, solver, window, frozen=frozen)
    return [trace.influence.copy() for trace in traces]


def traces_of(
    case: Case, folder, steps, train, validation, solver, window=None, *, frozen=None, outputs=None
) -> Iterator[Trace]:
    """Yield the trace after each step; with the moves of outputs of a shape."""
    chunk = 8
    path = case.save_definition(folder, batch_size=len(steps[0].batches[0]))
    if frozen is not None:
        edit(path, lambda proto: freeze(proto, frozen))
    definition = load_definition(path, folder / "net.h5")
    start = {k: np.asarray(v, np.float32) for k, v in definition.parameters.items()}
    zeros = {
        state: {name: np.zeros_like(start[name]) for name in definition.trainable}
        for state in STATE_NAMES[solver.name]
    }

    def fetch(rows):
        return {k: v[rows] for k, v in train.items()}

    trainer = Trainer(definition, solver, CONTEXT)
    trainer.start(Checkpoint(0, start, SolverState(0, zeros)))
    checkpoints = {}
    for step in steps:
        checkpoints[step.step] = trainer.checkpoint()
        trainer.step(step, StepInputs(fetch))
    final = trainer.checkpoint()

    def engine(size: int, mode: Mode) -> Engine:
        return build_engine(
            build_objective(definition, size, CONTEXT, final.parameters, mode), CONTEXT
        )

    at_end = engine(chunk, Mode.VALIDATION)
    n_rows, n_validation = (len(next(iter(a.values()))) for a in (train, validation))
    gradient = target_gradient(
        at_end,
        lambda rows: {k: v[rows] for k, v in validation.items()},
        np.arange(n_validation),
        LOSS,
        SilentProgress(),
    )
    p = sum(start[name].size for name in definition.trainable)
    whole = bool(running_statistics(definition))
    r = None
    if whole:
        r = gradient.narrow(0, p, gradient.size - p)
        gradient = gradient.narrow(0, 0, p)
    inputs = TraceInputs(
        steps if window is None else steps[-window:],
        Kept(checkpoints),
        StepEngines(lambda size: engine(size, Mode.TRAINING), whole, chunk),
        build_adjoint(solver, gradient, CONTEXT),
        StepInputs(fetch),
        r,
    )
    yield from trace_back(inputs, Trace.start(n_rows, gradient, outputs))


def freeze(proto, name: str) -> None:
    for variable in proto.optimizer[0].parameter_variable:
        if variable.variable_name == name:
            variable.learning_rate_multiplier = 0


def yardstick(case: Case, steps, train, validation, solver, frozen=None) -> WholeTraining:
    parameters = case.parameters()
    trainable = [name for name in case.trainable(parameters) if name != frozen]
    return WholeTraining(
        *(case.losses, parameters, trainable, steps, train, validation, solver),
        training_losses=getattr(case, "training_losses", None),
        statistics=getattr(case, "statistics", None),
    )


def error(got, wanted) -> float:
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


SMOOTH = BY_NAME["two-inputs-huber"]
"""Without kinks, so that finite differences mean something."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "decay", "interval"),
    [(name, 0.03, 1) for name in HYPER] + [(n, 0.0, 2) for n in ("Sgd", "Nesterov", "Adam")],
)
def test_agrees_with_finite_differences_through_the_whole_retraining(
    tmp_path, name: str, decay: float, interval: int
):
    """A schedule and ragged last batches; windows of all epochs and of the last."""
    train, validation = SMOOTH.inputs(10, seed=1), SMOOTH.inputs(9, seed=2)
    solver = settings(name, decay)
    steps = training(10, 6, epochs=2, rate=solver.hyperparameters["lr"], interval=interval)
    whole = yardstick(SMOOTH, steps, train, validation, solver)
    by_epoch = whole.influence()
    rows = [0, 4, 9]
    # Of the yardstick itself, first.
    assert error(whole.central_differences(rows), by_epoch.sum(axis=0)[rows]) < 1e-6

    last = sum(step.epoch == 1 for step in steps)
    for window, wanted in ((None, by_epoch.sum(axis=0)), (last, by_epoch[1])):
        *_, got = train_and_trace(SMOOTH, tmp_path, steps, train, validation, solver, window)
        assert error(got, wanted) < 1e-3
        assert spearmanr(got, wanted).statistic > 0.999


@pytest.mark.slow
def test_each_epoch_contributes_its_own_and_a_frozen_parameter_nothing(tmp_path):
    """The sum over the epochs' contributions is the score of all of them."""
    train, validation = SMOOTH.inputs(10, seed=1), SMOOTH.inputs(9, seed=2)
    solver = settings("Adam", 0.03)
    steps = training(10, 6, epochs=2, rate=solver.hyperparameters["lr"])
    by_epoch = yardstick(SMOOTH, steps, train, validation, solver, "l/affine/W").influence()

    so_far = train_and_trace(
        SMOOTH, tmp_path, steps, train, validation, solver, frozen="l/affine/W"
    )

    last = sum(step.epoch == 1 for step in steps)
    assert error(so_far[last - 1], by_epoch[1]) < 1e-3
    assert error(so_far[-1] - so_far[last - 1], by_epoch[0]) < 1e-3


@pytest.mark.slow
def test_batch_normalization_is_exact_through_its_running_statistics(tmp_path):
    """Batch statistics in the steps; the running ones, which they move, in the validation."""
    case = next(case for case in CASES if case.statistics is not None)
    train, validation = case.inputs(12, seed=1), case.inputs(9, seed=2)
    solver = settings("Momentum", 0.03)
    steps = training(12, 6, epochs=2, rate=0.05)
    whole = yardstick(case, steps, train, validation, solver)

    *_, got = train_and_trace(case, tmp_path, steps, train, validation, solver)

    assert error(got, whole.influence().sum(axis=0)) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_final_parameters_with_either_statistics_in_the_steps(tmp_path, statistics: str):
    """Algorithm 2 literally, in float64: u, and with batch statistics r, at one state."""
    case = next(case for case in CASES if case.statistics is not None)
    train, validation = case.inputs(12, seed=1), case.inputs(9, seed=2)
    steps = training(12, 6, epochs=2, rate=0.05)
    parameters = case.parameters()
    definition = load_definition(
        case.save_definition(tmp_path, batch_size=6, max_epoch=2, iter_per_epoch=2),
        tmp_path / "net.h5",
    )
    run = write_run(tmp_path / "run", parameters=parameters, steps=steps, settings=None)
    options = Options(method="final", running_statistics=statistics == "running")
    path = tmp_path / "net.nntxt"
    inputs = Inputs(
        Request(path, run.folder, None, None, None, None, options, "cpu"),
        cpu_device("tests"),
        definition,
        run,
        definition.solver,
        train=SimpleNamespace(batch=lambda rows: {k: v[rows] for k, v in train.items()}),
        validation=None,
    )
    method = final_method(inputs)
    u, r = method.split(
        target_gradient(
            method.at_end,
            lambda rows: {k: v[rows] for k, v in validation.items()},
            np.arange(9),
            LOSS,
            SilentProgress(),
        )
    )
    adjoint = build_adjoint(settings("Sgd", 0.03), u, CONTEXT)
    traced = TraceInputs(steps, method.trajectory, method.of_steps, adjoint, method.step_inputs, r)
    *_, got = (trace.influence for trace in trace_back(traced, Trace.start(12, u)))

    theta = {k: v for k, v in float64(parameters).items() if k in definition.trainable}
    moving = {k: v for k, v in float64(parameters).items() if k not in definition.trainable}
    loss = case.training_losses if statistics == "batch" else case.losses
    u, r = jax.grad(
        lambda t, m: case.losses({**t, **m}, float64(validation)).mean(), argnums=(0, 1)
    )(theta, moving)
    wanted, d = np.zeros(12), float(np.float32(0.9))
    for step in reversed(steps):
        batch, eta = pick(float64(train), step.rows), step.learning_rate
        of_step = lambda t, batch=batch: loss({**t, **moving}, batch)  # noqa: E731
        wanted[step.rows] += eta / len(step.rows) * jax.jvp(of_step, (theta,), (u,))[1]
        mean = lambda t, of_step=of_step: of_step(t).mean()  # noqa: E731
        h = jax.jvp(jax.grad(mean), (theta,), (u,))[1]
        u = {k: u[k] - eta * (h[k] + float(np.float32(0.03)) * u[k]) for k in u}
        if statistics == "batch":
            towards = lambda t, batch=batch: case.statistics({**t, **moving}, batch)  # noqa: E731
            (back,) = jax.vjp(towards, theta)[1](r)
            u = {k: u[k] + (1 - d) * back[k] for k in u}
            r = {k: d * r[k] for k in r}
    assert error(got, wanted) < 1e-4
