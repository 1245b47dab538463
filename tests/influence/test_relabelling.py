"""Relabel gains against the definition, and suggested labels."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from nnabla_influence.definition import load_definition
from nnabla_influence.influence.relabelling import has_relabel_gains, relabel_gains, suggest
from tests.influence.test_exact import BY_NAME, error, traces_of, training
from tests.solvers.cases import settings
from tests.whole_training import WholeTraining


def with_soft_labels(case, losses):
    """A function of labels (n, C): the sum over the classes of their parts and their losses."""

    def soft(parameters, inputs):
        def of_class(c):
            y = jnp.full((len(inputs["y"]), 1), c)
            return inputs["y"][:, c] * losses(parameters, {**inputs, "y": y})

        return sum(map(of_class, range(case.classes.get("y", 2))))

    return soft


def whole_training(case, steps, train, validation, solver):
    parameters, hard = case.parameters(), case.training_losses or case.losses
    one_hot = np.eye(case.classes.get("y", 2))[train["y"][:, 0].astype(int)]
    return WholeTraining(
        *(case.losses, parameters, case.trainable(parameters), steps),
        *({**train, "y": one_hot}, validation, solver),
        training_losses=with_soft_labels(case, hard),
        statistics=case.statistics,
    ), one_hot


MLP = BY_NAME["mlp-categorical"]
HALVED = dataclasses.replace(
    MLP,
    name="halved",
    build=lambda v: 0.5 * MLP.build(v),
    losses=lambda p, v: 0.5 * MLP.losses(p, v),
)


@pytest.mark.parametrize(
    ("case", "solver"),
    [
        (MLP, "Sgd"),
        pytest.param(MLP, "Adam", marks=pytest.mark.slow),
        pytest.param(HALVED, "Sgd", marks=pytest.mark.slow),
        (BY_NAME["mlp-binary"], "Momentum"),
        pytest.param(BY_NAME["cnn-batchnorm"], "Momentum", marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_gain_is_the_derivative_of_a_whole_training_by_the_label(tmp_path, case, solver):
    train, validation = case.inputs(12, seed=1), case.inputs(9, seed=2)
    solver = settings(solver, 0.03)
    steps = training(12, 6, epochs=2, rate=solver.hyperparameters["lr"])
    whole, one_hot = whole_training(case, steps, train, validation, solver)
    by_label = np.asarray(whole.derivatives_by_train()["y"])
    given, rows = train["y"][:, 0].astype(int), np.arange(12)
    wanted = by_label[rows, given][:, None] - by_label

    shape = (case.classes.get("y", 1),)
    *_, trace = traces_of(case, tmp_path, steps, train, validation, solver, outputs=shape)
    definition = load_definition(tmp_path / "net.nntxt", tmp_path / "net.h5")
    (gains,) = relabel_gains(definition, trace.moves[None], given)
    assert error(gains, wanted) < 1e-3

    if case is MLP:  # the yardstick itself: retrained with a label moved a little, to and fro
        for row in (0, 7):
            label, step = (given[row] + 1) % 4, np.zeros_like(one_hot)
            step[row, given[row]], step[row, label] = -1e-5, 1e-5
            up, down = (float(whole.loss_of(y=one_hot + way * step)) for way in (1, -1))
            assert (down - up) / 2e-5 == pytest.approx(wanted[row, label], rel=1e-5)


def test_only_a_cross_entropy_of_logits_has_gains(tmp_path):
    for name, has in (("mlp-softmax", True), ("mlp-binary", True), ("two-inputs-huber", False)):
        (tmp_path / name).mkdir()
        path = BY_NAME[name].save_definition(tmp_path / name)
        assert has_relabel_gains(load_definition(path, tmp_path / name / "net.h5")) == has


def test_a_row_without_a_class_gains_nothing_and_is_suggested_the_best_of_all(tmp_path):
    definition = load_definition(MLP.save_definition(tmp_path), tmp_path / "net.h5")
    (gains,) = relabel_gains(definition, np.ones((1, 2, 4)) * np.arange(4), np.array([-1, 2]))
    np.testing.assert_allclose(gains, [[0, 0, 0, 0], [2, 1, 0, -1]])
    found = suggest(np.array([[0.1, 0.2, 0.1, 0.6]] * 2), gains, np.array([-1, 3]))
    assert found.labels.tolist() == [3, 1]


def test_the_best_other_class_is_suggested_and_firm_where_the_gain_agrees():
    scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]])
    gains = np.array([[0.0, 1.0, 0.5], [2.0, 0.0, 1.0], [-1.0, 0.0, -0.5]])
    found = suggest(scores, gains, np.array([0, 1, 1]))
    assert found.labels.tolist() == [1, 2, 2]
    assert found.gains.tolist() == [1.0, 1.0, -0.5]
    assert found.firm.tolist() == [True, False, False]


def test_a_label_below_0_is_no_class():
    scores, gains = np.array([[0.1, 0.2, 0.7]]), np.zeros((1, 3))
    found = suggest(scores, gains, np.array([-1]))
    assert found.labels.tolist() == [2]
    assert not found.firm.any()


def test_nothing_is_firm_without_gains():
    found = suggest(np.eye(3), None, np.arange(3))
    assert found.gains is None
    assert not found.firm.any()
