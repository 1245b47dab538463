from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from nnabla_influence.errors import OutputError
from nnabla_influence.runs.checkpoint_plan import WindowPlan
from nnabla_influence.runs.storage import StorageEstimate
from nnabla_influence.text import seconds_text, size_text

# 100,000 parameters under Adam: a checkpoint is 1.2 MB.
STORAGE = StorageEstimate(
    n_parameters=100_000, n_states=200_000, n_arrays=12, plan=WindowPlan(0, 31250)
)


def test_each_choice_in_words():
    assert STORAGE.describe("final") == (
        "Checkpoints: final 1.2 MB, sqrt 214 MB (177), all 38 GB (31,250); keeping final"
    )
    sentence = "; keeping sqrt; exact scores will need 214 MB of memory for them"
    assert STORAGE.describe("sqrt").endswith(sentence)


def test_a_checkpoint_is_as_large_as_its_file(tmp_path):
    np.save(tmp_path / "0.npy", np.zeros(300_000, np.float32))
    size = (tmp_path / "0.npy").stat().st_size
    assert STORAGE.checkpoint_bytes == size
    assert STORAGE.disk_bytes("all") - STORAGE.disk_bytes("final") == 31250 * size


@pytest.mark.parametrize(
    ("free", "keep", "advice"),
    [
        (10**9, "all", "needs 38 GB .* 1.0 GB are free; use --keep sqrt"),
        (10**8, "sqrt", "needs 214 MB .* 100 MB are free; use --keep final"),
        (10**4, "final", "needs 1.2 MB .* 10 kB are free; free disk space"),
        (10**9, "sqrt", None),
        (10**8, "final", None),
        (10**11, "all", None),
    ],
)
def test_what_does_not_fit_the_disk_is_refused(tmp_path, monkeypatch, free, keep, advice):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    if advice is None:
        STORAGE.check_disk_space(tmp_path, keep)
        return
    with pytest.raises(OutputError, match=advice):
        STORAGE.check_disk_space(tmp_path, keep)


def test_sizes_and_times_in_words():
    assert [size_text(n) for n in (0, 999, 1000, 9949, 9951, 999_400, 999_600, 5 * 10**15)] == [
        *("0 bytes", "999 bytes", "1.0 kB", "9.9 kB", "10 kB", "999 kB", "1.0 MB", "5,000 TB"),
    ]
    assert [seconds_text(s) for s in (0.004, 0.99, 0.999, 119, 300)] == [
        *("0.00 s", "0.99 s", "1 s", "119 s", "5 min"),
    ]
