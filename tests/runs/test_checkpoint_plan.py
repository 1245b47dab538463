from __future__ import annotations

import itertools
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnabla_influence.errors import OutputError, RunError
from nnabla_influence.runs.checkpoint_plan import (
    CheckpointSelection,
    StorageEstimate,
    WindowPlan,
    nnabla_cli_plan,
    recorder_plan,
    window_epochs,
    window_words,
)


@pytest.mark.parametrize(
    ("window", "epochs"), [("last", 1), ("all", None), ("1", 1), ("12", 12), (3, 3)]
)
def test_windows(window, epochs):
    assert window_epochs(window) == epochs
    assert window_words(epochs) == ("all" if epochs is None else f"last {epochs} epochs")


@pytest.mark.parametrize("window", ["0", "-1", "1.5", "", "last 2", 0, -3, 1.5, True, "²"])
def test_windows_that_are_wrong(window):
    with pytest.raises(RunError, match="window: "):
        window_epochs(window)


@pytest.mark.parametrize(
    ("n_steps", "spacing", "n_checkpoints"),
    [(1, 1, 1), (2, 2, 1), (10, 4, 3), (37, 7, 6), (36, 6, 6), (31250, 177, 177)],
)
def test_the_spacing_is_the_square_root_rounded_up(n_steps, spacing, n_checkpoints):
    plan = WindowPlan(5, 5 + n_steps)
    assert (plan.spacing("sqrt"), plan.n_checkpoints("sqrt")) == (spacing, n_checkpoints)
    assert plan.spacing("sqrt") == math.ceil(math.sqrt(n_steps))
    assert (plan.spacing("all"), plan.n_checkpoints("all")) == (1, n_steps)
    assert plan.n_checkpoints("final") == 0


@given(
    max_epoch=st.integers(1, 6),
    iter_per_epoch=st.integers(1, 9),
    interval=st.integers(1, 5),
    window=st.none() | st.integers(1, 8),
    resumed=st.integers(0, 5),
)
def test_the_window_of_nnabla_cli_is_that_of_the_loop(
    max_epoch, iter_per_epoch, interval, window, resumed
):
    """Against the loop itself, iteration by iteration."""
    resumed = min(resumed, max_epoch - 1)
    epochs = {}
    for i in range(resumed * iter_per_epoch, max_epoch * iter_per_epoch):
        if i % interval == interval - 1:
            epochs[i // interval] = i // iter_per_epoch
    plan = nnabla_cli_plan(max_epoch, iter_per_epoch, interval, window, resumed)
    last = max(epochs.values(), default=0)
    wanted = [u for u, epoch in epochs.items() if window is None or epoch > last - window]
    assert list(range(plan.first, plan.end)) == wanted


@pytest.mark.parametrize(
    ("known", "plan"),
    [
        ((None, None, None), None),
        ((20, None, 2), None),
        ((None, 5, 2), None),
        ((20, None, None), WindowPlan(0, 20)),
        ((20, 5, 2), WindowPlan(10, 20)),
        ((18, 5, 2), WindowPlan(10, 18)),
        ((18, 5, 9), WindowPlan(0, 18)),
    ],
)
def test_the_window_of_a_script(known, plan):
    assert recorder_plan(*known) == plan


def kept_of(kept, n_steps, window=None):
    """Go through a training; return what is kept, and how many checkpoints there were at most."""
    most, here = 0, set()
    for number in range(n_steps):
        if kept.wants(number):
            here.add(number)
            here -= set(kept.add(number))
        if window is not None:
            start = max(number + 1 - window, 0)
            before = max((n for n in here if n <= start), default=None)
            here -= set(kept.release(start))
            assert before is None or before in here
        most = max(most, len(here))
        assert sorted(here) == kept.numbers
    return kept.numbers, most


@pytest.mark.parametrize(
    ("n_steps", "numbers"),
    [
        (1, [0]),
        (2, [0]),
        (10, [0, 4, 8]),
        (37, [0, 7, 14, 21, 28, 35]),
    ],
)
def test_a_known_window_is_kept_in_steps_of_its_square_root(n_steps, numbers):
    assert kept_of(CheckpointSelection("sqrt", WindowPlan(0, n_steps)), n_steps)[0] == numbers
    certain = CheckpointSelection("sqrt", WindowPlan(5, 5 + n_steps), certain=True)
    assert kept_of(certain, 5 + n_steps + 1)[0] == [5 + number for number in numbers]
    assert kept_of(CheckpointSelection("all", WindowPlan(5, 7), certain=True), 9)[0] == [5, 6]


@pytest.mark.parametrize("n_steps", [1, 2, 10, 37, 1000])
def test_an_unknown_number_of_steps_thins_out(n_steps):
    numbers, most = kept_of(CheckpointSelection("sqrt"), n_steps)
    gaps = {b - a for a, b in zip(numbers, numbers[1:])}
    assert numbers[0] == 0
    assert len(gaps) <= 1
    spacing = max(gaps, default=1)
    assert n_steps - numbers[-1] <= spacing
    assert most <= 2 * spacing
    assert spacing <= max(2 * math.sqrt(n_steps), 1)


@pytest.mark.parametrize("keep", ["sqrt", "all"])
def test_an_unknown_number_of_steps_with_a_window_at_its_end(keep):
    # Every one, as the checkpoint before the window may be the one that would thin out.
    for window, n_steps in itertools.product(range(1, 60), (1, 36, 37, 38, 99)):
        numbers, most = kept_of(CheckpointSelection(keep), n_steps, window)
        start = max(n_steps - window, 0)
        assert numbers[0] <= start  # from where the window's first step can be replayed
        assert len([n for n in numbers if n <= start]) == 1
        gaps = [b - a for a, b in zip(numbers, numbers[1:])]
        if keep == "all":
            assert gaps == [1] * (min(window, n_steps) - 1)
        else:
            assert max(gaps, default=1) <= 2 * math.sqrt(2 * window)
            assert most <= 2 * math.sqrt(2 * window) + 2


def test_the_checkpoint_before_the_window_does_not_thin_out():
    """Epochs that a script says may be of any length."""
    kept = CheckpointSelection("sqrt")
    for number in (0, 1):
        assert kept.add(number) == []
    assert kept.release(1) == [0]
    assert kept.add(2) == []
    assert kept.add(3) == [3]
    assert (kept.numbers, kept.anchor(1)) == ([1, 2], 1)


# 100,000 parameters under Adam: a checkpoint is 1.2 MB.
STORAGE = StorageEstimate(
    n_parameters=100_000, n_states=200_000, n_arrays=12, plan=WindowPlan(0, 31250)
)


def test_a_checkpoint_is_as_large_as_its_file(tmp_path):
    np.save(tmp_path / "0.npy", np.zeros(300_000, np.float32))
    size = (tmp_path / "0.npy").stat().st_size
    assert STORAGE.checkpoint_bytes == size
    assert STORAGE.disk_bytes("all") - STORAGE.disk_bytes("final") == 31250 * size


@pytest.mark.parametrize(
    ("free", "keep", "advice"),
    [
        (10**9, "all", "38 GB .* 1.0 GB .*--keep sqrt"),
        (10**8, "sqrt", "214 MB .* 100 MB .*--keep final"),
        (10**4, "final", "1.2 MB .* 10 kB "),
    ],
)
def test_what_does_not_fit_the_disk_is_refused(tmp_path, monkeypatch, free, keep, advice):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(OutputError, match=advice):
        STORAGE.check_disk_space(tmp_path, keep)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000 * free))
    STORAGE.check_disk_space(tmp_path, keep)
