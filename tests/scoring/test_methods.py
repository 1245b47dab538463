"""Method final for solvers with a state, against the same in float64."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import nnabla as nn
import numpy as np
import pytest

from nnabla_influence import Options
from nnabla_influence.definition import load_definition
from nnabla_influence.errors import ScoreError
from nnabla_influence.runs.run import read_run
from nnabla_influence.scoring.methods import Method
from tests.exact_trainings import Watched, arrays
from tests.influence.test_trainer import mlp
from tests.reference import float64, pick
from tests.rules import RULES
from tests.runs.changing import with_new_checksums
from tests.scores import score

FINAL = Options(method="final", window="all")


def every_step_at_the_end(training: Watched, epochs: int, held: int | None = None) -> np.ndarray:
    """Take the validation gradient back by JAX, each step at the last parameters and state.

    The parameter's element ``held``, if there is one, stands still.
    """
    definition = load_definition(training.definition)
    end = training.seen_by_nnabla(training.n_steps)
    names = definition.trainable

    def flat(values):
        return jnp.concatenate([jnp.asarray(values[name], jnp.float64).ravel() for name in names])

    def losses(theta, data):
        named, start = {}, 0
        for name in names:
            size = end.parameters[name].size
            named[name] = theta[start : start + size].reshape(end.parameters[name].shape)
            start += size
        return mlp(named, data)

    solver = definition.solver
    rule = RULES[solver.name]

    def step(theta, states, weights, batches, lr):
        def mean(theta):
            return sum((w * losses(theta, b)).mean() for w, b in zip(weights, batches))

        g = jax.grad(mean)(theta)
        hyper = solver.hyperparameters
        moved, after = rule(theta, states, g, lr, end.solver.t, hyper, solver.weight_decay)
        return (moved if held is None else moved.at[held].set(theta[held])), after

    @functools.partial(jax.jit, static_argnums=4)
    def back(theta, states, carried, batches, lr):
        ones = [jnp.ones(len(batch["x"])) for batch in batches]
        _, pull = jax.vjp(lambda *point: step(*point, batches, lr), theta, states, ones)
        return pull(carried)

    theta = flat(end.parameters)
    states = {kind: flat(values) for kind, values in end.solver.values.items()}
    validation = float64(arrays(training.folder / "valid.csv"))
    u = jax.grad(lambda theta: losses(theta, validation).mean())(theta)
    carried = (u, {kind: jnp.zeros_like(u) for kind in states})
    data = float64(arrays(training.training))
    influence = np.zeros(len(data["x"]))
    steps = read_run(training.run("all")).steps
    for one in reversed([step for step in steps if step.epoch >= training.epochs - epochs]):
        batches = [pick(data, np.asarray(rows)) for rows in one.batches]
        *carried, by_row = back(theta, states, tuple(carried), batches, one.learning_rate)
        for rows, values in zip(one.batches, by_row):
            np.add.at(influence, rows, -np.asarray(values))
    return influence


def error(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def test_adams_last_state_stands_for_every_step(trainings):
    """That of the run, and that which nnabla_cli puts into the .nnp of a fifth epoch."""
    training = trainings["adam, five epochs"]
    wanted = every_step_at_the_end(training, 2)
    options = dataclasses.replace(FINAL, window=2)
    by_run = score(training.definition, run=training.run("all"), options=options)
    by_nnp = score(training.final, options=options)
    assert error(by_run.scores.influence, wanted) < 1e-4
    np.testing.assert_array_equal(by_nnp.scores.influence, by_run.scores.influence)


def test_momentum_and_summed_gradients(trainings):
    for name in ("momentum", "adam"):
        training = trainings[name]
        options = dataclasses.replace(FINAL, window=2)
        got = score(training.definition, run=training.run("final"), options=options)
        wanted = every_step_at_the_end(training, 2)
        assert error(got.scores.influence, wanted) < 1e-4


def test_an_element_whose_second_moment_is_0_stands_still(trainings, tmp_path):
    """A gradient at the final parameters meets it, as it meets a unit that was dead until then."""
    training = trainings["adam, five epochs"]
    run = Path(shutil.copytree(training.run("all"), tmp_path / "run"))
    name = load_definition(training.definition).trainable[0]
    with h5py.File(run / "solver_states.h5", "r+") as file:
        for kind in ("mean", "var"):
            file[name][kind][(0,) * file[name][kind].ndim] = 0.0
    with_new_checksums(run)
    got = score(training.definition, run=run, options=dataclasses.replace(FINAL, window=1))
    assert error(got.scores.influence, every_step_at_the_end(training, 1, held=0)) < 1e-4
    assert error(got.scores.influence, every_step_at_the_end(training, 1)) > 1e-3


def without_state(training: Watched, folder: Path) -> Path:
    shutil.copytree(training.run("final"), folder)
    (folder / "solver_states.h5").unlink()
    return folder


def test_momentum_needs_no_state(trainings, tmp_path):
    training = trainings["momentum"]
    run = without_state(training, tmp_path / "run")
    wanted = score(training.definition, run=training.run("final"), options=FINAL)
    for arguments in ({"run": run}, {"parameters": run / "final.h5"}):
        got = score(training.definition, options=FINAL, **arguments)
        np.testing.assert_array_equal(got.scores.influence, wanted.scores.influence)


def test_adam_without_a_state_is_refused_before_any_data_are_read(trainings, tmp_path):
    """In a run, beside an .h5, and in an .nnp of a third epoch; the advice fits each."""
    training = trainings["adam"]
    run = without_state(training, tmp_path / "run")
    definition, nowhere = training.definition, tmp_path / "none.csv"
    for model, arguments, advice in (
        (definition, {"run": run}, r"run: .*solver_states\.h5"),
        (definition, {"parameters": run / "final.h5"}, r"give the \.nnp"),
        (training.final, {}, "multiple of 5"),
    ):
        with pytest.raises(ScoreError, match=advice) as caught:
            score(model, options=FINAL, train=nowhere, **arguments)
        assert "--" not in str(caught.value)  # The Console has no such options.


def test_the_file_beside_it_with_the_state_is_named(trainings, tmp_path):
    """The best epoch was not a fifth one."""
    best = shutil.copy(trainings["adam"].final, tmp_path / "results.nnp")
    shutil.copy(best, tmp_path / "results_current_3.nnp")
    end = shutil.copy(trainings["adam, five epochs"].final, tmp_path / "results_current_5.nnp")
    with pytest.raises(ScoreError, match=r"results\.nnp: .*results_current_5\.nnp"):
        score(best, options=FINAL)
    assert score(end, options=FINAL).scores.influence.any()


def test_the_state_in_a_model_file_is_not_paired_with_other_parameters(trainings):
    training = trainings["adam, five epochs"]
    assert score(training.final, options=FINAL).scores.influence.any()
    others = training.run("all") / "final.h5"
    with pytest.raises(ScoreError, match="no solver state"):
        score(training.final, parameters=others, options=FINAL)


def test_split_copies_the_gradient_of_parameters_and_of_statistics():
    gradient = nn.NdArray.from_numpy_array(np.arange(7, dtype=np.float32))
    method = Method(None, None, None, None, None, None, None, 2, "")
    u, r = method.split(gradient)
    gradient.data[...] = 0
    assert u.data.tolist() == [0, 1, 2, 3, 4]
    assert r.data.tolist() == [5, 6]
    u, r = Method(None, None, None, None, None, None, None, 0, "").split(gradient)
    assert u.shape == (7,)
    assert r is None
