"""Trainings on changed rows, and what they are scored by."""

from __future__ import annotations

import numpy as np
import pytest

from nnabla_influence.advice import trainings
from nnabla_influence.commands.digits import Labels
from nnabla_influence.influence.influence_functions import solve
from nnabla_influence.influence.relabelling import relabel_gains
from nnabla_influence.retraining.inputs import open_inputs
from nnabla_influence.retraining.seeded import NO_CHANGES, Changes, seeded_training
from tests.advice.conftest import N, V, digits, write_project, write_table

REMOVED, RELABELLED = tuple(range(5, 60, 3)), ((0, 7), (100, 2))


def trained(inputs, changes=NO_CHANGES):
    *_, parameters = trainings._epochs(seeded_training(inputs, 3, changes))
    return parameters


def test_changes_are_those_of_a_csv_with_fewer_rows_and_other_labels(tmp_path, right):
    features, labels = digits()
    given = labels[:N].copy()
    for row, label in RELABELLED:
        given[row] = label
    kept = np.setdiff1d(np.arange(N), REMOVED)
    other = write_project(tmp_path / "changed")
    write_table(other.folder, features[kept], Labels.right(given[kept]), "training")
    text = other.model.read_text()
    iterations = f"iter_per_epoch: {N // 16}"
    assert iterations in text
    other.model.write_text(text.replace(iterations, f"iter_per_epoch: {len(kept) // 16}"))
    expected = trained(open_inputs(other.config))
    found = trained(right.inputs, Changes(REMOVED, RELABELLED))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    assert any((trained(right.inputs)[name] != value).any() for name, value in expected.items())


def test_a_training_is_scored_at_its_best_epoch_and_judged_by_the_last_ones(tmp_path):
    table = write_project(tmp_path / "project", epochs=8, weight_decay=0.01)
    inputs, folds = table.inputs, (tuple(range(V // 2)), tuple(range(V // 2, V)))
    paths = tuple(str(tmp_path / f"{name}.npz") for name in ("judged", "parameters", "scored"))
    trainings.score_and_judge(table.config, 3, "q-loss", folds, paths)
    epochs = [*trainings._epochs(seeded_training(inputs, 3))]
    losses = np.stack([trainings._evaluated(inputs, parameters)[1] for parameters in epochs])
    best = int(losses.mean(axis=1).argmin())
    scored = trainings.read_scored(paths[2])
    assert scored.epoch == best > 0
    engine, v = trainings._engine_at(inputs, epochs[best]), []
    for fold in folds:
        gradient, rows = engine.zeros(), np.array(fold)
        weights = np.exp(-losses[best, rows] / 2) / len(rows)
        engine.add_gradient(inputs.validation.batch(rows), weights, gradient)
        v.append(np.array(gradient.data))
    rows = np.arange(N)
    found = solve(engine, inputs.training.batch, rows, np.stack(v), "gauss-newton", 0.01)
    most = abs(found.influence).max()
    np.testing.assert_allclose(scored.influence, found.influence, atol=1e-3 * most)
    trainings.judge(table.config, 3, "q-loss", NO_CHANGES, str(tmp_path / "alone.npz"))
    for path in (paths[0], tmp_path / "alone.npz"):
        judged = trainings.read_judged(path)
        np.testing.assert_allclose(judged.losses, losses[-2:].mean(axis=0))
        expected = 2 * (1 - np.exp(-losses[-2:] / 2))
        np.testing.assert_allclose(judged.targets, expected.mean(axis=0))


@pytest.fixture(scope="module")
def engine_and_inputs(right):
    inputs = right.inputs
    return trainings._engine_at(inputs, trained(inputs)), inputs


def solved(engine, fetch, v):
    return solve(engine, fetch, np.arange(N), v, "gauss-newton")


def test_a_relabel_gain_is_the_difference_of_two_influences(engine_and_inputs):
    """The Gauss-Newton matrix does not depend on labels, so s stays: only the gradient changes."""
    engine, inputs = engine_and_inputs
    v = np.random.default_rng(0).normal(size=(2, engine.size))
    fetch, given = inputs.training.batch, digits()[1][:N]
    own = solved(engine, fetch, v)
    gains = relabel_gains(inputs.definition, own.outputs / N, given)
    for label in (0, 4, 9):

        def all_are(rows, label=label):
            return {**fetch(rows), "y": np.full((len(rows), 1), label, np.float32)}

        other = solved(engine, all_are, v)
        expected = other.influence - own.influence
        np.testing.assert_allclose(gains[..., label], expected, atol=2e-5 * abs(expected).max())
    assert (gains[:, np.arange(N), given] == 0).all()


def test_what_is_foreseen_is_the_sum_of_the_rows_influences(tmp_path, right, engine_and_inputs):
    """By symmetry: how rows move a validation row's target, and its influence by those rows."""
    engine, inputs = engine_and_inputs
    trainings.write(tmp_path / "p.npz", trained(inputs))
    removed = tuple(range(0, 40, 2))
    trainings.foresee(
        right.config, str(tmp_path / "p.npz"), "loss", removed, str(tmp_path / "m.npz")
    )
    moves = trainings.read(tmp_path / "m.npz")["moves"]
    rows = np.array([0, 3, 17])
    v = []
    for row in rows:
        gradient = engine.zeros()
        engine.add_gradient(inputs.validation.batch(rows[rows == row]), np.ones(1), gradient)
        v.append(np.array(gradient.data))
    influence = solved(engine, inputs.training.batch, np.stack(v)).influence
    # 20 steps of conjugate gradients from either side are no exact solution.
    np.testing.assert_allclose(moves[rows], influence[:, list(removed)].sum(axis=1), rtol=0.1)
