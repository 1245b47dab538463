from __future__ import annotations

import numpy as np
import pytest
from nnabla.config import nnabla_config

from nnabla_influence.definition import load_definition
from nnabla_influence.errors import RunError, UnsupportedError
from nnabla_influence.nnabla_cli.order import nnabla_cli_steps, seeded_steps, shuffled_steps
from nnabla_influence.runs.run import read_run
from tests.training_data import CASES, trained_cases, write_project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return trained_cases(tmp_path_factory.getbasetemp())


def set_memory_cache(monkeypatch, size):
    sizes = dict(nnabla_config.items("DATA_ITERATOR"))
    monkeypatch.setattr(
        nnabla_config, "get", lambda _, key: {**sizes, "data_source_buffer_max_size": size}[key]
    )


def plain(steps):
    return [
        (step.step, step.epoch, step.learning_rate, [rows.tolist() for rows in step.batches])
        for step in steps
    ]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("epochs", [None, 1, 2])
def test_the_replayed_order_is_what_nnabla_cli_fed(trained, monkeypatch, name, epochs):
    if name == "not in memory":
        set_memory_cache(monkeypatch, "0")
    case = trained[name]
    definition = load_definition(case.project.definition)
    replayed = nnabla_cli_steps(definition, len(case.project.x), epochs=epochs)
    interval = definition.solver.update_interval
    for step in replayed:
        fed = case.fed[step.step * interval : (step.step + 1) * interval]
        assert [rows.tolist() for rows in step.batches] == fed
    recorded = read_run(case.outdir / "run").steps
    first = 0 if epochs is None else definition.max_epoch - epochs
    assert plain(replayed) == plain(step for step in recorded if step.epoch >= first)
    assert replayed[-1].step == len(case.fed) // interval - 1


def cached(folder, **options):
    def edit(proto):
        proto.dataset[0].cache_dir = "cache"
        for name, value in options.items():
            setattr(proto.dataset[0], name, value)

    return edit


def definition_of(folder, edit=None, **options):
    return load_definition(write_project(folder, edit=edit, **options).definition)


def write_cache(folder, rows, lengths=None):
    (folder / "cache").mkdir()
    (folder / "cache" / "order.csv").write_text("".join(f"{i},{r}\n" for i, r in enumerate(rows)))
    (folder / "cache" / "cache_index.csv").write_text(
        "".join(f"cache_{i}.npy,{length}\n" for i, length in enumerate(lengths or [len(rows)]))
    )


def test_caches_whose_order_is_unknown_are_refused(tmp_path, monkeypatch):
    def refused(definition, message):
        with pytest.raises(UnsupportedError, match=message):
            nnabla_cli_steps(definition, 20)

    implicit = definition_of(tmp_path, cached(tmp_path))
    refused(implicit, "order.csv")  # there is none
    write_cache(tmp_path, range(20))
    refused(implicit, "'Training': .*made .*cache or found")
    definition = definition_of(tmp_path, cached(tmp_path, create_cache_explicitly=True))
    order = tmp_path / "cache" / "order.csv"
    text = order.read_text()
    order.write_text(text.rsplit("\n", 2)[0] + "\n")
    refused(definition, "order.csv .* 20 rows")
    order.write_text(text)
    (tmp_path / "cache" / "cache_index.csv").write_text("cache_0.npy,19\n")
    refused(definition, "cache_index.csv .* 20 rows")
    (tmp_path / "cache" / "cache_index.csv").write_text("cache_0.npy,20\n")
    set_memory_cache(monkeypatch, "0")
    refused(definition, "cache cache .*memory")


@pytest.mark.parametrize(
    "options", [{"shuffle": False}, {"shuffle": False, "overwrite_cache": True}]
)
def test_an_unshuffled_cache_is_certain_either_way(tmp_path, options):
    definition = definition_of(tmp_path, cached(tmp_path, **options))
    write_cache(tmp_path, range(20))
    steps = nnabla_cli_steps(definition, 20, epochs=1)
    assert np.concatenate([step.rows for step in steps]).tolist() == list(range(20))


def test_a_cache_that_is_always_made_anew_is_as_none(tmp_path):
    plain_order = nnabla_cli_steps(definition_of(tmp_path / "plain"), 20)
    edit = cached(tmp_path, overwrite_cache=True)
    assert plain(nnabla_cli_steps(definition_of(tmp_path / "cached", edit), 20)) == plain(
        plain_order
    )


def test_whether_data_fit_the_memory_follows_from_a_decoded_row(tmp_path, monkeypatch):
    # Three float32 values of x and one of y: 16 bytes a row, 320 in all; nnabla wants less.
    project = write_project(tmp_path / "a")
    definition = load_definition(project.definition)
    set_memory_cache(monkeypatch, "321")
    in_memory = plain(nnabla_cli_steps(definition, 20))
    set_memory_cache(monkeypatch, "320")
    from_files = plain(nnabla_cli_steps(definition, 20))
    assert in_memory != from_files
    # Without the CSV, the network's inputs say the same.
    project.csv.unlink()
    assert plain(nnabla_cli_steps(definition, 20)) == from_files
    set_memory_cache(monkeypatch, "321")
    assert plain(nnabla_cli_steps(definition, 20)) == in_memory


def test_files_of_a_row_are_decoded_from_where_they_lie(tmp_path, monkeypatch):
    project = write_project(tmp_path / "データ")
    np.save(tmp_path / "データ" / "a b.npy", np.zeros(3, np.float64))
    project.csv.write_text("x,#note,y\n" + "a b.npy,hello,1\n" * 20, encoding="utf-8-sig")
    definition = load_definition(project.definition)
    set_memory_cache(monkeypatch, str(20 * (3 * 8 + 4)))
    from_files = plain(nnabla_cli_steps(definition, 20))
    set_memory_cache(monkeypatch, str(20 * (3 * 8 + 4) + 1))
    assert plain(nnabla_cli_steps(definition, 20)) != from_files
    (tmp_path / "データ" / "a b.npy").unlink()
    with pytest.raises(UnsupportedError, match=r"train.csv: the first row"):
        nnabla_cli_steps(definition, 20)


@pytest.mark.parametrize("options", [{"max_epoch": 0}, {"iter_per_epoch": 0}])
def test_a_definition_that_trains_nothing(tmp_path, options):
    ((name, value),) = options.items()
    with pytest.raises(RunError, match=f"{name} {value}"):
        nnabla_cli_steps(definition_of(tmp_path, **options), 20)


def test_a_definition_without_a_dataset(tmp_path):
    def edit(proto):
        del proto.optimizer[0].dataset_name[:]

    definition = definition_of(tmp_path, edit)
    with pytest.raises(RunError, match="training dataset"):
        nnabla_cli_steps(definition, 20)
    with pytest.raises(RunError, match="-bs"):
        shuffled_steps(definition, 20, seed=0)
    with pytest.raises(RunError, match="batch size"):
        seeded_steps(definition, 20, seed=0)
    assert len(shuffled_steps(definition, 20, seed=0, batch_size=10)) == 6
    assert len(seeded_steps(definition, 20, seed=0, batch_size=10)) == 6


@pytest.mark.parametrize(
    "draw", [nnabla_cli_steps, lambda *a, **k: shuffled_steps(*a, seed=0, **k)]
)
@pytest.mark.parametrize("epochs", [0, 4])
def test_a_window_longer_than_the_training(tmp_path, draw, epochs):
    definition = definition_of(tmp_path, max_epoch=3)
    with pytest.raises(RunError, match=rf"{epochs} epochs .* 3 "):
        draw(definition, 20, epochs=epochs)


def test_a_shuffled_trial_sees_each_row_once_an_epoch(tmp_path):
    definition = definition_of(tmp_path, n=23, batch_size=5, max_epoch=4, lr_decay=0.5)
    steps = shuffled_steps(definition, 23, seed=7, epochs=2)
    assert [(step.step, step.epoch) for step in steps] == [(i, i // 4) for i in range(8, 16)]
    for epoch in (2, 3):
        of_epoch = [step.rows for step in steps if step.epoch == epoch]
        assert sorted(np.concatenate(of_epoch).tolist()) == list(range(23))
        assert sorted(len(rows) for rows in of_epoch) == [5, 6, 6, 6]
    assert [step.learning_rate for step in steps] == pytest.approx(
        [0.1 * 0.5**i for i in range(8, 16)]
    )


@pytest.mark.parametrize("draw", [shuffled_steps, seeded_steps])
def test_trials_differ_by_their_seed_only(tmp_path, draw):
    definition = definition_of(tmp_path)
    one, again, other = (plain(draw(definition, 20, seed=seed)) for seed in (1, 1, 2))
    assert one == again != other


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


def test_rows_that_are_not_shuffled_come_as_they_are(tmp_path):
    steps = seeded_steps(definition_of(tmp_path, n=7, batch_size=3, shuffle=False), 7, seed=1)
    stream = [int(row) for step in steps for row in step.rows]
    assert stream == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3]


def test_gradients_are_summed_as_the_definition_says(tmp_path):
    definition = definition_of(tmp_path, max_epoch=4, update_interval=3, lr_decay=0.5)
    # Iterations 10 to 19 of the last two epochs: updates after 11, 14 and 17.
    last = [
        (s.step, s.epoch, len(s.batches)) for s in shuffled_steps(definition, 20, seed=1, epochs=2)
    ]
    assert last == [(3, 2, 3), (4, 2, 3), (5, 3, 3)]
    steps = seeded_steps(definition, 20, seed=1)
    assert {len(step.batches) for step in steps} == {3}
    assert [step.epoch for step in steps] == [0, 1, 1, 2, 2, 3]  # the last two of 20: no update
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
    larger = seeded_steps(definition, 20, seed=1, batch_size=30)
    assert [len(step.rows) for step in larger] == [30, 30]
    kept = seeded_steps(definition, 20, seed=1, batch_size=4)
    assert plain(kept) == plain(seeded_steps(definition, 20, seed=1))


@pytest.mark.parametrize("options", [{"max_epoch": 0}, {"max_epoch": 1, "update_interval": 6}])
def test_a_definition_without_one_update_is_refused(tmp_path, options):
    with pytest.raises(RunError, match=f"max_epoch {options['max_epoch']}, iter_per_epoch 5"):
        seeded_steps(definition_of(tmp_path, **options), 20, seed=0)
