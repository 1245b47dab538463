"""Which steps are traced, and how their order is known."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnabla_influence.definition import load_definition
from nnabla_influence.errors import RunError
from nnabla_influence.files import file_hash
from nnabla_influence.runs.run import Run, RunSettings, Step, write_run
from nnabla_influence.scoring.window import Order, recorded_window, unrecorded_window
from tests.small_projects import edit, write_table

N = 20  # rows, in batches of 4: five steps an epoch


@pytest.fixture
def net(tmp_path) -> Path:
    return write_table(tmp_path, max_epoch=3, iter_per_epoch=5)


def unrecorded(net: Path, train: Path | None = None, epochs=1, batch_size=None, trials=None):
    train = net.parent / "training.csv" if train is None else train
    return unrecorded_window(load_definition(net), train, N, epochs, batch_size, trials)


def rows_of(steps) -> list[int]:
    return [int(row) for step in steps for rows in step.batches for row in rows]


def a_run(epochs: list[int]) -> Run:
    steps = [Step(i, e, 0.1, (np.array([0, 1]),)) for i, e in enumerate(epochs)]
    return Run(Path("somewhere/run"), None, tuple(steps))


@pytest.mark.parametrize(
    ("epochs", "steps"), [(1, [5, 6]), (2, [2, 3, 4, 5, 6]), (None, [0, 1, 2, 3, 4, 5, 6])]
)
def test_the_end_of_a_recorded_run(epochs: int | None, steps: list[int]):
    window = recorded_window(a_run([0, 0, 1, 1, 1, 2, 2]), Path("t.csv"), N, epochs)
    assert [step.step for step in window.trials[0]] == steps
    assert len(window.trials) == 1
    assert window.order == Order.RECORDED
    assert window.explanation == "as recorded in somewhere/run"


def test_a_run_that_is_too_short_or_of_other_data(tmp_path):
    with pytest.raises(RunError, match=r"4 epochs .* 3 "):
        recorded_window(a_run([0, 1, 2]), Path("t.csv"), N, 4)
    steps = [Step(0, 0, 0.1, (np.array([0, 20]),))]
    run = write_run(tmp_path / "run", parameters={"W": np.ones(1)}, steps=steps, settings=None)
    with pytest.raises(RunError, match="row 20"):
        recorded_window(run, Path("t.csv"), N, 1)


def test_a_run_of_a_dataset_that_has_changed(tmp_path):
    """A ranking, or a CSV that was sorted in a spreadsheet, has as many rows as the one trained."""
    trained_on, copy, ranking = (tmp_path / name for name in ("a.csv", "b.csv", "c.csv"))
    trained_on.write_text("x,y\n1,2\n3,4\n")
    copy.write_text("x,y\n1,2\n3,4\n")
    ranking.write_text("x,y\n3,4\n1,2\n")
    settings = RunSettings(n_rows=2, dataset="gone.csv", dataset_hash=file_hash(trained_on))
    run = Run(tmp_path / "run", settings, (Step(0, 0, 0.1, (np.array([0, 1]),)),))
    assert recorded_window(run, copy, 2, 1).order == Order.RECORDED
    with pytest.raises(RunError, match=r"c\.csv: .*run"):
        recorded_window(run, ranking, 2, 1)


def test_what_nnabla_cli_draws_is_replayed(net: Path):
    """What it draws is tested in test_order."""
    window = unrecorded(net, epochs=2)
    assert window.order == Order.REPLAYED
    assert window.explanation == "replayed as nnabla_cli draws it"
    (steps,) = window.trials
    assert [step.step for step in steps] == list(range(5, 15))
    for epoch in (steps[:5], steps[5:]):
        assert sorted(rows_of(epoch)) == list(range(N))
    assert rows_of(unrecorded(net, epochs=1).trials[0]) == rows_of(steps[5:])
    assert len(unrecorded(net, epochs=None).trials[0]) == 15


def test_a_copy_of_the_dataset_is_the_same_dataset(net: Path):
    copy = Path(shutil.copy(net.parent / "training.csv", net.parent / "copy.csv"))
    assert unrecorded(net, train=copy).order == Order.REPLAYED
    # Where the one that was trained on is gone, there is nothing to compare.
    (net.parent / "training.csv").unlink()
    assert unrecorded(net, train=copy).order == Order.REPLAYED


def other_dataset(net: Path) -> dict:
    lines = (net.parent / "training.csv").read_text().splitlines()
    lines[1], lines[2] = lines[2], lines[1]
    (net.parent / "other.csv").write_text("\n".join(lines) + "\n")
    return {"train": net.parent / "other.csv"}


def no_dataset(net: Path) -> dict:
    edit(net, lambda proto: proto.ClearField("dataset"))
    return {"batch_size": 4}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda net: {"batch_size": 5}, "batch size 5"),
        (other_dataset, r"other\.csv .*training\.csv"),
        (no_dataset, "no training dataset"),
    ],
)
def test_an_unknown_order_is_shuffled_anew_in_every_trial(net: Path, change, reason: str):
    window = unrecorded(net, **change(net), trials=4)
    assert window.order == Order.SHUFFLED
    assert len(window.trials) == 4
    orders = [rows_of(steps) for steps in window.trials]
    for order in orders:
        assert sorted(order) == list(range(N))
        assert order != list(range(N))
    assert len({tuple(order) for order in orders}) == 4
    assert re.search(rf"{reason}.* 4 shuffled orders", window.explanation)
    # The same call draws the same trials, so that a ranking can be made again.
    again = unrecorded(net, **change(net), trials=4)
    assert [rows_of(steps) for steps in again.trials] == orders
