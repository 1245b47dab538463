from __future__ import annotations

import numpy as np
import pytest

from nnabla_influence.definition import load_definition
from nnabla_influence.errors import RunError
from nnabla_influence.nnabla_cli.seeded_order import seeded_steps
from tests.training_data import write_project


def definition_of(folder, **options):
    return load_definition(write_project(folder, **options).definition)


def rows_of(steps):
    return [[rows.tolist() for rows in step.batches] for step in steps]


def test_the_epochs_are_one_stream_of_permutations_cut_in_pieces(tmp_path):
    definition = definition_of(tmp_path, n=23, batch_size=5, max_epoch=4, lr_decay=0.5)
    steps = seeded_steps(definition, 23, seed=7)
    assert [(step.step, step.epoch) for step in steps] == [(i, i // 4) for i in range(16)]
    stream = np.concatenate([step.rows for step in steps])
    for epoch in range(3):  # every row once in each 23, wherever the mini-batches end
        assert sorted(stream[epoch * 23 : (epoch + 1) * 23].tolist()) == list(range(23))
    assert not np.array_equal(stream[:23], stream[23:46])
    assert {len(step.rows) for step in steps} == {5}
    assert [step.learning_rate for step in steps] == pytest.approx(
        [0.1 * 0.5**i for i in range(16)]
    )


def test_seeds_draw_different_orders_and_each_its_own_again(tmp_path):
    definition = definition_of(tmp_path)
    one, again, other = (rows_of(seeded_steps(definition, 20, seed=s)) for s in (1, 1, 2))
    assert one == again != other


def test_rows_that_are_not_shuffled_come_as_they_are(tmp_path):
    steps = seeded_steps(definition_of(tmp_path, n=7, batch_size=3, shuffle=False), 7, seed=1)
    stream = [int(row) for step in steps for row in step.rows]
    assert stream == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3]


def test_gradients_are_summed_as_the_definition_says(tmp_path):
    definition = definition_of(tmp_path, max_epoch=4, update_interval=3, lr_decay=0.5)
    steps = seeded_steps(definition, 20, seed=1)
    assert [(step.epoch, len(step.batches)) for step in steps] == [
        *((0, 3), (1, 3), (1, 3), (2, 3), (2, 3), (3, 3))  # the last two of 20 iterations: none
    ]
    assert [step.learning_rate for step in steps] == pytest.approx(
        [0.1 * 0.5**i for i in (2, 5, 8, 11, 14, 17)]
    )


def test_another_batch_size_has_the_rates_of_the_same_part_of_the_training(tmp_path):
    definition = definition_of(tmp_path, max_epoch=2, lr_decay=0.5)  # 5 iterations an epoch
    halved = seeded_steps(definition, 20, seed=1, batch_size=2)
    assert len(halved) == 20
    assert {len(step.rows) for step in halved} == {2}
    assert [step.learning_rate for step in halved] == pytest.approx(
        [0.1 * 0.5 ** (i // 2) for i in range(20)]
    )
    whole = seeded_steps(definition, 20, seed=1, batch_size=20)
    assert [step.learning_rate for step in whole] == pytest.approx([0.1, 0.1 * 0.5**5])
    assert [len(step.rows) for step in seeded_steps(definition, 20, seed=1, batch_size=30)] == [
        *(30, 30)
    ]
    kept = seeded_steps(definition, 20, seed=1, batch_size=4)
    assert rows_of(kept) == rows_of(seeded_steps(definition, 20, seed=1))


def test_a_definition_that_counts_other_iterations_is_believed(tmp_path):
    definition = definition_of(tmp_path, iter_per_epoch=3)
    assert len(seeded_steps(definition, 20, seed=0)) == 9


def test_a_definition_that_trains_nothing_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"trains too little for one update \(max_epoch 0, iter_per"):
        seeded_steps(definition_of(tmp_path / "a", max_epoch=0), 20, seed=0)
    definition = definition_of(tmp_path / "b", max_epoch=1, update_interval=6)
    with pytest.raises(RunError, match=r"iter_per_epoch 5, update_interval 6\); raise max_epoch"):
        seeded_steps(definition, 20, seed=0)


def test_a_definition_without_a_dataset_needs_a_batch_size(tmp_path):
    def edit(proto):
        del proto.optimizer[0].dataset_name[:]

    definition = definition_of(tmp_path, edit=edit)
    with pytest.raises(RunError, match=r"net.nntxt: names no batch size; give one"):
        seeded_steps(definition, 20, seed=0)
    assert len(seeded_steps(definition, 20, seed=0, batch_size=10)) == 6
