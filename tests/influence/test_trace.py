"""Algorithm 2 against an independent float64 implementation, and against leave-one-out."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from nnabla_influence.definition import SolverSettings, build_objective, load_definition
from nnabla_influence.device import cpu_device
from nnabla_influence.engine import build_engine
from nnabla_influence.influence.step_engines import StepEngines
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.targets import LOSS, target_gradient
from nnabla_influence.influence.trace import (
    DivergedError,
    Trace,
    TraceInputs,
    trace_back,
)
from nnabla_influence.influence.trajectory import FinalTrajectory
from nnabla_influence.progress import SilentProgress
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.run import Step
from nnabla_influence.solvers import SolverState, build_adjoint
from tests.cases import CASES, Case
from tests.reference import MiniBatch, Reference

CONTEXT = cpu_device("tests").context
BY_NAME = {case.name: case for case in CASES}


def some_steps(n: int, batch_size: int, epochs: int, seed: int = 0) -> list[MiniBatch]:
    """Shuffled epochs whose batches straddle them, and a falling learning rate."""
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(n) for _ in range(epochs)])
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return [(batch.tolist(), float(np.float32(0.2 / (1 + i)))) for i, batch in enumerate(batches)]


def as_steps(steps: Sequence[MiniBatch]) -> list[Step]:
    return [
        Step(step=i, epoch=0, learning_rate=eta, batches=(np.asarray(rows),))
        for i, (rows, eta) in enumerate(steps)
    ]


def trace(
    case: Case,
    folder,
    steps: Sequence[Step],
    train,
    validation,
    *,
    parameters=None,
    weight_decay: float = 0.0,
    chunk: int = 5,
    first_length: float | None = None,
) -> Trace:
    definition = load_definition(
        case.save_definition(folder, parameters=parameters), folder / "net.h5"
    )
    engine = build_engine(build_objective(definition, chunk, CONTEXT), CONTEXT)
    n_rows, n_validation = (len(next(iter(a.values()))) for a in (train, validation))
    u = target_gradient(
        engine,
        lambda rows: {k: v[rows] for k, v in validation.items()},
        np.arange(n_validation),
        LOSS,
        SilentProgress(),
        block=7,
    )
    adjoint = build_adjoint(SolverSettings("Sgd", {"lr": 0.1}, weight_decay, 1), u, CONTEXT)
    inputs = TraceInputs(
        steps,
        FinalTrajectory(Checkpoint(len(steps), definition.parameters, SolverState(len(steps), {}))),
        StepEngines(lambda size: engine, whole=False, chunk_size=chunk),
        adjoint,
        StepInputs(lambda rows: {k: v[rows] for k, v in train.items()}),
    )
    start = Trace.start(n_rows, u)
    if first_length is not None:
        start = dataclasses.replace(start, first_length=first_length)
    *_, last = trace_back(inputs, start)
    assert last.n_steps == len(steps)
    return last


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request) -> Case:
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_agrees_with_float64_algorithm_2(case: Case, tmp_path, weight_decay: float):
    train, validation = case.inputs(23, seed=1), case.inputs(9, seed=2)
    steps = some_steps(23, 6, epochs=2)
    parameters = case.parameters()
    reference = Reference(case.losses, parameters, case.trainable(parameters))

    got = trace(
        case, tmp_path, as_steps(steps), train, validation, weight_decay=weight_decay
    ).influence

    wanted = reference.influence(steps, train, validation, weight_decay)
    assert np.linalg.norm(got - wanted) < 1e-3 * np.linalg.norm(wanted)
    assert spearmanr(got, wanted).statistic > 0.999


def test_accumulated_mini_batches_count_as_one_step_of_their_sum(tmp_path):
    """Two batches in one step: both see the same u, and u takes both Hessians at once."""
    case = BY_NAME["linear-squared"]
    train, validation = case.inputs(6, seed=1), case.inputs(4, seed=2)
    batches = (np.array([0, 1, 2]), np.array([3, 4]))
    steps = [Step(0, 0, 0.1, (np.array([5]),)), Step(1, 0, 0.05, batches)]
    got = trace(case, tmp_path, steps, train, validation).influence

    parameters = case.parameters()
    theta = np.append(parameters["out/affine/W"].ravel(), parameters["out/affine/b"]).astype(float)
    design = {
        k: np.column_stack([v["x"], np.ones(len(v["x"]))]).astype(float)
        for k, v in (("train", train), ("validation", validation))
    }
    X, y = design["train"], train["y"][:, 0].astype(float)
    V, w = design["validation"], validation["y"][:, 0].astype(float)
    gradients = 2 * (X @ theta - y)[:, None] * X
    u = 2 * V.T @ (V @ theta - w) / len(w)
    wanted = np.zeros(6)
    for rows in batches:
        wanted[rows] = 0.05 / len(rows) * gradients[rows] @ u
    H = sum(2 / len(rows) * X[rows].T @ X[rows] for rows in batches)
    u = u - 0.05 * H @ u
    wanted[5] = 0.1 * gradients[5] @ u
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_chunk_size_changes_nothing(tmp_path):
    case = BY_NAME["cnn-softmax"]
    train, validation = case.inputs(30, seed=1), case.inputs(9, seed=2)
    steps = as_steps(some_steps(30, 12, epochs=1))
    scores = [
        trace(case, tmp_path, steps, train, validation, chunk=chunk).influence
        for chunk in (2, 5, 12, 32)
    ]
    for other in scores[1:]:
        assert np.linalg.norm(other - scores[0]) < 1e-5 * np.linalg.norm(scores[0])


@pytest.mark.slow
def test_noise_in_place_of_the_trained_weights_changes_every_score(tmp_path):
    case = BY_NAME["cnn-batchnorm-dropout"]
    train, validation = case.inputs(20, seed=1), case.inputs(9, seed=2)
    steps = as_steps(some_steps(20, 6, epochs=1))
    trained, noise = (
        trace(case, tmp_path, steps, train, validation, parameters=case.parameters(seed)).influence
        for seed in (0, 7)
    )
    assert (np.abs(trained - noise) > 1e-3 * np.abs(trained)).all()


def test_counts_how_often_a_row_was_seen_and_leaves_others_at_zero(tmp_path):
    case = BY_NAME["mlp-softmax"]
    train, validation = case.inputs(6, seed=1), case.inputs(4, seed=2)
    twice = Step(0, 0, 0.1, (np.array([4, 1, 4]),))
    result = trace(case, tmp_path, [twice], train, validation)
    np.testing.assert_array_equal(result.times_seen, [0, 1, 0, 0, 2, 0])
    np.testing.assert_array_equal(result.influence[[0, 2, 3, 5]], 0)
    once = trace(
        case, tmp_path, [Step(0, 0, 0.1, (np.array([4, 1, 0]),))], train, validation
    ).influence
    assert result.influence[4] == pytest.approx(2 * once[4], rel=1e-5)


def test_a_step_that_is_not_finite_is_named(tmp_path):
    case = BY_NAME["linear-squared"]
    train, validation = case.inputs(6, seed=1), case.inputs(4, seed=2)
    steps = as_steps([([0, 1, 2], 0.1)] * 4)
    steps[2] = dataclasses.replace(steps[2], learning_rate=1e38)
    with pytest.raises(DivergedError, match=r"step [123] \(epoch 0\)"):
        trace(case, tmp_path, steps, train, validation)


def test_a_trace_that_diverges_is_stopped(tmp_path):
    """u is multiplied by I - 5 H in every step, and H has eigenvalues of about 2."""
    case = BY_NAME["linear-squared"]
    train, validation = case.inputs(12, seed=1), case.inputs(4, seed=2)
    steps = as_steps([(list(range(12)), 5.0)] * 20)
    with pytest.raises(DivergedError, match=r"step 1\d \(epoch 0\)"):
        trace(case, tmp_path, steps, train, validation)
    assert np.isfinite(trace(case, tmp_path, steps[:3], train, validation).influence).all()


def test_growth_counts_from_the_first_length_however_often_the_trace_was_resumed(tmp_path):
    case = BY_NAME["linear-squared"]
    train, validation = case.inputs(12, seed=1), case.inputs(4, seed=2)
    steps = as_steps([(list(range(12)), 5.0)] * 20)
    first_length = trace(case, tmp_path, steps[:1], train, validation).first_length
    with pytest.raises(DivergedError) as undisturbed:
        trace(case, tmp_path, steps, train, validation)
    with pytest.raises(DivergedError) as resumed:  # as of a u that was 1e3 times shorter
        trace(case, tmp_path, steps, train, validation, first_length=first_length / 1e3)
    assert step_of(resumed.value) > step_of(undisturbed.value)


def step_of(error: Exception) -> int:
    return int(str(error).split()[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least_tau", "learning_rate"), [("logistic", 0.97, 0.1), ("mlp-softmax", 0.85, 0.1)]
)
def test_agrees_with_leave_one_out_by_redoing_the_last_epoch(
    tmp_path, name: str, least_tau: float, learning_rate: float
):
    """The definition: train, redo the last epoch without the row, compare the validation loss."""
    case = LOGISTIC if name == "logistic" else BY_NAME[name]
    n, batch_size, epochs = 120, 20, 12
    train, validation = case.inputs(n, seed=1), case.inputs(200, seed=2)
    teach(train, validation)
    rng = np.random.default_rng(0)
    epoch_steps = [
        [(rows.tolist(), learning_rate) for rows in rng.permutation(n).reshape(-1, batch_size)]
        for _ in range(epochs)
    ]
    reference = Reference(case.losses, case.parameters(), case.trainable(case.parameters()))
    before = reference.train(reference.theta, list(itertools.chain(*epoch_steps[:-1])), train)
    final = reference.train(before, epoch_steps[-1], train)
    base = float(reference.mean_loss(final, validation))
    truth = np.array(
        [
            float(
                reference.mean_loss(
                    reference.train(before, epoch_steps[-1], train, without=row), validation
                )
            )
            - base
            for row in range(n)
        ]
    )
    parameters = {k: np.asarray(v, np.float32) for k, v in final.items()}
    got = trace(
        case, tmp_path, as_steps(epoch_steps[-1]), train, validation, parameters=parameters
    ).influence

    assert kendalltau(got, truth).statistic >= least_tau
    # The scale is meant too: the score is the change of the loss, not only its order.
    assert np.polyfit(truth, got, 1)[0] == pytest.approx(1, abs=0.1)


def teach(*data) -> None:
    """Give labels that can be learnt, with some noise, in place of random ones."""
    for number, arrays in enumerate(data):
        rng = np.random.default_rng(number + 10)
        score = arrays["x"] @ np.random.default_rng(9).normal(size=(5, 3))
        noisy = score + rng.gumbel(size=score.shape)
        arrays["y"] = noisy.argmax(1)[:, None].astype(np.float32)


def _logistic() -> Case:
    import nnabla.functions as F
    import nnabla.parametric_functions as PF

    from tests.cases import _affine, _cross_entropy

    return Case(
        "logistic",
        {"x": (5,), "y": (1,)},
        lambda v: F.softmax_cross_entropy(PF.affine(v["x"], 3, name="out"), v["y"]),
        lambda p, v: _cross_entropy(_affine(p, "out", v["x"]), v["y"]),
        {"y": 3},
    )


LOGISTIC = _logistic()
