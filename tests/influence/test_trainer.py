"""The trainer against nnabla itself, and against trainings in float64 that leave rows out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnabla_influence.definition import load_definition
from nnabla_influence.device import cpu_device
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.runs.run import read_run
from tests.exact_trainings import KINDS, Watched, arrays, equal, fetch_from
from tests.reference import float64
from tests.training_data import parameters_of
from tests.whole_training import WholeTraining

CONTEXT = cpu_device("tests").context


def prepared(training: Watched):
    definition = load_definition(training.definition)
    trainer = Trainer(definition, definition.solver, CONTEXT)
    return trainer, read_run(training.run("all")).steps, StepInputs(fetch_from(training.training))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_every_step_is_nnabla_clis_to_the_bit(trainings, name: str):
    """From nnabla_cli's initial values to its results, each state as nnabla saved it."""
    training = trainings[name]
    trainer, steps, inputs = prepared(training)
    trainer.start(training.seen_by_nnabla(0))
    for step in steps:
        equal(trainer.checkpoint(), training.seen_by_nnabla(step.step))
        trainer.step(step, inputs)
    arrived = trainer.checkpoint()
    assert arrived.step == len(steps) == training.n_steps
    saved = parameters_of(training.final)
    assert set(arrived.parameters) == set(saved)
    for key, value in saved.items():
        np.testing.assert_array_equal(arrived.parameters[key], value)


def test_the_trainings_are_what_they_are_meant_to_be(trainings):
    """The yardsticks themselves: what should vary does."""
    rates = {
        name: [step.learning_rate for step in read_run(training.run("all")).steps]
        for name, training in trainings.items()
    }
    for name in ("momentum", "adamw", "schedule"):
        assert len(set(rates[name])) > 2
    assert len(read_run(trainings["adam"].run("all")).steps[0].batches) == 2
    steps = read_run(trainings["sgd"].run("all")).steps
    sets = [set(step.rows.tolist()) for step in steps]
    assert len(set().union(*sets[:4])) == 20  # the other three come in the next mini-batch
    assert set().union(*sets[:5]) == set(range(23))
    first, last = (trainings["batchnorm"].seen_by_nnabla(step).parameters for step in (0, 12))
    assert not np.array_equal(first["n/bn/mean"], last["n/bn/mean"])


def test_it_continues_from_any_checkpoint_whatever_it_trained_before(trainings):
    training = trainings["adam"]
    trainer, steps, inputs = prepared(training)
    for start, end in ((0, 3), (4, 6), (1, 4)):
        trainer.start(training.seen_by_nnabla(start))
        for step in steps[start:end]:
            trainer.step(step, inputs)
        equal(trainer.checkpoint(), training.seen_by_nnabla(end))


def test_a_checkpoint_is_a_copy(trainings):
    training = trainings["momentum"]
    trainer, steps, inputs = prepared(training)
    trainer.start(training.seen_by_nnabla(0))
    trainer.step(steps[0], inputs)
    kept = trainer.checkpoint()
    trainer.step(steps[1], inputs)
    equal(kept, training.seen_by_nnabla(1))


def test_a_step_out_of_order_is_refused(trainings):
    training = trainings["sgd"]
    trainer, steps, inputs = prepared(training)
    trainer.start(training.seen_by_nnabla(3))
    with pytest.raises(ValueError, match="step 5"):
        trainer.step(steps[5], inputs)


def mlp(p, v):
    h = jnp.tanh(v["x"] @ p["h/affine/W"] + p["h/affine/b"])
    return ((h @ p["out/affine/W"] + p["out/affine/b"] - v["y"]) ** 2).mean(1)


def arrive(whole: WholeTraining, given, weights):
    """The parameters at the end of a float64 training, by name."""
    found = {}
    whole.losses = lambda p, _: found.update(p) or jnp.zeros(1)
    whole._loss(weights, *given)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_weights_of_rows_are_those_of_a_float64_training(trainings, name: str):
    """Rows 2 and 7 left out, row 5 half: their gradients' factors alone change."""
    training = trainings[name]
    weights = {2: 0.0, 7: 0.0, 5: 0.5}
    trainer, steps, inputs = prepared(training)
    steps = steps[:6]
    start = training.seen_by_nnabla(0)
    trainer.start(start)
    for step in steps:
        trainer.step(step, inputs, weights)
    got = trainer.checkpoint().parameters

    definition = load_definition(training.definition)
    data = arrays(training.training)
    whole = WholeTraining(
        *(mlp, start.parameters, definition.trainable, steps, data, data, definition.solver),
        training_losses=mlp,
    )
    ends = jax.jit(lambda *given: arrive(whole, given[1:], given[0]))
    given = (float64(start.parameters), float64(data), float64(data))
    ones = np.ones((whole.n_epochs, 23))
    by_row = ones.copy()
    for row, weight in weights.items():
        by_row[:, row] = weight
    wanted, with_all = ends(by_row, *given), ends(ones, *given)
    assert set(wanted) == set(got)
    for key, value in wanted.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-4, atol=1e-5)
        assert not np.allclose(value, with_all[key], rtol=1e-3)
