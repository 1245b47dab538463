from __future__ import annotations

import shutil
from collections import namedtuple

import numpy as np
import pytest

from nnabla_influence.errors import OutputError
from nnabla_influence.runs.keep import Plan
from nnabla_influence.runs.storage import Storage

# 100,000 parameters under Adam: a set is 1.2 MB.
STORAGE = Storage(n_parameters=100_000, n_states=200_000, n_arrays=12, plan=Plan(0, 31250))


def test_what_each_choice_takes_in_words():
    assert STORAGE.describe("final", 0.001) == (
        "Checkpoints: final 1.2 MB, sqrt 214 MB (177 sets), all 38 GB (31,250 sets); keeping final"
    )
    assert STORAGE.describe("sqrt", 0.001).endswith(
        "; keeping sqrt: about 0.18 s of the training, and 214 MB of memory to replay"
    )
    assert STORAGE.describe("all", 0.001).endswith(
        "; keeping all: about 31 s of the training, and 1.2 MB of memory to replay"
    )


def test_a_set_is_as_large_as_its_file(tmp_path):
    np.save(tmp_path / "0.npy", np.zeros(300_000, np.float32))
    assert STORAGE.set_bytes == (tmp_path / "0.npy").stat().st_size
    assert STORAGE.disk_bytes("all") - STORAGE.disk_bytes("final") == 31250 * STORAGE.set_bytes


def disk_of(monkeypatch, free):
    usage = namedtuple("usage", "free")(free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


@pytest.mark.parametrize(
    ("free", "keep", "advice"),
    [
        (10**9, "all", r"keeping all takes 38 GB of disk, and 1.0 GB are free; --keep sqrt \(keep"),
        (10**8, "sqrt", r"keeping sqrt takes 214 MB of disk, and 100 MB are free; --keep final"),
        (10**4, "final", r"keeping final takes 1.2 MB of disk, and 10 kB are free; make room"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, monkeypatch, free, keep, advice):
    disk_of(monkeypatch, free)
    with pytest.raises(OutputError, match=advice):
        STORAGE.check_room(tmp_path, keep)


@pytest.mark.parametrize(("free", "keep"), [(10**9, "sqrt"), (10**8, "final"), (10**11, "all")])
def test_what_fits_is_not_refused(tmp_path, monkeypatch, free, keep):
    disk_of(monkeypatch, free)
    STORAGE.check_room(tmp_path, keep)


def test_measuring_leaves_nothing(tmp_path):
    assert 0 < STORAGE.measure_writing(tmp_path) < 10
    assert list(tmp_path.iterdir()) == []
